"""Pieces of work reach every part once, whatever the number of threads."""

from typing import Any

import numpy as np
import pytest
import torch

from fourhorn.evaluation.team import Shared, argument, available, next_piece, own_number, together
from fourhorn.sampling.pieces import take

pytestmark = pytest.mark.skipif(not available(), reason="no AVX-512 or no OpenMP here")


@Shared
def _count(job: Any) -> None:
    counts, threads, n = argument(job, 0), argument(job, 1), argument(job, 2)
    take(threads + 8 * own_number(job), 1)
    piece = next_piece(job)
    while piece < n:
        take(counts + 8 * piece, 1)
        piece = next_piece(job)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_each_piece_is_taken_once_and_each_thread_has_its_number(n_threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        counts, threads = np.zeros(1000, np.int64), np.zeros(8, np.int64)
        together(_count, counts.ctypes.data, threads.ctypes.data, 1000)
    finally:
        torch.set_num_threads(before)
    assert (counts == 1).all()
    assert threads.tolist() == [1] * n_threads + [0] * (8 - n_threads)
