"""OpenAI's folders, against a checkpoint by TensorFlow 2.21 (made by benchmarks/checkpoints_tensorflow.py)."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from fourhorn.checkpoints import native, openai
from fourhorn.checkpoints.load import detect
from fourhorn.errors import UserError

FIXTURE = Path(__file__).parent / "fixtures" / "tensorflow"


def test_a_checkpoint_by_tensorflow_gives_tensorflows_logits():
    kept = json.loads((FIXTURE / "logits.json").read_text())
    model = native.model_of(openai.read(FIXTURE))
    with torch.no_grad():
        logits = model(torch.tensor(kept["tokens"]))[:, :, ::20]
    torch.testing.assert_close(logits, torch.tensor(kept["logits"]), atol=2e-6, rtol=0)


def test_writing_a_checkpoint_by_tensorflow_again_gives_the_same_data_file(tmp_path):
    openai.write(openai.read(FIXTURE), tmp_path / "again")
    name = "model.ckpt.data-00000-of-00001"
    assert (tmp_path / "again" / name).read_bytes() == (FIXTURE / name).read_bytes()


def test_variables_have_the_names_of_the_release():
    names = ["wte.weight", "h.11.ln_1.weight", "h.11.attn.c_attn.weight", "h.0.mlp.c_proj.bias", "ln_f.bias"]
    assert [openai.variable_name(name) for name in names] == [
        "model/wte",
        "model/h11/ln_1/g",
        "model/h11/attn/c_attn/w",
        "model/h0/mlp/c_proj/b",
        "model/ln_f/b",
    ]


def test_the_format_is_told_by_content_and_not_by_the_files_name(tmp_path):
    shutil.copytree(FIXTURE, tmp_path / "folder")
    for path in (tmp_path / "folder").glob("model.ckpt.*"):
        path.rename(path.with_name(path.name.replace("model.ckpt", "something")))
    assert detect(tmp_path / "folder") == "openai"
    assert openai.read(tmp_path / "folder").config.n_vocab == 261


def test_of_several_checkpoints_the_noted_latest_is_read(tmp_path):
    shutil.copytree(FIXTURE, tmp_path / "folder")
    for path in list((tmp_path / "folder").glob("model.ckpt.*")):
        shutil.copy(path, path.with_name(path.name.replace("model.ckpt", "model-10")))
    assert openai.latest(tmp_path / "folder").name == "model.ckpt"
    (tmp_path / "folder" / "checkpoint").unlink()
    with pytest.raises(UserError, match="holds 2 checkpoints"):
        openai.latest(tmp_path / "folder")


def test_a_flipped_bit_in_the_data_is_named_with_its_variable(tmp_path):
    shutil.copytree(FIXTURE, tmp_path / "folder")
    path = tmp_path / "folder" / "model.ckpt.data-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[300] ^= 4
    path.write_bytes(data)
    with pytest.raises(UserError, match="checksum of variable 'model/h0/attn/c_proj/w'"):
        openai.read(tmp_path / "folder")


def test_a_folder_without_the_wanted_variables_says_which(tmp_path):
    shutil.copytree(FIXTURE, tmp_path / "folder")
    path = tmp_path / "folder" / "hparams.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"n_layer": 3}))
    with pytest.raises(UserError, match=r"model/h2/attn/c_attn/b|too few"):
        openai.read(tmp_path / "folder")
