import subprocess
import sys

import pytest

NO_NUMBA = "import sys\nsys.modules['numba'] = None\n"
NO_FOLDER = (
    "import numba\n"
    "real = numba.njit\n"
    "def njit(**options):\n"
    "    if options.pop('cache', False): raise RuntimeError('no locator available')\n"
    "    return real(**options)\n"
    "numba.njit = njit\n"
)
MAKE = (
    "from fourhorn.model.config import GPT2Config\n"
    "from fourhorn.model.transformer import GPT2\n"
    "from fourhorn.sampling.decoder import make_decoder\n"
    "model = GPT2(GPT2Config(n_layer=1, n_head=1, n_embd=64, n_ctx=16, n_vocab=50)).eval()\n"
    "decoder = [make_decoder(model, 1, precision='int8') for _ in range(2)][0]\n"
    "print(type(decoder).__name__)\n"
)


@pytest.mark.parametrize(
    ("broken", "decoder", "said"),
    [
        (NO_NUMBA, "TorchDecoder", "sampling runs in PyTorch alone"),
        (NO_FOLDER, "VectorDecoder", "Set NUMBA_CACHE_DIR to a writable folder"),
    ],
)
def test_without_numba_or_its_cache_there_is_a_decoder_and_one_sentence(broken, decoder, said):
    read = "print(tuple(decoder.read([0], [[1, 2]]).shape))\n" if decoder == "TorchDecoder" else ""
    result = subprocess.run([sys.executable, "-c", broken + MAKE + read], capture_output=True, text=True)
    assert result.stdout.split("\n")[:2] == [decoder, "(1, 50)" if read else ""], result.stderr
    assert result.stderr.count(said) == 1
