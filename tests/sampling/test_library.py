import os
import subprocess
import sys

import pytest

from fourhorn.sampling import library

NO_NUMBA = "import sys\nsys.modules['numba'] = None\n"
MAKE = (
    "import sys\n"
    "from fourhorn.model.config import GPT2Config\n"
    "from fourhorn.model.transformer import GPT2\n"
    "from fourhorn.sampling.decoder import make_decoder\n"
    "model = GPT2(GPT2Config(n_layer=1, n_head=1, n_embd=64, n_ctx=16, n_vocab=50)).eval()\n"
    "decoder = [make_decoder(model, 1, precision='int8') for _ in range(2)][0]\n"
    "print(type(decoder).__name__, tuple(decoder.read([0], [[1, 2]]).shape), 'numba.core' in sys.modules)\n"
)


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_without_numba_or_machine_code_there_is_a_decoder_and_one_sentence(tmp_path):
    result = run(NO_NUMBA + MAKE, FOURHORN_CACHE_DIR=str(tmp_path))
    assert result.stdout.split("\n")[0] == "TorchDecoder (1, 50) False", result.stderr
    assert result.stderr.count("sampling runs in PyTorch alone") == 1


def test_machine_code_on_disk_needs_no_numba():
    if library.stored() is None:
        library.compiled_and_kept()
    for code in (MAKE, NO_NUMBA + MAKE):
        result = run(code)
        assert (result.stdout, result.stderr) == ("VectorDecoder (1, 50) False\n", "")


def test_code_is_kept_for_this_processor(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURHORN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(library, "compiled", lambda: b"code")
    assert library.stored() is None
    assert library.compiled_and_kept() == b"code"
    assert library.stored() == b"code"
    monkeypatch.setenv("NUMBA_CPU_NAME", "haswell")
    assert library.stored() is None


@pytest.mark.parametrize("name", library.N_ARGUMENTS)
def test_each_kernel_is_called_with_as_many_numbers_as_it_takes(name):
    entries = pytest.importorskip("fourhorn.sampling.entries")
    assert getattr(entries, name).__code__.co_argcount == library.N_ARGUMENTS[name]
