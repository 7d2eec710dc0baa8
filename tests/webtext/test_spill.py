import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fourhorn.webtext import spill
from fourhorn.webtext.spill import N_BUCKETS, ROW, SpillReader, SpillWriter, best

KEYS = st.integers(0, 3)


@given(st.lists(st.tuples(KEYS, KEYS, st.integers(-2, 2), st.integers(0, 2)), max_size=40))
def test_best_is_what_a_dictionary_finds(rows):
    expected: dict[tuple[int, int], int] = {}
    for i, (high, low, rank, time) in enumerate(rows):
        held = expected.get((high, low))
        if held is None or (-rank, time) < (-rows[held][2], rows[held][3]):
            expected[high, low] = i
    table = np.array([(*row, 0) for row in rows], dtype=ROW)
    assert best(table).tolist() == [expected[key] for key in sorted(expected)]


def test_rows_come_back_once_each_in_hash_order_from_many_runs_and_files(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "RUN_BYTES", 4000)
    random.seed(3)
    rows = [(random.randrange(300).to_bytes(2, "big") * 8, random.randrange(9), i) for i in range(2000)]
    for name, part in (("a", rows[:900]), ("b", rows[900:])):
        writer = SpillWriter(tmp_path / name)
        for key, karma, time in part:
            writer.add(key, karma, time, b"%d\n" % time)
        writer.close({"n": len(part)})
    assert spill.read_summary(tmp_path / "a") == {"n": 900}
    assert spill.read_summary(tmp_path / "absent") is None
    reader = SpillReader([tmp_path / "a", tmp_path / "b"])
    found = [reader.best_rows(bucket) for bucket in range(N_BUCKETS)]
    assert sum(n for _, n in found) == 2000
    lines = [int(line) for lines, _ in found for line in lines]
    expected = {}
    for key, karma, time in rows:
        if key not in expected or karma > expected[key][0]:
            expected[key] = (karma, time)
    assert lines == [expected[key][1] for key in sorted(expected)]


def test_unknown_karma_is_worth_less_than_any(tmp_path):
    writer = SpillWriter(tmp_path / "a")
    writer.add(bytes(16), None, None, b"unknown\n")
    writer.add(bytes(16), -50, 7, b"known\n")
    writer.close({})
    assert SpillReader([tmp_path / "a"]).best_rows(0) == ([b"known\n"], 2)
