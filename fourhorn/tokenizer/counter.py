"""Training on the fast path: counting with several threads, then merging; the arrays that the kernels need.

Section 2.2, for `train.py`. Memory, in bytes: about 64 per distinct piece and thread while counting; then 22 per byte
of distinct pieces, and 56 for every pair that ever came into being. Text itself is not kept.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourhorn.errors import UserError
from fourhorn.tokenizer.bpe import Pair
from fourhorn.tokenizer.bytes import TOKEN_OF_BYTE
from fourhorn.tokenizer.fast import Scanner, batch_fields
from fourhorn.tokenizer.kernels import kernels
from fourhorn.tokenizer.memory import address, zeros
from fourhorn.tokenizer.plain import PlainCounter
from fourhorn.tokenizer.source import PADDING, Batch
from fourhorn.tokenizer.threads import in_order

MIN_SHORT_SLOTS, MIN_LONG_SLOTS, MIN_ARENA_BYTES = 1 << 16, 1 << 10, 1 << 20
N_PAIRS, N_BORN, SPARE_LIST = 1 << 18, 1 << 16, 1.5  # what arrays begin with; they grow
MERGES_PER_CALL = 500  # between two of them progress is shown and an interrupt is heard
MAX_PLACES = 2**31 - 16


def make_counter(n_threads: int) -> Any:
    """What counts pieces and learns merges: the fast one, or the plain one where kernels cannot be compiled."""
    return PlainCounter() if kernels() is None else FastCounter(n_threads)


class FastCounter:
    """Counts pieces with compiled kernels and learns merges from the counts."""

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self.n_pieces = 0
        self._idle: list[Tables] = []

    def count(self, source: Iterable[Batch]) -> None:
        """Count the pieces of all batches."""

        def count(batch: Batch) -> None:
            tables = self._idle.pop() if self._idle else Tables()
            tables.count(batch)
            self._idle.append(tables)

        for _ in in_order(count, source, self.n_threads):
            pass
        if not self._idle:
            return
        first, *others = self._idle
        while others:
            first.add(others.pop())
        self._idle = [first]
        self.n_pieces = first.n_pieces

    def merge(self, n_merges: int, min_frequency: int, progress: Callable[[int], None]) -> list[Pair]:
        """Learn up to `n_merges` merges; empties the counter."""
        learner = Learner(self._idle.pop(), n_merges, max(min_frequency, 1))
        done, target = 0, 0
        while done == target and target < n_merges:
            target = min(target + MERGES_PER_CALL, n_merges)
            learner.learn(target)
            progress(learner.n_merges - done)
            done = learner.n_merges
        return learner.merges()


class Tables(Scanner):
    """What one thread needs to count."""

    def __init__(self) -> None:
        super().__init__()
        self.short = zeros(32 * MIN_SHORT_SLOTS)
        self.long = zeros(32 * MIN_LONG_SLOTS)
        self.arena = zeros(MIN_ARENA_BYTES)
        self._use_tables()

    @property
    def n_pieces(self) -> int:
        """How many distinct pieces were counted."""
        return self.get(self.fields.N_SHORT) + self.get(self.fields.N_LONG)

    def _use_tables(self) -> None:
        self.use_tables(32, short_percent=45, long_percent=45)

    def count(self, batch: Batch) -> None:
        """Count the pieces of some documents."""
        f = self.fields
        for field, value in batch_fields(f, batch):
            self.set(field, value)
        while status := self.kernels.count.count_parts(self.state_address):
            if status == self.kernels.encode.SHORT_FULL:
                self.grow_short(2 * len(self.short) // 32)
            elif self.get(f.N_LONG) > self.get(f.LONG_LIMIT):
                self.grow_long(2 * len(self.long) // 32)
            else:  # room for the piece that did not fit, which can be as long as the text
                self.grow_arena(2 * len(self.arena) + int((batch.ends - batch.begins).max()))

    def grow_short(self, n_slots: int) -> None:
        """Move short pieces into a table of `n_slots` slots."""
        larger = zeros(32 * n_slots)
        shift = 65 - n_slots.bit_length()
        self.kernels.pieces.move_short(address(self.short), len(self.short) // 32, address(larger), shift, 5)
        self.short = larger
        self._use_tables()

    def grow_long(self, n_slots: int) -> None:
        """Move long pieces into a table of `n_slots` slots."""
        larger = zeros(32 * n_slots)
        self.kernels.pieces.move_long(address(self.long), len(self.long) // 32, address(larger), n_slots - 1)
        self.long = larger
        self._use_tables()

    def grow_arena(self, n_bytes: int) -> None:
        """Make the arena `n_bytes` long."""
        arena = zeros(n_bytes)
        arena[: len(self.arena)] = self.arena
        self.arena = arena
        self._use_tables()

    def add(self, other: "Tables") -> None:
        """Add the counts of another thread."""
        f = self.fields
        n_short = self.get(f.N_SHORT) + other.get(f.N_SHORT)
        n_long = self.get(f.N_LONG) + other.get(f.N_LONG)
        if n_short * 2 > len(self.short) // 32:
            self.grow_short(1 << (2 * n_short).bit_length())
        if n_long * 2 > len(self.long) // 32:
            self.grow_long(1 << (2 * n_long).bit_length())
        room = self.get(f.ARENA_USED) + other.get(f.ARENA_USED) + PADDING
        if room > len(self.arena):
            self.grow_arena(room)
        self.set(f.LONG_LIMIT, n_long)
        tables = (other.short, other.long)
        (short, n_short), (long, n_long) = ((address(table), len(table) // 32) for table in tables)
        self.kernels.count.add_counts(self.state_address, short, n_short, long, n_long, address(other.arena))
        self._use_tables()


class Learner:
    """What learning needs: a state, and arrays that grow."""

    def __init__(self, tables: Tables, n_merges: int, min_frequency: int) -> None:
        modules = kernels()
        self.kernels = modules.learn
        row, n_places = _row(tables, modules.count)
        self.state = np.zeros(self.kernels.N_FIELDS, np.int64)
        self._arrays: dict[int, NDArray[Any]] = {}
        n_tokens, k = 256 + n_merges, self.kernels
        for field, array in (
            (k.ROW, row),
            (k.PAIRS, np.empty(4 * N_PAIRS, np.int64)),
            (k.HEAP, np.empty(3 * N_PAIRS, np.int64)),
            (k.LIST, np.empty(int(n_places * SPARE_LIST) + 64, np.uint32)),
            (k.LENGTHS, np.ones(n_tokens, np.uint32)),
            (k.WITH_LEFT, np.full(n_tokens, k.NONE, np.uint32)),
            (k.WITH_RIGHT, np.full(n_tokens, k.NONE, np.uint32)),
            (k.BORN, np.empty(N_BORN, np.int64)),
            (k.MERGES, np.empty(2 * n_merges, np.uint32)),
        ):
            self._set_array(field, array)
        self._set(k.N_PLACES, n_places)
        self._set(k.MIN_FREQUENCY, min_frequency)
        self._note_room()
        pair_of = np.full(256 * 256, k.NONE, np.uint32)  # lives as long as the call
        k.first_pairs(address(self.state), address(pair_of))

    def _set(self, field: int, value: int) -> None:
        self.state[field >> 3] = value

    def _set_array(self, field: int, array: NDArray[Any]) -> None:
        self._arrays[field] = array
        self._set(field, address(array))

    def _note_room(self) -> None:
        k = self.kernels
        self._set(k.MAX_PAIRS, len(self._arrays[k.HEAP]) // 3)
        self._set(k.MAX_LIST, len(self._arrays[k.LIST]) - 2 * k.AHEAD)
        self._set(k.MAX_BORN, len(self._arrays[k.BORN]))

    @property
    def n_merges(self) -> int:
        """How many merges are learned."""
        return int(self.state[self.kernels.N_MERGES >> 3])

    def merges(self) -> list[Pair]:
        """The merges that are learned."""
        pairs = self._arrays[self.kernels.MERGES].reshape(-1, 2)[: self.n_merges]
        return [(left, right) for left, right in pairs.tolist()]

    def learn(self, n_merges: int) -> None:
        """Learn until there are `n_merges`, or as many as there can be."""
        while status := self.kernels.learn(address(self.state), n_merges):
            self._make_room(status)

    def _make_room(self, status: int) -> None:
        k = self.kernels
        needed = int(self.state[k.NEEDED >> 3])
        if status == k.MORE_LIST:
            before = int(self.state[k.N_LIST >> 3])
            k.compact(address(self.state))
            needed += int(self.state[k.N_LIST >> 3]) - before + 2 * k.AHEAD
        arrays = {k.MORE_LIST: {k.LIST: 1}, k.MORE_BORN: {k.BORN: 1}, k.MORE_PAIRS: {k.PAIRS: 4, k.HEAP: 3}}
        for field, width in arrays[status].items():
            array = self._arrays[field]
            if needed * width > len(array):
                grown = np.empty(max(needed * width, len(array) * 3 // 2), array.dtype)
                grown[: len(array)] = array
                self._set_array(field, grown)
        self._note_room()


def _row(tables: Tables, count: Any) -> tuple[NDArray[np.uint8], int]:
    """The row of pieces that learning begins with, and how many places it has."""
    short = (address(tables.short), len(tables.short) // 32)
    long = (address(tables.long), len(tables.long) // 32)
    n_places = count.row_length(*short, *long)
    if n_places > MAX_PLACES:
        raise UserError(
            f"The distinct pieces of this text have {n_places:,} bytes; {MAX_PLACES:,} is the most."
        )
    row = zeros(16 * n_places)
    byte_tokens = np.array(TOKEN_OF_BYTE, np.uint32)
    count.write_row(*short, *long, address(tables.arena), address(byte_tokens), address(row))
    return row, n_places
