"""Sort-based LSH finds the pairs that share a band, each once, and none else."""

import itertools

import numpy as np
import pytest

from fourhorn.webtext import lsh


def signatures(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, (n, 128), dtype=np.uint32)


def pairs_of(s: np.ndarray, rank: np.ndarray, least: int = 1) -> list:
    parts = list(lsh.similar_pairs(lsh.band_keys(s), s, rank, least))
    return [tuple(row) for part in parts for row in part.tolist()]


def slow_pairs(s: np.ndarray, rank: np.ndarray, least: int = 1) -> set:
    found = set()
    for i, j in itertools.combinations(range(len(s)), 2):
        bands = (s[i, :112] == s[j, :112]).reshape(14, 8).all(axis=1)
        agreement = int((s[i] == s[j]).sum())
        if bands.any() and agreement >= least:
            found.add((*sorted((i, j), key=lambda k: rank[k]), agreement))
    return found


def test_pairs_are_those_of_comparing_all_with_all():
    rng = np.random.default_rng(3)
    s = signatures(60)
    for i in range(30, 60):  # each like an earlier one, in a random share of its hashes
        same = rng.random(128) < rng.uniform(0.6, 1)
        s[i, same] = s[i - 30 if i % 3 else 0, same]
    rank = rng.permutation(60)
    found = pairs_of(s, rank, 60)
    assert len(found) == len(set(found))
    assert set(found) == slow_pairs(s, rank, 60)
    assert len(found) > 20


def test_a_bucket_of_thousands_costs_no_square(monkeypatch):
    monkeypatch.setattr(lsh, "MAX_NEIGHBORS", 10)
    monkeypatch.setattr(lsh, "_BUFFER_PAIRS", 64)
    s = np.repeat(signatures(1), 2000, axis=0)
    found = pairs_of(s, np.arange(2000))
    assert len(found) == len(set(found)) < 2000 * 12
    assert {b for a, b, _ in found if a == 0} == set(range(1, 2000))  # every document meets the first


def test_unlike_documents_never_meet():
    assert pairs_of(signatures(5000), np.arange(5000)) == []


def test_no_documents_have_no_pairs():
    assert pairs_of(signatures(0), np.arange(0)) == []


@pytest.mark.parametrize(
    ("similarity", "probability"), [(0.5, 0.0533), (0.7, 0.5645), (0.8, 0.9235), (0.9, 0.9996)]
)
def test_the_s_curve(similarity, probability):
    assert lsh.meeting_probability(similarity) == pytest.approx(probability, abs=5e-5)
