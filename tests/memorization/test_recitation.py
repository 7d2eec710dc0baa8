"""Recitation: longest runs with their place, and passages known by heart."""

import json

import pytest
import torch

from fourhorn.errors import UserError
from fourhorn.memorization.recitation import Passage, probes, read_passages, recitation, recited
from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.records import write_records
from fourhorn.sampling.generate import generate
from fourhorn.tokenizer import Tokenizer


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


@pytest.fixture
def reader():
    tokenizer = Tokenizer.train(["four score and seven years ago our fathers brought forth"], n_vocab=270)
    torch.manual_seed(3)
    return GPT2(GPT2Config(n_layer=1, n_head=1, n_embd=16, n_ctx=48, n_vocab=tokenizer.n_vocab)), tokenizer


def test_a_prompt_longer_than_the_context_keeps_its_end_and_says_what_it_lost(reader):
    model, tokenizer = reader
    short, long = (
        "seven years ago",
        "four score and seven years ago our fathers brought forth on this continent",
    )
    passages = [Passage("short", short, "x"), Passage("long", long, "x")]
    found = probes(passages, [2, 0], reader, 16)
    n_short, n_long = (len(tokenizer.encode_ordinary(text)) for text in (short, long))
    assert n_short < 32 < n_long
    assert [(p["n_occurrences"], p["n_prompt"], p["n_cut"]) for p in found] == [
        (2, n_short, 0),
        (0, n_long, n_long - 32),
    ]
    assert found[0]["completion"] == generate(model, tokenizer, short, max_new_tokens=16, temperature=0.0)
    end = tokenizer.decode(tokenizer.encode_ordinary(long)[-32:])
    assert found[1]["completion"] == generate(model, tokenizer, end, max_new_tokens=16, temperature=0.0)
    assert all("recited_words" in p for p in found)


def test_a_model_that_is_not_there_is_refused_before_the_text_is_read(tmp_path, train):
    write_records(tmp_path / "mine.jsonl", [{"completion": "x"}])
    with pytest.raises(UserError, match="nowhere"):
        recitation(tmp_path / "mine.jsonl", tmp_path / "no.jsonl", tmp_path / "o", model=tmp_path / "nowhere")
