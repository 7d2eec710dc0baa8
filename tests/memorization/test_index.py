"""The exact table over test n-grams."""

import numpy as np

from fourhorn.memorization.index import NgramIndex


def test_exactly_the_marked_hashes_are_found():
    draw = np.random.default_rng(0)
    held = draw.integers(0, 2**64, 5000, dtype=np.uint64)
    held[100:200] = held[:100]  # an n-gram may come twice in a test set
    seen = np.concatenate([held[::7], draw.integers(0, 2**64, 50_000, dtype=np.uint64)])
    index = NgramIndex(held)
    assert index.n_unique == 4900
    index.mark(seen)
    known = set(seen.tolist())
    assert index.found().tolist() == [h in known for h in held.tolist()]


def test_hashes_that_share_a_slot_are_told_apart():
    held = np.array([5 + (i << 40) for i in range(40)] + [0, 2**64 - 1], dtype=np.uint64)
    index = NgramIndex(held)
    index.mark(held[::2])
    assert index.found().tolist() == [i % 2 == 0 for i in range(42)]


def test_an_empty_index_finds_nothing():
    index = NgramIndex(np.zeros(0, dtype=np.uint64))
    index.mark(np.arange(10, dtype=np.uint64))
    assert index.found().tolist() == []


def test_the_chance_of_a_false_mark_is_stated_from_what_went_past():
    assert NgramIndex(np.zeros(1, dtype=np.uint64)).collision_bound(6_200_000_000) == 6_200_000_000 / 2**64
