"""Stages over shards: what a killed run left is used, what is done is not done again, other work is refused."""

from pathlib import Path

import pytest

from fourhorn.errors import UserError
from fourhorn.files import read_manifest
from fourhorn.records import iter_records, write_records
from fourhorn.webtext.stage import WORK, Where, add_up, begin, finish, open_source, run_shards


def keep_even(shard: str, output: Path, *, log: str) -> dict:
    """A stage of one line: numbers that are even stay; every call is written down."""
    with open(log, "a") as file:
        file.write(Path(shard).name + "\n")
    rows = list(iter_records(shard))
    kept = [row for row in rows if row["n"] % 2 == 0]
    write_records(output, kept)
    return {
        "n_in": len(rows),
        "n_kept": len(kept),
        "drops": {"odd": len(rows) - len(kept)},
        "details": {"x": 1},
    }


def always_fail(shard: str, output: Path, **_: object) -> dict:
    raise ValueError("broken shard")


@pytest.fixture
def source(tmp_path):
    for index in range(3):
        write_records(
            tmp_path / "in" / f"part-{index:05d}.jsonl", [{"n": n, "text": "x"} for n in range(index + 3)]
        )
    return tmp_path / "in"


def run(function, source, destination, log, options=None):
    shards = open_source(source)
    done = begin(destination, "even", options or {}, shards.inputs)
    if done:
        return done
    results = run_shards(
        function, shards, destination, phase="even", where=Where(workers=1), kwargs={"log": str(log)}
    )
    return finish(destination, "even", options or {}, shards.inputs, results, 0.0)


def test_counts_add_up_over_shards(source, tmp_path):
    manifest = run(keep_even, source, tmp_path / "out", tmp_path / "log")
    assert (manifest.n_in, manifest.n_kept, manifest.drops, manifest.details) == (12, 7, {"odd": 5}, {"x": 3})
    assert [line["n_items"] for line in manifest.outputs.values()] == [2, 2, 3]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "manifest.json",
        "part-00000.jsonl.zst",
        "part-00001.jsonl.zst",
        "part-00002.jsonl.zst",
    ]


def test_a_finished_folder_is_not_worked_on_again(source, tmp_path):
    first = run(keep_even, source, tmp_path / "out", tmp_path / "log")
    again = run(keep_even, source, tmp_path / "out", tmp_path / "log")
    assert again == first
    assert len((tmp_path / "log").read_text().split()) == 3


def test_shards_done_before_a_kill_are_not_done_again(source, tmp_path):
    shards = open_source(source)
    begin(tmp_path / "out", "even", {}, shards.inputs)
    run_shards(
        keep_even,
        shards,
        tmp_path / "out",
        phase="even",
        where=Where(workers=1),
        kwargs={"log": str(tmp_path / "log")},
    )
    (tmp_path / "out" / WORK / "even" / "00001.json").unlink()  # as if killed before this shard was recorded
    manifest = run(keep_even, source, tmp_path / "out", tmp_path / "log")
    assert (tmp_path / "log").read_text().split().count("part-00001.jsonl") == 2
    assert len((tmp_path / "log").read_text().split()) == 4
    assert manifest.n_in == 12


def test_other_options_are_refused_finished_or_not(source, tmp_path):
    shards = open_source(source)
    begin(tmp_path / "out", "even", {"a": 1}, shards.inputs)
    with pytest.raises(UserError, match="unfinished work with other options"):
        begin(tmp_path / "out", "even", {"a": 2}, shards.inputs)
    run(keep_even, source, tmp_path / "done", tmp_path / "log", {"a": 1})
    with pytest.raises(UserError, match="other options"):
        begin(tmp_path / "done", "even", {"a": 2}, shards.inputs)


def test_a_shard_that_fails_for_good_is_quarantined_and_counted(source, tmp_path):
    run(keep_even, source, tmp_path / "even", tmp_path / "log")
    shards = open_source(tmp_path / "even")
    begin(tmp_path / "out", "fail", {}, shards.inputs)
    results = run_shards(always_fail, shards, tmp_path / "out", phase="x", where=Where(workers=1), kwargs={})
    manifest = finish(tmp_path / "out", "fail", {}, shards.inputs, results, 0.0)
    assert (manifest.n_in, manifest.n_kept, manifest.drops) == (7, 0, {"quarantined": 7})
    assert manifest.details["quarantined"]["part-00000.jsonl.zst"] == "ValueError: broken shard"


def test_an_unfinished_source_is_refused(source, tmp_path):
    begin(tmp_path / "out", "even", {}, {})
    write_records(tmp_path / "out" / "part-00000.jsonl", [{"n": 1}])
    with pytest.raises(UserError, match="is not finished"):
        open_source(tmp_path / "out")
    assert read_manifest(tmp_path / "out") is None


def test_details_are_summed_by_name():
    results = [
        {"n_in": 2, "n_kept": 1, "drops": {"a": 1}, "details": {"n": 3, "languages": {"en": 1}}},
        {"n_in": 2, "n_kept": 2, "drops": {}, "details": {"n": 4, "languages": {"en": 1, "fr": 5}}},
    ]
    total, details = add_up(results)
    assert total == {"n_in": 4, "n_kept": 3, "drops": {"a": 1}}
    assert details == {"n": 7, "languages": {"fr": 5, "en": 2}}
