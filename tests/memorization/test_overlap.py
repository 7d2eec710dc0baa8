"""Overlap of test sets with training text: planted, real, by both methods."""

import json

import pytest

from fourhorn.errors import UserError
from fourhorn.memorization.overlap import overlap
from fourhorn.records import write_records


def measured(tmp_path, tests, train, **options):
    for name, texts in {**tests, "train": train}.items():
        write_records(tmp_path / f"{name}.jsonl.zst", [{"text": text} for text in texts])
    paths = {name: tmp_path / f"{name}.jsonl.zst" for name in tests}
    return overlap(paths, tmp_path / "train.jsonl.zst", tmp_path / "overlap", **options)


def planted(sentences, share, n_words=8008):
    """A test text of 8,001 word 8-grams of which exactly `share` stand in the training text, and that text."""
    words = sentences(n_words, 7).split()
    n_hits = round(share * (n_words - 7))
    return " ".join(words), " ".join(words[: n_hits + 7]) if n_hits else "nothing at all"


@pytest.mark.parametrize("method", ["stream", "bloom"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_a_planted_overlap_is_measured_exactly(tmp_path, share, method, sentences):
    test, train = planted(sentences, share)
    result = measured(tmp_path, {"t": [test]}, [sentences(3000, 8), train], unit="words", method=method)["t"]
    assert result["n_ngrams"] == 8001
    assert result["n_hits"] == round(share * 8001)
    assert result["overlap"] == round(share * 8001) / 8001


def test_both_methods_and_both_units_agree_on_what_overlaps(tmp_path, tokenizer, sentences):
    train = [sentences(400, seed) for seed in range(20)]
    tests = {"a": [*train[3:5], sentences(300, 99)], "b": [sentences(500, 98) + " " + train[7]]}
    for unit in ("words", "bpe"):
        results = [
            measured(tmp_path, tests, train, unit=unit, tokenizer=tokenizer, method=method)
            for method in ("stream", "bloom")
        ]
        for name in tests:
            stream, bloom = (
                {k: r[name][k] for k in ("n_ngrams", "n_hits", "n_unique", "n_unique_hits", "items")}
                for r in results
            )
            assert stream == bloom


def test_words_counted_by_hand(tmp_path):
    tests = {"t": ["A b, c d!", "x y z"]}
    result = measured(tmp_path, tests, ["... B C d e", "y"], unit="words", ngram=2)["t"]
    # 2-grams: ab bc cd | xy yz; training text has bc cd de.
    assert (result["n_ngrams"], result["n_hits"], result["overlap"]) == (5, 2, 0.4)
    rows = (tmp_path / "overlap/t.items.jsonl").read_text().splitlines()
    assert [json.loads(row) for row in rows] == [
        {"id": "0", "n_ngrams": 3, "n_hits": 2},
        {"id": "1", "n_ngrams": 2, "n_hits": 0},
    ]


def test_several_threads_find_what_one_finds(tmp_path, sentences):
    train = [sentences(200, seed) for seed in range(60)]
    tests = {"t": [*train[::9], sentences(200, 500)]}
    one = measured(tmp_path, tests, train, unit="words", n_threads=1)["t"]
    four = measured(tmp_path, tests, train, unit="words", n_threads=4)["t"]
    assert one["n_hits"] == four["n_hits"] > 0
    assert one["train_ngrams"] == four["train_ngrams"] == 60 * 193


def test_a_long_training_text_is_cut_without_loss(tmp_path, monkeypatch, sentences):
    monkeypatch.setattr("fourhorn.memorization.overlap.PIECE_CHARACTERS", 2000)
    text = sentences(3000, 11)
    result = measured(tmp_path, {"t": [text]}, [text], unit="words")["t"]
    assert result["overlap"] == 1.0
    assert result["train_bytes"] == len(text)


def test_a_test_set_shorter_than_one_ngram_has_no_overlap_rather_than_zero(tmp_path):
    result = measured(tmp_path, {"t": ["too short"]}, ["too short"], unit="words")["t"]
    assert result["n_ngrams"] == 0
    assert result["overlap"] is None


def test_the_file_name_tells_other_training_texts_apart(tmp_path, sentences):
    measured(tmp_path, {"t": [sentences(20, 1)]}, ["a"], unit="words")
    measured(tmp_path, {"t": [sentences(20, 1)]}, ["a"], unit="words", against="own")
    assert {p.name for p in (tmp_path / "overlap").glob("*.json")} == {"t.json", "t.own.json"}


def test_the_interval_over_items_holds_the_overlap(tmp_path, sentences):
    train = [sentences(100, seed) for seed in range(40)]
    tests = {"t": train[:12] + [sentences(100, 1000 + seed) for seed in range(28)]}
    result = measured(tmp_path, tests, train, unit="words")["t"]
    assert result["overlap"] == pytest.approx(0.3)
    assert 0.1 < result["low"] < 0.3 < result["high"] < 0.5
    assert result["items"]["share_without_hits"] == pytest.approx(0.7)
    assert result["items"]["cdf"][0] == [0, 0.7]


def test_user_mistakes_name_the_way_out(tmp_path):
    write_records(tmp_path / "t.jsonl", [{"text": "a b"}])
    write_records(tmp_path / "bad.jsonl", [{"body": "a b"}])
    with pytest.raises(UserError, match="No test set"):
        overlap([], tmp_path, tmp_path / "o", unit="words")
    with pytest.raises(UserError, match="method 'strem'.*Did you mean 'stream'"):
        overlap([tmp_path / "t.jsonl"], tmp_path / "t.jsonl", tmp_path / "o", unit="words", method="strem")
    with pytest.raises(UserError, match="has no completion or text"):
        overlap([tmp_path / "bad.jsonl"], tmp_path / "t.jsonl", tmp_path / "o", unit="words")
    with pytest.raises(UserError, match="does not exist"):
        overlap([tmp_path / "none.jsonl"], tmp_path / "t.jsonl", tmp_path / "o", unit="words")
    with pytest.raises(UserError, match="Two test sets are called"):
        overlap(
            [f"a={tmp_path}/t.jsonl", f"a={tmp_path}/t.jsonl"],
            tmp_path / "t.jsonl",
            tmp_path / "o",
            unit="words",
        )
    with pytest.raises(UserError, match="need a tokenizer"):
        overlap([tmp_path / "t.jsonl"], tmp_path / "t.jsonl", tmp_path / "o")


@pytest.mark.parametrize("method", ["stream", "bloom"])
def test_wikitext2_reproduces_the_papers_cell_of_table_6(tmp_path, real_data, method):
    folder = real_data / "eval/wikitext2"
    result = overlap(
        {"wikitext2": folder / "wiki.test.tokens.txt"},
        folder / "wiki.train.tokens.article-order-changed.txt",
        tmp_path,
        tokenizer=real_data / "gpt2-vocab",
        method=method,
        against="own",
    )["wikitext2"]
    assert result["tokenizer_sha256"]  # 8-grams of another vocabulary's tokens give another share
    assert result["n_hits"] == 1592
    assert round(100 * result["overlap"], 2) == 0.66


def test_of_one_set_in_two_folders_the_later_counts(tmp_path):
    for folder, text in (("sets", "one two three"), ("official", "one two three four")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "lambada.jsonl").write_text(json.dumps({"text": text}) + "\n")
    write_records(tmp_path / "train.jsonl", [{"text": "x"}])
    tests = {"sets": tmp_path / "sets", "data": tmp_path / "official"}
    results = overlap(tests, tmp_path / "train.jsonl", tmp_path / "overlap", unit="words", ngram=2)
    assert results["lambada"]["n_ngrams"] == 3
