"""The Bloom filter: its measured rate beside its formula, files, merging."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourhorn.errors import UserError
from fourhorn.memorization.bloom import BloomFilter, Shape, false_positive_rate, size

FULL = os.environ.get("FOURHORN_FULL") == "1"


def hashes(n, seed):
    return np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64)


def z_score(n_hits, rate, n_probes):
    return abs(n_hits - rate * n_probes) / (rate * n_probes) ** 0.5


@pytest.mark.parametrize("n_items", [1000, 100_000])
@pytest.mark.parametrize("rate", [1e-2, 1e-4])
def test_measured_false_positive_rate_lies_within_the_formula(n_items, rate):
    filter_ = BloomFilter.sized(n_items, rate)
    filter_.add(hashes(n_items, 1))
    n_probes = 4_000_000
    n_hits = filter_.probe(n_probes, seed=2)
    assert z_score(n_hits, filter_.present_rate(), n_probes) < 5
    expected, deviation = false_positive_rate(n_items, filter_.shape.n_blocks, filter_.shape.bits_per_lane)
    assert abs(filter_.present_rate() - expected) < 5 * deviation
    assert filter_.present_rate() <= rate


def test_no_fresh_ngram_is_taken_for_a_member_at_1e_8():
    n_probes = 300_000_000 if FULL else 3_000_000
    filter_ = BloomFilter.sized(100_000, 1e-8)
    filter_.add(hashes(100_000, 3))
    assert filter_.present_rate() <= 1e-8
    assert filter_.probe(n_probes, seed=4) <= (12 if FULL else 2)  # Poisson(3): P(more than 12) = 2e-5


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3000), st.sampled_from([0.5, 1e-2, 1e-6, 1e-8]), st.integers(0, 99))
def test_no_member_is_ever_forgotten(n_items, rate, seed):
    filter_ = BloomFilter.sized(n_items, rate)
    members = hashes(n_items, seed)
    filter_.add(members)
    assert filter_.contains(members).all()


@pytest.mark.parametrize("bits_per_lane", [1, 2, 3])
def test_every_bit_of_the_filter_is_within_reach(bits_per_lane):
    filter_ = BloomFilter(Shape(100, bits_per_lane), np.zeros(800, dtype=np.uint64), n_items=1, rate=0.5)
    filter_.add(hashes(200_000, 5))
    assert int(np.bitwise_count(filter_.lanes).sum()) == 51_200


def test_size_follows_the_wished_rate_with_known_bits_per_key():
    bits = {rate: size(10**9, rate)[0] * 512 / 10**9 for rate in (1e-2, 1e-4, 1e-8)}
    assert bits == {
        1e-2: pytest.approx(10.10, abs=0.02),
        1e-4: pytest.approx(22.89, abs=0.02),
        1e-8: pytest.approx(64.95, abs=0.05),
    }


def test_merging_parts_gives_the_same_bits_as_one_filter():
    whole = BloomFilter.sized(10_000, 1e-4)
    parts = [whole.grown(whole.shape.n_blocks) for _ in range(3)]
    for i, part in enumerate(parts):
        members = hashes(3000, 10 + i)
        part.add(members)
        whole.add(members)
    parts[0].merge(parts[1])
    parts[0].merge(parts[2])
    assert np.array_equal(parts[0].lanes, whole.lanes)
    assert parts[0].n_added == 9000


def test_filters_of_different_shape_do_not_merge():
    with pytest.raises(UserError, match="different shape"):
        BloomFilter.sized(1000, 1e-4).merge(BloomFilter.sized(1000, 1e-4, unit="words"))


def test_a_saved_filter_comes_back_memory_mapped_with_its_members(tmp_path):
    filter_ = BloomFilter.sized(5000, 1e-6, unit="words", ngram=5)
    members = hashes(5000, 20)
    filter_.add(members)
    filter_.save(tmp_path / "f.bloom")
    again = BloomFilter.load(tmp_path / "f.bloom")
    assert again.shape == filter_.shape
    assert (again.n_added, again.n_items, again.rate) == (5000, 5000, 1e-6)
    assert again.contains(members).all()
    assert again.present_rate() == filter_.present_rate()


def test_a_flipped_bit_a_cut_file_and_another_file_are_user_errors(tmp_path):
    path = tmp_path / "f.bloom"
    BloomFilter.sized(1000, 1e-4).save(path)
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="checksum"):
        BloomFilter.load(path)
    path.write_bytes(data[:6000])
    with pytest.raises(UserError, match="no whole Bloom filter"):
        BloomFilter.load(path)
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="no whole Bloom filter"):
        BloomFilter.load(path)
    with pytest.raises(UserError, match="does not exist"):
        BloomFilter.load(tmp_path / "none.bloom")


def test_sizes_that_make_no_sense_are_user_errors():
    with pytest.raises(UserError, match="at least 1"):
        BloomFilter.sized(0)
    with pytest.raises(UserError, match="between 1e-12 and 1"):
        BloomFilter.sized(10, 1.5)
