"""Recitation: longest runs with their place, and passages known by heart."""

import json

import pytest

from fourhorn.errors import UserError
from fourhorn.memorization.recitation import read_passages, recitation, recited
from fourhorn.records import write_records


@pytest.fixture
def train(tmp_path):
    address = read_passages(None)[0]
    records = [
        {
            "id": "a",
            "url": "http://a.example/1",
            "text": "It was a bright cold day in April, and the clocks were striking.",
        },
        {"id": "b", "url": "http://b.example/2", "text": f"Speech: {address.prompt}{address.rest}"},
        {
            "id": "c",
            "url": None,
            "text": "FOUR SCORE and seven years ago, our fathers brought forth on this continent!",
        },
    ]
    write_records(tmp_path / "train.jsonl.zst", records)
    return tmp_path / "train.jsonl.zst"


def test_the_longest_run_of_each_sample_is_given_with_its_place(tmp_path, train):
    samples = [
        {"id": 0, "completion": "He said: a bright cold day in April, and nobody answered."},
        {"id": 1, "completion": "Entirely new words, in no way copied."},
        {"id": 2, "completion": "… shall not perish from the earth. Naïve – 東京"},
    ]
    write_records(tmp_path / "mine.jsonl", samples)
    result = recitation(tmp_path / "mine.jsonl", train, tmp_path / "overlap", min_bytes=12)
    assert [(r["id"], r["text"], r["document"], r["url"]) for r in result["longest"]] == [
        ("0", " a bright cold day in April, and ", "a", "http://a.example/1"),
        ("2", " shall not perish from the earth.", "b", "http://b.example/2"),
    ]
    assert result["n_without_run"] == 1
    assert result["median_characters"] == 33
    assert json.loads((tmp_path / "overlap/mine.recitation.json").read_text()) == result
    assert len((tmp_path / "overlap/mine.recitation.items.jsonl").read_text().splitlines()) == 3


def test_a_passage_is_counted_where_its_first_words_stand_whatever_case_and_marks(tmp_path, train):
    write_records(tmp_path / "mine.jsonl", [{"completion": "x"}])
    result = recitation(tmp_path / "mine.jsonl", train, tmp_path / "overlap")
    assert result["probes"] == [{"name": "Gettysburg Address", "n_occurrences": 2}]


def test_recited_words_are_counted_up_to_the_first_other_word():
    rest = ", testing whether that nation, or any nation"
    assert recited(" testing whether THAT nation or no nation", rest) == {
        "recited_words": 5,
        "recited_characters": 30,
    }
    assert recited("", rest) == {"recited_words": 0, "recited_characters": 0}


def test_the_built_in_passage_is_the_address_after_a_sentence_and_a_half():
    passage = read_passages(None)[0]
    assert passage.prompt.endswith("Now we are engaged in a great civil war")
    assert passage.rest.startswith(", testing whether that nation")
    assert len((passage.prompt + passage.rest).split()) in range(265, 280)


def test_passages_of_ones_own_need_three_fields_and_twelve_words(tmp_path):
    path = tmp_path / "p.jsonl"
    write_records(path, [{"name": "x", "prompt": "too short a beginning", "rest": "y"}])
    with pytest.raises(UserError, match="shorter than 12 words"):
        read_passages(path)
    write_records(path, [{"name": "x"}])
    with pytest.raises(UserError, match="needs `name`, `prompt` and `rest`"):
        read_passages(path)
