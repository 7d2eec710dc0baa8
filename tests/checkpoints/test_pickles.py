"""Pickles are refused, and with trust only their weights are read."""

import pickle
import zipfile

import pytest
import torch

from fourhorn.checkpoints.convert import convert
from fourhorn.checkpoints.huggingface import to_stored
from fourhorn.checkpoints.huggingface import write as write_huggingface
from fourhorn.checkpoints.load import load, read
from fourhorn.errors import UserError


class Bomb:
    def __reduce__(self):
        return (open, ("ran.txt", "w"))


def nanogpt_pickle(checkpoint, path, *, bias=True):
    config = checkpoint.config
    model = {f"_orig_mod.transformer.{name}": value for name, value in checkpoint.weights.items()}
    model["_orig_mod.lm_head.weight"] = model["_orig_mod.transformer.wte.weight"]
    if not bias:
        model = {name: value for name, value in model.items() if not name.endswith(".bias")}
    arguments = {
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_embd": config.n_embd,
        "block_size": config.n_ctx,
        "vocab_size": config.n_vocab,
        "bias": bias,
        "dropout": 0.0,
    }
    torch.save({"model": model, "model_args": arguments, "iter_num": 5, "config": {"batch_size": 12}}, path)


def test_a_pickle_is_refused_with_the_command_that_converts_it(checkpoint, tmp_path):
    nanogpt_pickle(checkpoint, tmp_path / "ckpt.pt")
    for source in (tmp_path / "ckpt.pt", tmp_path):
        with pytest.raises(UserError, match=f"fourhorn convert {source} NEW_FOLDER --trust-pickle"):
            load(source)


@pytest.mark.parametrize("bias", [True, False])
def test_nanogpts_checkpoint_is_converted_on_trust(checkpoint, tmp_path, bias):
    (tmp_path / "out").mkdir()
    nanogpt_pickle(checkpoint, tmp_path / "out" / "ckpt.pt", bias=bias)
    checkpoint.tokenizer.save(tmp_path / "tokenizer")
    convert(tmp_path / "out", tmp_path / "new", trust_pickle=True, tokenizer=tmp_path / "tokenizer")
    found = read(tmp_path / "new")
    for name, weight in checkpoint.weights.items():
        wanted = weight if bias or not name.endswith(".bias") else torch.zeros_like(weight)
        assert torch.equal(found.weights[name], wanted), name


def test_a_hugging_face_folder_with_a_pickle_is_converted_on_trust(checkpoint, tmp_path):
    folder = write_huggingface(checkpoint, tmp_path / "hf")
    (folder / "model.safetensors").unlink()
    torch.save(to_stored(checkpoint.weights), folder / "pytorch_model.bin")
    convert(folder, tmp_path / "new", trust_pickle=True)
    assert torch.equal(load(tmp_path / "new")[0].wte.weight, checkpoint.weights["wte.weight"])


def test_code_in_a_pickle_does_not_run_even_on_trust(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Bomb(), "model_args": {}}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps({"model": Bomb()}))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(UserError, match="refused even with --trust-pickle"):
            read(tmp_path / name, trust_pickle=True)
    assert not (tmp_path / "ran.txt").exists()


def test_an_archive_that_would_unpack_to_more_than_it_holds_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(UserError, match="unpack to more"):
        read(tmp_path / "bomb.pt", trust_pickle=True)


def test_several_pickles_in_a_folder_are_named(checkpoint, tmp_path):
    nanogpt_pickle(checkpoint, tmp_path / "a.pt")
    nanogpt_pickle(checkpoint, tmp_path / "b.pt")
    with pytest.raises(UserError, match=r"2 pickles \(a.pt, b.pt\)"):
        read(tmp_path, trust_pickle=True)


def test_damaged_pickles_end_in_one_sentence(tmp_path):
    for i, data in enumerate((b"\x80\x02", b"PK\x03\x04" + bytes(100), b"\x80\x05\x95\xff")):
        (tmp_path / f"{i}.pt").write_bytes(data)
        with pytest.raises(UserError):
            read(tmp_path / f"{i}.pt", trust_pickle=True)
