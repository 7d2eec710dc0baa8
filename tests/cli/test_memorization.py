"""The commands of section 4, as typed."""

import pytest

from fourhorn.cli.app import run
from fourhorn.cli.memorization import bloom_build, bloom_check, bloom_merge
from fourhorn.records import write_records


@pytest.fixture
def texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"word{i}" for i in range(400)]
    write_records(tmp_path / "train.jsonl", [{"id": "t", "text": " ".join(words)}])
    write_records(tmp_path / "mine.jsonl", [{"text": " ".join(words[100:120])}])
    return tmp_path


def test_overlap_prints_the_share_and_the_next_command(texts, capsys):
    assert run(["overlap", "mine.jsonl", "--train", "train.jsonl", "--unit", "words"]) == 0
    assert capsys.readouterr().out == (
        "mine: 100.00 % of 13 8-grams (words) are in webtext; 100.00 % of the distinct ones\n"
        "Wrote 1 result to overlap.\nNext: fourhorn report .\n"
    )


def test_a_mistake_is_one_sentence_and_exit_code_2(texts, capsys):
    assert run(["overlap", "mine.jsonl", "--unit", "words"]) == 2
    assert capsys.readouterr().err.startswith("fourhorn: No training text is given")


def test_recitation_prints_the_longest_run(texts, capsys):
    assert run(["recitation", "mine.jsonl", "--train", "train.jsonl"]) == 0
    out = capsys.readouterr().out
    assert "mine: 1 samples, median longest run 159 characters, longest of all 159." in out
    assert "Gettysburg Address: begins 0 times in the training text." in out


def test_a_filter_built_in_two_parts_and_merged_answers_as_the_stream_does(texts, capsys):
    for part in ("a", "b"):
        bloom_build([texts / "train.jsonl"], destination=texts / f"{part}.bloom", unit="words", n_items=786)
    bloom_merge([texts / "a.bloom", texts / "b.bloom"], destination=texts / "all.bloom")
    bloom_check(texts / "all.bloom", n_probes=100_000)
    assert "0 of 100,000 strangers taken for members" in capsys.readouterr().out
    command = ["overlap", "mine.jsonl", "--unit", "words", "--method", "bloom", "--bloom", "all.bloom"]
    assert run(command) == 0
    assert "100.00 % of 13 8-grams" in capsys.readouterr().out
    assert run([*command, "--ngram", "7"]) == 2
    assert "holds 8-grams of words; asked were 7-grams of words" in capsys.readouterr().err
