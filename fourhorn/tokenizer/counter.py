"""Training on the fast path: counting with several threads, then merging; the arrays that the kernels need.

Section 2.2, for `train.py`. Memory, in bytes: about 64 per distinct piece and thread while counting; then 22 per byte
of distinct pieces, and 36 for every pair that ever came into being. Text itself is not kept.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fourhorn.errors import UserError
from fourhorn.tokenizer.bpe import Pair
from fourhorn.tokenizer.bytes import TOKEN_OF_BYTE
from fourhorn.tokenizer.fast import PADDING, Scanner, numba_kernels
from fourhorn.tokenizer.memory import address, zeros
from fourhorn.tokenizer.plain import PlainCounter
from fourhorn.tokenizer.source import Batch
from fourhorn.tokenizer.threads import in_order

MIN_SHORT_SLOTS, MIN_LONG_SLOTS, MIN_ARENA_BYTES = 1 << 16, 1 << 10, 1 << 20
N_PAIRS, N_BORN, SPARE_LIST = 1 << 18, 1 << 16, 1.5  # what arrays begin with; they grow
MERGES_PER_CALL = 500  # between two of them progress is shown and an interrupt is heard
MAX_PLACES = 2**31 - 16


def make_counter(n_threads: int) -> Any:
    """What counts pieces and learns merges: the fast one, or the plain one where Numba is missing."""
    return PlainCounter() if numba_kernels() is None else FastCounter(n_threads)


class FastCounter:
    """Counts pieces with Numba's kernels and learns merges from the counts."""

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self.n_pieces = 0
        self._idle: list[Tables] = []

    def count(self, source: Iterable[Batch]) -> None:
        """Count the pieces of all batches."""

        def count(batch: Batch) -> None:
            tables = self._idle.pop() if self._idle else Tables()
            tables.count(batch.parts)
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
        kernels, min_frequency = numba_kernels().learn, max(min_frequency, 1)
        work, n_places = first_work(self._idle.pop(), n_merges)
        kernels.first_pairs(work, np.full(256 * 256, -1, np.int32), n_places, min_frequency)
        merges = np.empty((n_merges, 2), np.int32)
        done, target = 0, 0
        while done == target and target < n_merges:
            target = min(target + MERGES_PER_CALL, n_merges)
            while status := kernels.learn(work, merges, target, min_frequency):
                work = more_room(work, status, min_frequency)
            now = int(work.numbers[kernels.N_MERGES])
            progress(now - done)
            done = now
        return [(left, right) for left, right in merges[:done].tolist()]


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

    def count(self, documents: list[bytes]) -> None:
        """Count the pieces of some documents."""
        f = self.fields
        offsets = np.array([0, *itertools.accumulate(map(len, documents))], np.int64)
        text = b"".join((*documents, bytes(PADDING)))
        self.set(f.BASE, address(np.frombuffer(text, np.uint8)))
        self.set(f.OFFSETS, address(offsets))
        self.set(f.N_PARTS, len(documents))
        self.set(f.PART, 0)
        self.set(f.BEGUN, 0)
        while status := self.kernels.count.count_parts(self.state_address):
            if status == self.kernels.encode.SHORT_FULL:
                self.grow_short(2 * len(self.short) // 32)
            elif self.get(f.N_LONG) > self.get(f.LONG_LIMIT):
                self.grow_long(2 * len(self.long) // 32)
            else:  # room for the piece that did not fit, which can be as long as the text
                self.grow_arena(2 * len(self.arena) + max(map(len, documents)))

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


def first_work(tables: Tables, n_merges: int) -> tuple[Any, int]:
    """The arrays that learning begins with, and how many places the row of pieces has."""
    kernels = numba_kernels()
    short, long = (
        (address(tables.short), len(tables.short) // 32),
        (address(tables.long), len(tables.long) // 32),
    )
    n_places = kernels.count.row_length(*short, *long)
    if n_places > MAX_PLACES:
        raise UserError(
            f"The distinct pieces of this text have {n_places:,} bytes; {MAX_PLACES:,} is the most."
        )
    memory = zeros(16 * n_places)
    byte_tokens = np.array(TOKEN_OF_BYTE, np.uint32)
    kernels.count.write_row(*short, *long, address(tables.arena), address(byte_tokens), address(memory))
    del tables
    n_tokens = 256 + n_merges
    work = kernels.learn.Work(
        row=memory.view(np.int32),
        counts=memory.view(np.int64),
        **{name: np.empty(N_PAIRS, np.int32) for name in ("left", "right", "length", "heap_pair")},
        **{name: np.empty(N_PAIRS, np.int64) for name in ("count", "begin", "heap_count")},
        list=np.empty(int(n_places * SPARE_LIST) + 64, np.int32),
        n_bytes=np.ones(n_tokens, np.int32),
        with_left=np.full(n_tokens, -1, np.int32),
        with_right=np.full(n_tokens, -1, np.int32),
        born_pair=np.empty(N_BORN, np.int32),
        born_place=np.empty(N_BORN, np.int32),
        numbers=np.zeros(5, np.int64),
    )
    return work, n_places


def more_room(work: Any, status: int, min_frequency: int) -> Any:
    """The same arrays, those too short replaced by longer ones."""
    kernels = numba_kernels().learn
    needed = int(work.numbers[kernels.NEEDED])

    def longer(names: tuple[str, ...]) -> Any:
        arrays = {name: getattr(work, name) for name in names}
        n = max(needed, len(arrays[names[0]]) * 3 // 2)
        grown = {name: np.empty(n, array.dtype) for name, array in arrays.items()}
        for name, array in arrays.items():
            grown[name][: len(array)] = array
        return work._replace(**grown)

    if status == kernels.MORE_PAIRS:
        return longer(("left", "right", "count", "begin", "length", "heap_count", "heap_pair"))
    if status == kernels.MORE_BORN:
        return longer(("born_pair", "born_place"))
    before = int(work.numbers[kernels.N_LIST])
    kernels.compact(work, min_frequency)
    needed -= before - int(work.numbers[kernels.N_LIST])
    return longer(("list",)) if needed > len(work.list) else work
