"""GGUF files against the `gguf` package: it reads what we write, we read what it writes."""

import numpy as np
import pytest
import torch

from fourhorn.checkpoints import gguf as our_gguf
from fourhorn.checkpoints.gguf_file import pack_string, read_gguf
from fourhorn.checkpoints.load import load, read
from fourhorn.checkpoints.quantize import BLOCK_TYPES, Q4_0, Q8_0, dequantize, quantize
from fourhorn.errors import UserError

gguf = pytest.importorskip("gguf")


@pytest.mark.parametrize("kind", ["f32", "f16", "q8_0"])
def test_the_gguf_package_reads_our_file(checkpoint, tmp_path, kind):
    path = our_gguf.write(checkpoint, tmp_path / "model.gguf", kind=kind, name="unicorn")
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "gpt2"
    assert fields["general.name"] == "unicorn"
    assert fields["gpt2.attention.head_count"] == 4
    assert len(fields["tokenizer.ggml.tokens"]) == len(fields["tokenizer.ggml.token_type"]) == 296
    assert fields["tokenizer.ggml.eos_token_id"] == 295
    assert {tensor.name for tensor in reader.tensors} >= {
        "token_embd.weight",
        "output.weight",
        "blk.1.ffn_up.bias",
    }
    ours = read(path)
    for tensor in reader.tensors:
        if tensor.name == "blk.1.attn_qkv.weight":
            theirs = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            assert np.array_equal(theirs, ours.weights["h.1.attn.c_attn.weight"].numpy())


@pytest.mark.parametrize(("ours", "theirs"), [(1, "F16"), (Q8_0, "Q8_0")])
def test_quantized_bytes_are_those_of_the_gguf_package(ours, theirs):
    values = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    values[0, :32] = 0
    expected = gguf.quants.quantize(values, gguf.GGMLQuantizationType[theirs])
    mine = quantize(values, ours)
    assert np.mean(mine != expected.reshape(-1).view(np.uint8)) < 0.001  # halves may round either way


@pytest.mark.parametrize("kind", [0, 1, Q4_0, 3, 6, 7, Q8_0, 10, 11, 12, 13, 14, 30])
def test_every_type_is_decoded_as_the_gguf_package_does(kind, tmp_path):
    n_bytes = BLOCK_TYPES[kind][1]
    data = np.random.default_rng(kind).integers(0, 60, size=4 * n_bytes, dtype=np.uint8)
    theirs = gguf.quants.dequantize(data.reshape(4, n_bytes), gguf.GGMLQuantizationType(kind))
    assert np.array_equal(dequantize(data, kind, tmp_path), theirs.reshape(-1))


def test_the_tokenizer_travels_inside_the_file(checkpoint, tmp_path):
    path = our_gguf.write(checkpoint, tmp_path / "model.gguf")
    model, tokenizer = load(path)
    assert tokenizer == checkpoint.tokenizer
    assert tokenizer.decode(tokenizer.encode_ordinary("the 🦄 of four")) == "the 🦄 of four"
    assert model.config.n_vocab == tokenizer.n_vocab


def test_rows_without_a_token_are_marked_unused_and_dropped_again(make_checkpoint, tokenizer, tmp_path):
    checkpoint = make_checkpoint()
    wte = torch.cat([checkpoint.weights["wte.weight"], torch.zeros(4, 64)])
    padded = type(checkpoint)(
        type(checkpoint.config)(2, 4, 64, 32, 300), checkpoint.weights | {"wte.weight": wte}, tokenizer
    )
    path = our_gguf.write(padded, tmp_path / "model.gguf", kind="f32")
    found = read(path)
    assert found.config.n_vocab == 296
    assert torch.equal(found.weights["wte.weight"], checkpoint.weights["wte.weight"])


def test_metadata_that_nests_is_refused(tmp_path):
    nested = b"\x09\0\0\0" + b"\x01" + bytes(7)  # an array of one array …
    data = b"GGUF" + b"\x03\0\0\0" + bytes(8) + b"\x01" + bytes(7)
    data += pack_string("deep") + b"\x09\0\0\0" + nested * 1000
    (tmp_path / "deep.gguf").write_bytes(data)
    with pytest.raises(UserError, match="metadata of type 9 is not read"):
        read_gguf(tmp_path / "deep.gguf")


def test_another_architecture_is_named(checkpoint, tmp_path):
    path = our_gguf.write(checkpoint, tmp_path / "model.gguf")
    path.write_bytes(path.read_bytes().replace(b"\x04\0\0\0\0\0\0\0gpt2", b"\x04\0\0\0\0\0\0\0bert", 1))
    with pytest.raises(UserError, match="'bert' model; only gpt2"):
        load(path)
