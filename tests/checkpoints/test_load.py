"""The one door: told by content, with a sentence for everything that is no checkpoint."""

import shutil

import pytest
import torch

import fourhorn
from fourhorn.checkpoints import llmc, native
from fourhorn.checkpoints.convert import FORMATS, convert
from fourhorn.checkpoints.load import detect, load, read
from fourhorn.errors import UserError


def test_a_run_folder_stands_for_its_checkpoint(checkpoint, tmp_path):
    fourhorn.save(native.model_of(checkpoint), checkpoint.tokenizer, tmp_path / "run" / "checkpoint")
    model, tokenizer = fourhorn.load(tmp_path / "run", dtype="bfloat16")
    assert model.wte.weight.dtype == torch.bfloat16
    assert tokenizer.n_vocab == model.config.n_vocab


@pytest.mark.parametrize("to", FORMATS)
def test_formats_are_told_by_content_whatever_the_folder_is_called(checkpoint, tmp_path, to):
    native.write(checkpoint, tmp_path / "a")
    misleading = tmp_path / "model.gguf.ckpt.hf"
    convert(tmp_path / "a", misleading, to=to)
    assert detect(misleading) == to


def test_what_is_no_checkpoint_says_what_would_be(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for source in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(
            UserError, match="is not a checkpoint that is known here: a native, run, Hugging Face"
        ):
            load(source)
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "absent")


def test_a_checkpoint_without_tokenizer_says_how_to_name_one(checkpoint, tmp_path):
    native.save(native.model_of(checkpoint), None, tmp_path / "bare")
    with pytest.raises(UserError, match="--tokenizer FOLDER"):
        load(tmp_path / "bare")
    checkpoint.tokenizer.save(tmp_path / "tokenizer")
    assert load(tmp_path / "bare", tokenizer=tmp_path / "tokenizer")[1] == checkpoint.tokenizer


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(make_checkpoint, tokenizer, tmp_path):
    small = make_checkpoint()
    small.weights["wte.weight"] = small.weights["wte.weight"][:280]
    small.config = type(small.config)(2, 4, 64, 32, 280)
    native.write(small, tmp_path / "small")
    with pytest.raises(UserError, match="do not belong together"):
        load(tmp_path / "small")


def test_rows_past_the_tokenizers_last_token_are_dropped(make_checkpoint, tokenizer, tmp_path):
    padded = make_checkpoint()
    padded.weights["wte.weight"] = torch.cat([padded.weights["wte.weight"], torch.ones(8, 64)])
    padded.config = type(padded.config)(2, 4, 64, 32, 304)
    native.write(padded, tmp_path / "padded")
    found = read(tmp_path / "padded")
    assert found.config.n_vocab == 296
    assert found.details == {"padded_n_vocab": 304}


def test_llm_c_pads_to_128_rows_and_says_how_many_are_real(checkpoint, tmp_path):
    folder = llmc.write(checkpoint, tmp_path / "llmc")
    header = torch.frombuffer(bytearray((folder / "model.bin").read_bytes()[:32]), dtype=torch.int32)
    assert header.tolist() == [20240326, 3, 32, 296, 2, 4, 64, 384]
    assert (folder / "gpt2_tokenizer.bin").read_bytes()[:16] == b"".join(
        number.to_bytes(4, "little") for number in (20240328, 2, 296, 295)
    )
    shutil.rmtree(folder)


def test_an_llm_c_file_cut_short_is_refused(checkpoint, tmp_path):
    folder = llmc.write(checkpoint, tmp_path / "llmc")
    data = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(data[:-1])
    with pytest.raises(UserError, match="calls for"):
        load(folder)
