"""Scores with and without overlapping items, by hand."""

import math

import pytest

from fourhorn.errors import UserError
from fourhorn.memorization.scores import scores
from fourhorn.records import write_records


def write_items(tmp_path, task, items, overlaps):
    write_records(tmp_path / f"results/small/{task}.items.jsonl", items)
    write_records(tmp_path / f"overlap/{task}.items.jsonl", overlaps)
    return scores(tmp_path / "results/small", tmp_path / "overlap")


def test_lambada_with_and_without_by_hand(tmp_path):
    items = [{"id": str(i), "correct": i < 6, "nats": 1.0 if i < 6 else 3.0} for i in range(10)]
    items.append({"id": "10", "skipped": "too long"})
    overlaps = [{"id": str(i), "n_ngrams": 100, "n_hits": 20 if i in (0, 9) else 0} for i in range(11)]
    rows = write_items(tmp_path, "lambada", items, overlaps)["lambada"]["rows"]
    by = {(row["metric"], row["threshold"]): row for row in rows}
    row = by["accuracy, %", 0.0]
    assert (row["n"], row["n_with"]) == (10, 2)
    assert (row["all"]["value"], row["without"]["value"], row["with"]["value"]) == (60.0, 62.5, 50.0)
    assert row["difference"]["value"] == -2.5
    assert row["difference"]["low"] < -2.5 < row["difference"]["high"]
    row = by["word perplexity", 0.15]
    assert row["all"]["value"] == pytest.approx(math.exp(1.8))
    assert row["without"]["value"] == pytest.approx(math.exp(14 / 8))
    assert ("accuracy, %", 0.5) not in by  # no item overlaps by half


def test_turns_of_a_conversation_take_the_overlap_of_their_passage(tmp_path):
    items = [{"id": f"{c}/{turn}", "f1": 1.0 if c == "a" else 0.5} for c in "ab" for turn in (1, 2)]
    overlaps = [{"id": "a", "n_ngrams": 10, "n_hits": 9}, {"id": "b", "n_ngrams": 10, "n_hits": 0}]
    row = write_items(tmp_path, "coqa", items, overlaps)["coqa"]["rows"][0]
    assert (row["n"], row["n_with"]) == (4, 2)
    assert (row["all"]["value"], row["without"]["value"], row["with"]["value"]) == (75.0, 50.0, 100.0)
    assert all(row[part]["low"] is None for part in ("without", "with"))  # every draw is alike


def test_the_turns_of_a_conversation_are_drawn_together(tmp_path):
    n, turns = 40, 10
    items = [{"id": f"{c}/{t}", "f1": float(c % 4 == 0)} for c in range(n) for t in range(turns)]
    overlaps = [{"id": str(c), "n_ngrams": 10, "n_hits": c % 2} for c in range(n)]
    row = write_items(tmp_path, "coqa", items, overlaps)["coqa"]["rows"][0]
    assert (row["n"], row["n_with"], row["all"]["value"]) == (400, 200, 25.0)
    width = row["all"]["high"] - row["all"]["low"]
    assert width == pytest.approx(100 * 2 * 1.96 * math.sqrt(0.25 * 0.75 / n), rel=0.15)  # of 40, not of 400


def test_an_overlap_of_another_test_set_is_refused(tmp_path):
    with pytest.raises(UserError, match="No id of"):
        write_items(
            tmp_path, "winograd", [{"id": "1", "correct": True}], [{"id": "x", "n_ngrams": 3, "n_hits": 1}]
        )


def test_tasks_without_both_files_are_left_out(tmp_path):
    (tmp_path / "results/small").mkdir(parents=True)
    assert scores(tmp_path / "results/small", tmp_path / "overlap") == {}
