"""Samples are a pure function of their number."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourhorn.tokenizer.tokens import TokenShards
from fourhorn.training.batches import Batches, Windows, held_out_parts, key_of, permuted
from tests.training.conftest import made_up_ids, write_shards


class Counting:
    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def read(self, start: int, count: int) -> np.ndarray:
        assert start >= 0
        assert start + count <= self.n
        return np.arange(start, start + count)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_a_permutation_meets_every_index_once(n: int, key: int) -> None:
    assert np.array_equal(np.sort(permuted(np.arange(n), n, np.uint64(key))), np.arange(n))


def test_one_pass_sees_every_window_once_and_passes_differ() -> None:
    batches = Batches(Counting(1000), n_ctx=10, seed=1)
    assert batches.n_samples == 98
    first, second = batches.starts(0, 98), batches.starts(98, 98)
    assert len(set(first)) == len(set(second)) == 98
    assert len({start % 10 for start in first}) == 1
    assert list(first) != list(second)


def test_targets_are_the_next_tokens() -> None:
    batch = Batches(Counting(1000), n_ctx=10, seed=1).read(5, 3)
    assert batch.inputs.shape == (3, 10)
    assert np.array_equal(batch.inputs + 1, batch.targets)


def test_the_same_samples_at_world_sizes_1_2_and_4_for_10000_steps() -> None:
    batches, per_step = Batches(Counting(100_000), n_ctx=8, seed=7), 8
    whole = batches.starts(0, 10_000 * per_step).reshape(10_000, per_step)
    for world in (2, 4):
        share = per_step // world
        for rank in range(world):
            mine = [batches.starts(step * per_step + rank * share, share) for step in range(0, 10_000, 97)]
            assert np.array_equal(np.stack(mine), whole[::97, rank * share : (rank + 1) * share])


def test_step_1000000_of_a_real_shard_is_found_by_arithmetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = made_up_ids(5000, 64, 3)
    write_shards(tmp_path / "train", ids, 64)
    stream, position = TokenShards(tmp_path / "train"), 512 * 1_000_000
    reads, real = [], TokenShards.read
    monkeypatch.setattr(TokenShards, "read", lambda self, *place: reads.append(place) or real(self, *place))
    batches = Batches(stream, n_ctx=8, seed=7)
    batch = batches.read(position, 4)
    assert len(reads) == 4  # nothing before is read
    # By hand: the pass, its offset, and where its permutation takes the window's number.
    n = (5000 - 1) // 8 - 1
    for i, inputs in enumerate(batch.inputs):
        one, index = divmod(position + i, n)
        order = permuted(np.array([index]), n, key_of(7, one, 2))
        start = int(order[0]) * 8 + int(key_of(7, one, 1)) % 8
        assert inputs.tolist() == ids[start : start + 8].tolist()
    # Every window of that pass is met once, as in the first.
    first = position // n * n
    assert sorted((batches.starts(first, n) - batches.starts(first, n).min()) // 8) == list(range(n))


def test_keys_depend_on_every_part_and_their_order() -> None:
    assert len({int(key_of(*parts)) for parts in ((1, 2), (2, 1), (1, 2, 0), (1,), (-1, 2))}) == 5


def test_windows_cover_the_held_out_stream_in_order() -> None:
    windows = Windows(Counting(35), n_ctx=10, n_tokens=1000)
    assert windows.n_samples == 3
    assert windows.read(1, 5).inputs[:, 0].tolist() == [10, 20]


def test_the_held_out_part_is_the_last_twentieth() -> None:
    train, held = held_out_parts(Counting(1000), 0.05)
    assert (len(train), len(held)) == (950, 50)
    assert held.read(0, 3).tolist() == [950, 951, 952]
