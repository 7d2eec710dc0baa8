"""Sketch files: dates and ids in order, test n-grams found, all shards put together."""

import numpy as np

from fourhorn.records import write_records
from fourhorn.webtext import sketches
from fourhorn.webtext.sketches import NO_DATE, evaluation_hashes, gather, seconds_of, write_sketches


def test_dates_become_seconds_and_unknown_ones_come_last():
    assert seconds_of("1970-01-02T00:00:00Z") == seconds_of("1970-01-02") == 86400
    assert seconds_of("1970-01-02T01:00:00+01:00") == 86400
    assert seconds_of(None) == seconds_of("yesterday") == NO_DATE


def test_rank_is_by_date_whatever_shard_a_document_is_in(tmp_path):
    dates = ["2017-03-01", None, "2016-01-01", "2017-01-01"]
    for shard in range(2):
        rows = [{"text": f"text {i}", "id": f"id{i}", "date": dates[i]} for i in (2 * shard, 2 * shard + 1)]
        write_records(tmp_path / f"{shard}.jsonl", rows)
        write_sketches(
            str(tmp_path / f"{shard}.jsonl"),
            tmp_path / f"{shard}.npz",
            ngram=5,
            n_hashes=128,
            evaluation=None,
            evaluation_ngram=13,
        )
    corpus = gather(
        [tmp_path / "0.npz", tmp_path / "1.npz"], tmp_path / "work", n_hashes=128, bands=14, rows=8
    )
    assert corpus.rank.tolist() == [2, 3, 0, 1]
    assert corpus.starts.tolist() == [0, 2, 4]
    assert corpus.ids(1).tolist() == [b"id2", b"id3"]
    assert corpus.signatures.shape == (4, 128)
    assert corpus.keys.shape == (14, 4)


def test_texts_that_share_a_test_ngram_overlap(tmp_path):
    test = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    write_records(tmp_path / "tests.jsonl", [{"text": test}])
    hashes = evaluation_hashes(tmp_path / "tests.jsonl", 13)
    assert len(hashes) == 2
    np.save(tmp_path / "tests.npy", hashes)
    texts = [
        "Before: One, two three four five six seven eight nine ten eleven twelve THIRTEEN!",
        test[4:60],
        "short",
        "",
    ]
    write_records(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    write_sketches(
        str(tmp_path / "a.jsonl"),
        tmp_path / "a.npz",
        ngram=5,
        n_hashes=128,
        evaluation=str(tmp_path / "tests.npy"),
        evaluation_ngram=13,
    )
    assert np.load(tmp_path / "a.npz")["rows"]["overlaps"].tolist() == [True, False, False, False]
    assert sketches.ROW["id"].itemsize == 64
