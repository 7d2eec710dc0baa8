"""Every format there and back at the paper's four shapes: the same tensors, the same tokenizer, the same logits."""

import pytest
import torch

from fourhorn.checkpoints import native
from fourhorn.checkpoints.convert import FORMATS, convert
from fourhorn.checkpoints.load import detect, load, read
from fourhorn.checkpoints.names import Checkpoint
from fourhorn.errors import UserError

SHAPES = {"124M": (12, 768), "355M": (16, 1024), "774M": (20, 1280), "1558M": (25, 1600)}


def same(a: Checkpoint, b: Checkpoint) -> bool:
    return (
        a.config.to_dict() | {"dropout": 0} == b.config.to_dict() | {"dropout": 0}
        and a.tokenizer == b.tokenizer
        and set(a.weights) == set(b.weights)
        and all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)
    )


@pytest.mark.parametrize("size", SHAPES)
def test_every_format_gives_back_identical_tensors_and_logits(make_checkpoint, tmp_path, size):
    n_head, n_embd = SHAPES[size]
    checkpoint = make_checkpoint(n_layer=1, n_head=n_head, n_embd=n_embd)
    native.write(checkpoint, tmp_path / "native")
    tokens = torch.tensor([[1, 5, 256, 17, 2, 9]])
    with torch.no_grad():
        expected = native.model_of(checkpoint)(tokens)
    for to in FORMATS:
        out = convert(tmp_path / "native", tmp_path / f"as-{to}", to=to, gguf_type="f32", overwrite=True)
        assert detect(out) == to
        assert same(read(out), checkpoint), to
        with torch.no_grad():
            assert torch.equal(load(out)[0](tokens), expected), to


def test_a_chain_through_all_formats_ends_in_the_same_weights(checkpoint, tmp_path):
    native.write(checkpoint, tmp_path / "0")
    for i, to in enumerate((*FORMATS, "native")):
        convert(tmp_path / str(i), tmp_path / str(i + 1), to=to, gguf_type="f32")
    assert same(read(tmp_path / str(len(FORMATS) + 1)), checkpoint)


@pytest.mark.parametrize(("kind", "bound"), [("f32", 0.0), ("f16", 2**-11), ("q8_0", 1 / 254 + 2**-11)])
def test_gguf_types_stay_within_their_bound(checkpoint, tmp_path, kind, bound):
    native.write(checkpoint, tmp_path / "native")
    convert(tmp_path / "native", tmp_path / "model.gguf", gguf_type=kind)
    found = read(tmp_path / "model.gguf")
    for name, weight in checkpoint.weights.items():
        assert (found.weights[name] - weight).abs().max() <= bound * weight.abs().max() + 1e-7, name


def test_bfloat16_and_float16_are_written_on_request(checkpoint, tmp_path):
    native.write(checkpoint, tmp_path / "native")
    for to in ("native", "huggingface", "nanogpt", "llmc"):
        convert(tmp_path / "native", tmp_path / to / "b", to=to, dtype="bfloat16")
        assert read(tmp_path / to / "b").weights["wte.weight"].dtype == torch.bfloat16
    convert(tmp_path / "native", tmp_path / "half", dtype="float16")
    assert read(tmp_path / "half").weights["wte.weight"].dtype == torch.float16


def test_what_is_there_is_replaced_only_on_request(checkpoint, tmp_path):
    native.write(checkpoint, tmp_path / "native")
    convert(tmp_path / "native", tmp_path / "out")
    with pytest.raises(UserError, match="--overwrite"):
        convert(tmp_path / "native", tmp_path / "out")
    convert(tmp_path / "native", tmp_path / "out", overwrite=True)


def test_unknown_words_name_the_nearest_known_one(checkpoint, tmp_path):
    native.write(checkpoint, tmp_path / "native")
    with pytest.raises(UserError, match="Did you mean 'huggingface'"):
        convert(tmp_path / "native", tmp_path / "out", to="hugingface")
    with pytest.raises(UserError, match="Did you mean 'bfloat16'"):
        convert(tmp_path / "native", tmp_path / "out", dtype="bfloat")
    with pytest.raises(UserError, match="Did you mean 'q8_0'"):
        convert(tmp_path / "native", tmp_path / "out.gguf", gguf_type="q8")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.gguf").exists()
