"""The commands of section 2.2, run as a user runs them."""

import io
from pathlib import Path

import pytest

from fourhorn.cli.app import run
from fourhorn.tokenizer import Tokenizer


@pytest.fixture
def vocabulary(small: Tokenizer, tmp_path: Path) -> str:
    small.save(tmp_path / "tokenizer")
    return str(tmp_path / "tokenizer")


def test_encode_prints_ids(small: Tokenizer, vocabulary: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tokenizer", "encode", "the ferry <|endoftext|>", "--tokenizer", vocabulary]) == 0
    ids = [int(word) for word in capsys.readouterr().out.split()]
    assert ids == small.encode_ordinary("the ferry <|endoftext|>")
    assert run(["tokenizer", "encode", "the<|endoftext|>", "--special", "--tokenizer", vocabulary]) == 0
    assert capsys.readouterr().out.split()[-1] == str(small.eot)


def test_decode_prints_text(
    small: Tokenizer,
    vocabulary: str,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [str(i) for i in small.encode_ordinary("naïve 渡轮")]
    assert run(["tokenizer", "decode", *ids, "--tokenizer", vocabulary]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(",".join(ids)))
    assert run(["tokenizer", "decode", "--tokenizer", vocabulary]) == 0
    assert capfdbinary.readouterr().out == "naïve 渡轮\nnaïve 渡轮\n".encode()


def test_show_prints_tokens_ids_and_counts(vocabulary: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tokenizer", "show", "a 🦄", "--tokenizer", vocabulary]) == 0
    out = capsys.readouterr().out
    assert "3 characters, 6 bytes" in out
    assert "64" in out.splitlines()[1].split()


def test_compare_prints_a_table_and_writes_a_plot(
    vocabulary: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Tokenizer.train(["other"], n_vocab=258, min_frequency=1).save(tmp_path / "other")
    other = str(tmp_path / "other")
    assert run(["tokenizer", "compare", vocabulary, other, "--output", str(tmp_path / "plot")]) == 0
    out = capsys.readouterr().out
    assert "bytes per token" in out
    assert "Chinese" in out
    assert (tmp_path / "plot" / "comparison.svg").exists()


def test_train_and_tokens_say_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("some text, some text")
    folder = str(tmp_path / "tokenizer")
    assert run(["tokenizer", "train", str(tmp_path / "a.txt"), folder, "--n-vocab", "260"]) == 0
    assert "Next: fourhorn tokens" in capsys.readouterr().out
    shards = str(tmp_path / "out" / "train")
    assert run(["tokens", str(tmp_path / "a.txt"), shards, "--tokenizer", folder]) == 0
    out = capsys.readouterr().out
    assert "tokens: 1 of 1 kept" in out
    assert f"Next: fourhorn train {tmp_path / 'out'} runs/NAME" in out  # the folder that holds `train`


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encode", "x", "--tokenizer", "nowhere"], "nowhere does not exist"),
        (["decode", "99999999", "--tokenizer", "VOCABULARY"], "99999999 is no id of this vocabulary"),
        (["train", "nowhere.txt", "out"], "nowhere.txt does not exist"),
    ],
)
def test_mistakes_end_in_one_sentence_and_exit_code_2(
    vocabulary: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tokenizer", *[vocabulary if a == "VOCABULARY" else a for a in arguments]]) == 2
    assert message in capsys.readouterr().err
