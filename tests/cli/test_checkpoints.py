"""`fourhorn convert`, `download` and `push` from the command line."""

import json

import pytest

from fourhorn.checkpoints import native
from fourhorn.checkpoints.load import load
from fourhorn.cli.app import run
from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.tokenizer.tokenizer import Tokenizer
from fourhorn.tokenizer.vocabulary import Vocabulary


@pytest.fixture
def checkpoint(tmp_path):
    tokenizer = Tokenizer(Vocabulary.of([]))
    model = GPT2(GPT2Config(1, 2, 64, 16, tokenizer.n_vocab))
    return native.save(model, tokenizer, tmp_path / "mine")


def test_convert_writes_a_format_and_names_the_next_command(checkpoint, tmp_path, capsys):
    assert run(["convert", str(checkpoint), str(tmp_path / "mine.gguf"), "--gguf-type", "q8_0"]) == 0
    out = capsys.readouterr().out
    assert f"→ {tmp_path / 'mine.gguf'}" in out
    assert f"Next: fourhorn sample {tmp_path / 'mine.gguf'}" in out
    assert load(tmp_path / "mine.gguf")[0].config.n_embd == 64


def test_mistakes_end_in_one_sentence_and_exit_code_2(checkpoint, tmp_path, capsys):
    assert run(["convert", str(checkpoint), str(checkpoint)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run(["convert", str(tmp_path / "absent"), str(tmp_path / "new")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert run(["download", "124M", str(tmp_path / "here"), "--offline"]) == 2
    assert "--offline forbids" in capsys.readouterr().err
    assert run(["push", str(checkpoint), "unicorn"]) == 2
    assert "OWNER/NAME" in capsys.readouterr().err


def test_a_dry_push_writes_the_folder(checkpoint, tmp_path, capsys):
    assert run(["push", str(checkpoint), "ada/unicorn", "--dry-run", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "gpt2"
    assert "# unicorn" in (tmp_path / "out" / "README.md").read_text()
