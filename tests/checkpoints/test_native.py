"""The native folder: what is saved is what is loaded, whole or refused."""

import json
import subprocess
import sys

import pytest
import torch

from fourhorn.checkpoints import native
from fourhorn.checkpoints.load import load
from fourhorn.errors import UserError


def test_save_and_load_give_back_the_same_model_and_tokenizer(checkpoint, tmp_path):
    model = native.model_of(checkpoint)
    native.save(model, checkpoint.tokenizer, tmp_path / "run", details={"step": 7})
    loaded, tokenizer = native.load(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.json",
        "encoder.json",
        "model.safetensors",
        "vocab.bpe",
    ]
    assert loaded.config == model.config
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in model.state_dict().items())
    assert tokenizer == checkpoint.tokenizer
    assert not loaded.training
    assert native.read(tmp_path / "run").details == {"step": 7}


def test_a_second_save_replaces_the_first_and_leaves_nothing_beside_it(checkpoint, tmp_path):
    model = native.model_of(checkpoint)
    native.save(model, checkpoint.tokenizer, tmp_path / "run")
    native.save(model, None, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert native.load(tmp_path / "run")[1] is None


def test_loading_draws_no_random_weights_and_so_imports_no_symbolic_mathematics(checkpoint, tmp_path):
    native.write(checkpoint, tmp_path / "run")
    code = (
        "import sys; from fourhorn.checkpoints import native; native.load(sys.argv[1]); "
        "print([name for name in ('sympy', 'torch._dynamo') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"
    state = torch.get_rng_state()
    native.load(tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), state)


def test_bfloat16_weights_stay_bfloat16(checkpoint, tmp_path):
    native.save(native.model_of(checkpoint).bfloat16(), checkpoint.tokenizer, tmp_path / "run")
    model, _ = native.load(tmp_path / "run")
    assert model.wte.weight.dtype == torch.bfloat16
    assert load(tmp_path / "run")[0].wte.weight.dtype == torch.float32


def test_one_flipped_bit_in_the_weights_is_found(checkpoint, tmp_path):
    native.write(checkpoint, tmp_path / "run")
    path = tmp_path / "run" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="sha256"):
        native.load(tmp_path / "run")


def test_config_and_weights_of_two_checkpoints_are_not_mixed(checkpoint, tmp_path):
    native.write(checkpoint, tmp_path / "a")
    changed = dict(checkpoint.weights) | {"ln_f.bias": checkpoint.weights["ln_f.bias"] + 1}
    native.write(type(checkpoint)(checkpoint.config, changed, checkpoint.tokenizer), tmp_path / "b")
    (tmp_path / "a" / "model.safetensors").write_bytes((tmp_path / "b" / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="not of the same checkpoint"):
        native.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("version", 2, "version 2"),
        ("format", "other", "no native checkpoint"),
        ("model", {"n_layer": -1}, "n_layer = -1"),
    ],
)
def test_a_config_that_is_wrong_is_named(checkpoint, tmp_path, field, value, words):
    native.write(checkpoint, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(UserError, match=words):
        native.read(tmp_path / "run")


def test_a_config_that_asks_for_more_than_the_file_holds_allocates_nothing(checkpoint, tmp_path):
    native.write(checkpoint, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    config["model"] |= {"n_layer": 1000, "n_embd": 65536, "n_head": 1}
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="too few"):
        native.read(tmp_path / "run")
