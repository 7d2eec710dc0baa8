# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,call-arg,assignment"
"""The exact side of §4: hold the test sets' n-grams, stream the training text past them, mark those seen.

A filter over 40 GB of text needs tens of gigabytes; the test sets of the paper together hold a few million 8-grams,
which need tens of megabytes. So the roles are turned round: the table is over the test sets, and each training n-gram
is looked up in it. The answer is exact but for two 64-bit hashes that are equal by chance (`collision_bound`).

In: hashes (uint64) of the test n-grams at once, then of the training text in batches, from several threads if wished
(a mark is one byte that is only ever set, so threads cannot disturb one another). Out: for each test n-gram, whether
the training text has it. Memory: about 40 bytes per test n-gram. A bitmap that fits a core's cache turns away most
training n-grams before the table is touched.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from fourhorn.memorization.kernels import CACHED, U64
from fourhorn.memorization.ngrams import Hashes

PREFILTER_BITS_PER_SLOT = 4
CHUNK = 4096
EMPTY = U64(0)


class NgramIndex:
    """An open-addressing table of 64-bit hashes, half full at most, with a mark per entry."""

    def __init__(self, hashes: Hashes) -> None:
        n_slots = 1 << max(6, int(2 * len(hashes)).bit_length())
        self.table = np.zeros(n_slots, dtype=np.uint64)
        self.prefilter = np.zeros(n_slots * PREFILTER_BITS_PER_SLOT // 64, dtype=np.uint64)
        self.marked = np.zeros(n_slots, dtype=np.uint8)
        self.slots = np.zeros(len(hashes), dtype=np.int64)
        self.n_unique = int(insert_all(hashes, self.table, self.prefilter, self.slots))

    def mark(self, hashes: Hashes) -> None:
        """Mark every entry that occurs in `hashes`."""
        mark_all(hashes, self.table, self.prefilter, self.marked)

    def found(self) -> npt.NDArray[np.bool_]:
        """For each hash given at the start, in order, whether it has been marked."""
        return self.marked[self.slots].astype(np.bool_)

    def collision_bound(self, n_streamed: int) -> float:
        """The chance that an n-gram which is not in a training text of `n_streamed` n-grams is marked."""
        return n_streamed / 2.0**64

    @property
    def n_bytes(self) -> int:
        """Memory held, in bytes."""
        arrays = (self.table, self.prefilter, self.marked, self.slots)
        return sum(array.nbytes for array in arrays)


@njit(**CACHED)
def insert_all(hashes, table, prefilter, slots):
    """Put hashes into the table; `slots[i]` becomes the slot of `hashes[i]`. Returns the number of new entries."""
    last_slot, last_bit, n_new = U64(len(table) - 1), U64(len(prefilter) * 64 - 1), 0
    for i in range(len(hashes)):
        h = max(hashes[i], U64(1))  # 0 marks an empty slot
        slot = h & last_slot
        while table[slot] != EMPTY and table[slot] != h:
            slot = (slot + U64(1)) & last_slot
        if table[slot] == EMPTY:
            table[slot] = h
            bit = h >> U64(20) & last_bit
            prefilter[bit >> U64(6)] |= U64(1) << (bit & U64(63))
            n_new += 1
        slots[i] = slot
    return n_new


@njit(**CACHED)
def mark_all(hashes, table, prefilter, marked):
    """Set `marked[slot]` for every hash that is in the table."""
    last_slot, last_bit = U64(len(table) - 1), U64(len(prefilter) * 64 - 1)
    likely = np.empty(CHUNK, dtype=np.uint64)
    for start in range(0, len(hashes), CHUNK):
        n_likely = 0  # those the bitmap lets through, gathered without a branch that cannot be foreseen
        for i in range(start, min(start + CHUNK, len(hashes))):
            h = max(hashes[i], U64(1))
            bit = h >> U64(20) & last_bit
            likely[n_likely] = h
            n_likely += np.int64(prefilter[bit >> U64(6)] >> (bit & U64(63)) & U64(1))
        for i in range(n_likely):
            h = likely[i]
            slot = h & last_slot
            while table[slot] != EMPTY:
                if table[slot] == h:
                    marked[slot] = 1
                    break
                slot = (slot + U64(1)) & last_slot
