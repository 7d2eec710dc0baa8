"""De-duplication: planted duplicates go, the earliest stays, shards and order change nothing."""

import random

import pytest

from fourhorn.errors import UserError
from fourhorn.records import iter_records, write_records
from fourhorn.webtext.dedup import dedup

RNG = random.Random(5)
VOCABULARY = [f"word{i}" for i in range(5000)]


def text(n: int = 300) -> list[str]:
    return [RNG.choice(VOCABULARY) for _ in range(n)]


def changed(words: list[str], n: int) -> list[str]:
    """The same text with `n` of its words replaced far from one another, so that 5n of its 5-grams differ."""
    words = list(words)
    for k in range(n):
        words[10 + k * (len(words) - 20) // max(n, 1)] = f"other{RNG.randrange(10**9)}"
    return words


def similarity_of(n_words: int, n_changed: int) -> float:
    n = n_words - 4
    return (n - 5 * n_changed) / (n + 5 * n_changed)


def rows_of(*texts: list[str]) -> list[dict]:
    return [
        {"id": f"{i:032x}", "text": " ".join(words), "date": f"2017-01-{i + 1:02d}"}
        for i, words in enumerate(texts)
    ]


def run(tmp_path, documents, name="unique", n_shards=1, **options):
    for shard in range(n_shards):
        write_records(tmp_path / f"in-{name}" / f"part-{shard:05d}.jsonl", documents[shard::n_shards])
    manifest = dedup(tmp_path / f"in-{name}", tmp_path / name, workers=1, **options)
    return manifest, sorted(int(d["id"], 16) for d in iter_records(tmp_path / name))


def test_duplicates_go_and_the_earliest_stays(tmp_path):
    a, b = text(), text()
    rows = rows_of(
        a,
        b,
        [w.upper() + "," for w in a],
        changed(a, 3),
        changed(b, 5),
        changed(a, 40),
        ["short", "text"],
        ["Short", "text!"],
    )
    assert similarity_of(300, 5) > 0.7 > similarity_of(300, 40)
    manifest, kept = run(tmp_path, rows)
    assert kept == [0, 1, 5, 6]
    assert manifest.drops == {"exact_duplicate": 2, "near_duplicate": 2}
    assert manifest.n_in == 8
    log = {int(d["id"], 16): d for d in iter_records(tmp_path / "unique" / "duplicates")}
    assert {k: (d["reason"], int(d["kept"], 16)) for k, d in log.items()} == {
        2: ("exact_duplicate", 0),
        3: ("near_duplicate", 0),
        4: ("near_duplicate", 1),
        7: ("exact_duplicate", 6),
    }
    assert log[3]["similarity"] == pytest.approx(similarity_of(300, 3), abs=0.1)


def test_pairs_near_the_threshold_are_decided_by_their_ngrams(tmp_path):
    originals = [text() for _ in range(40)]
    above, below = 10, 11  # similarity 0.711 and 0.686: estimates alone would decide by chance
    assert similarity_of(300, above) > 0.7 > similarity_of(300, below)
    near = [changed(w, above if i % 2 else below) for i, w in enumerate(originals)]
    rows = [{"id": f"{i:032x}", "text": " ".join(w)} for i, w in enumerate(originals + near)]
    manifest, _ = run(tmp_path, rows, bands=32, rows=4)
    assert manifest.drops == {"near_duplicate": 20}
    dropped = {int(d["id"], 16) % 40 for d in iter_records(tmp_path / "unique" / "duplicates")}
    assert dropped == set(range(1, 40, 2))


def test_no_chain_of_others_drops_a_document(tmp_path):
    a = text()
    b = changed(a, 8)
    c = list(b)
    for k in range(8):  # as far from b as b from a, elsewhere: far from a
        c[20 + k * 34] = f"third{k}"
    manifest, kept = run(tmp_path, rows_of(a, b, c), bands=32, rows=4)
    assert kept == [0, 2]
    assert manifest.drops == {"near_duplicate": 1}


def test_shards_and_their_order_do_not_change_what_is_kept(tmp_path):
    base = [text(120) for _ in range(30)]
    near = [changed(words, i % 4) for i, words in enumerate(base)]
    rows = rows_of(*base) + [
        {"id": f"{100 + i:032x}", "text": " ".join(words), "date": "2016-05-05" if i % 2 else None}
        for i, words in enumerate(near)
    ]
    _, first = run(tmp_path, rows, "one", 1)
    _, second = run(tmp_path, rows[::-1], "two", 2)
    assert first == second


def test_documents_with_test_text_go_and_take_no_clean_one_along(tmp_path):
    a = text()
    test = " ".join(a[100:120])
    rows = rows_of(a, a[:100] + a[120:], text())
    (tmp_path / "tests.txt").write_text(test)
    manifest, kept = run(tmp_path, rows, evaluation=tmp_path / "tests.txt")
    assert kept == [1, 2]
    assert manifest.drops == {"overlaps_evaluation": 1}


def test_similarity_one_drops_exact_duplicates_only(tmp_path):
    a = text()
    _, kept = run(tmp_path, rows_of(a, a, changed(a, 1)), similarity=1.0)
    assert kept == [0, 2]


def test_no_documents_are_no_error(tmp_path):
    manifest, kept = run(tmp_path, [])
    assert (manifest.n_in, kept) == (0, [])


def test_bands_that_do_not_fit_are_a_user_error(tmp_path):
    with pytest.raises(UserError, match="20 bands of 8 rows need 160 hashes; a signature has 128"):
        dedup(tmp_path, tmp_path / "out", bands=20)
    with pytest.raises(UserError, match="above 0 and up to 1"):
        dedup(tmp_path, tmp_path / "out", similarity=70)
