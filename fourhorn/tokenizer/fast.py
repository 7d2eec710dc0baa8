"""The fast engine: what the kernels need, kept and grown by Python.

Section 2.2. Where kernels cannot be compiled, `plain.py` takes over. A worker is what one thread needs to encode: a
state, the pieces it remembers, its buffers. Remembered pieces grow by doubling up to a cap and are then forgotten at
once, so memory is bounded whatever the text. Workers are made when threads ask for them; kernels run without the GIL.
In: bytes. Out: arrays of ids of two or four bytes.
"""

import functools
import itertools
import struct
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourhorn.errors import UserError
from fourhorn.tokenizer.bytes import BYTE_OF_TOKEN, TOKEN_OF_BYTE
from fourhorn.tokenizer.kernels import kernels
from fourhorn.tokenizer.memory import (
    GrowingBytes,
    address,
    class_tables,
    huge_zeros,
    key_masks,
    zeros,
)
from fourhorn.tokenizer.plain import PlainEngine
from fourhorn.tokenizer.source import PADDING, Batch
from fourhorn.tokenizer.vocabulary import Vocabulary

MIN_SHORT_SLOTS, MAX_SHORT_SLOTS = 1 << 19, 1 << 20  # of 64 bytes
FEW_SHORT_SLOTS, FEW_BYTES = (
    1 << 12,
    1 << 16,
)  # for a worker that has met no more text than this, and knows no strings
MIN_LONG_SLOTS, MAX_LONG_SLOTS = 1 << 12, 1 << 19  # of 32 bytes
MIN_ARENA_BYTES, MAX_ARENA_BYTES = 1 << 21, 1 << 25
MIN_WORK, MAX_KEPT_WORK = (
    1 << 10,
    1 << 18,
)  # bytes of a piece for which there is memory, and for which it is kept
MAX_PART_BYTES = 1 << 30
SAMPLE_IDS = 1 << 12  # of those to decode, by which the room for all of them is guessed


def make_engine(vocabulary: Vocabulary, dtype: np.dtype[Any], *, plain: bool = False) -> Any:
    """The fast engine, or the plain one where it cannot be had or `plain` is asked for."""
    if plain or kernels() is None:
        return PlainEngine(vocabulary, dtype)
    return FastEngine(vocabulary, dtype)


class FastEngine:
    """Encodes and decodes bytes with compiled kernels."""

    name = "compiled"

    def __init__(self, vocabulary: Vocabulary, dtype: np.dtype[Any]) -> None:
        self.vocabulary, self.dtype = vocabulary, dtype
        self.modules = kernels()
        flat = itertools.chain.from_iterable(vocabulary.merges)
        merges = np.fromiter(flat, np.uint32, 2 * len(vocabulary.merges)).reshape(-1, 2)
        self.pairs, self.byte_pairs = self._pairs(merges), self._byte_pairs(merges)
        n = 256 + len(merges)
        self.ids = (
            np.arange(n, dtype=np.uint32) if vocabulary.ids is None else np.array(vocabulary.ids, np.uint32)
        )
        self.byte_tokens = np.array(TOKEN_OF_BYTE, np.uint32)
        self.seeds = Batch.of([token for token in vocabulary.token_bytes[256:] if len(token) <= 23])
        self._idle: list[Worker] = []

    def _pairs(self, merges: NDArray[np.uint32]) -> NDArray[np.int64]:
        """The table of pairs, at most half full."""
        n_slots = 1 << max((2 * len(merges)).bit_length(), 4)
        while True:
            pairs = huge_zeros(8 * n_slots).view(np.int64)
            if self.modules.encode.fill_pairs(address(merges), len(merges), address(pairs), n_slots - 1):
                return pairs
            n_slots *= 2

    def _byte_pairs(self, merges: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """For two bytes, as a number that begins with the first: the token they merge into, shifted by 8, or NONE."""
        table = np.full(1 << 16, self.modules.merge.NONE, np.uint32)
        of_bytes = np.flatnonzero((merges < 256).all(axis=1))
        left, right = np.array(BYTE_OF_TOKEN, np.uint32)[merges[of_bytes]].T
        table[left | right << 8] = (256 + of_bytes) << 8
        return table

    def encode(self, data: bytes) -> NDArray[Any]:
        """The ids of one document."""
        return self.encode_batch(Batch.of([data]))[0]

    def encode_batch(
        self, batch: Batch, separator: int | None = None, out: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The ids of all documents in one array, each after `separator` (not the first, if it continues another).

        The second array says where each begins, and ends with the number of ids. The ids are written into `out`, if
        given, which needs room for `batch.room` ids.
        """
        worker = self._idle.pop() if self._idle else Worker(self)
        try:
            return worker.encode(batch, -1 if separator is None else separator, out)
        finally:
            worker.drop_work()
            self._idle.append(worker)

    @functools.cached_property
    def _decode_table(self) -> tuple[NDArray[np.uint8], NDArray[np.int64], bytes]:
        """For the kernel: an entry for each id and one for all others; their lengths; the text of the long ones."""
        k, n = self.modules.decode, self.vocabulary.n_vocab
        absent = bytes([0] * k.SHORT_BYTES + [k.ABSENT])
        entries = [absent] * (n + 1)
        lengths = np.zeros(n + 1, np.int64)
        lengths[list(self.vocabulary.bytes_of_id)] = list(map(len, self.vocabulary.bytes_of_id.values()))
        for token, data in self.vocabulary.bytes_of_id.items():
            if len(data) <= k.SHORT_BYTES:
                entries[token] = data.ljust(k.SHORT_BYTES, b"\0") + bytes([len(data)])
        long = {
            token: data for token, data in self.vocabulary.bytes_of_id.items() if len(data) > k.SHORT_BYTES
        }
        texts = b"".join(long.values()) + bytes(PADDING)
        where = address(np.frombuffer(texts, np.uint8))
        for token, data in long.items():
            entries[token] = struct.pack("=qixxxB", where, len(data), k.LONG)
            where += len(data)
        table = huge_zeros(k.ENTRY_BYTES * len(entries))
        table[:] = np.frombuffer(b"".join(entries), np.uint8)
        return table, lengths, texts

    def decode(self, tokens: NDArray[Any]) -> bytes:
        """The bytes of ids; raises `IndexError` for an id without bytes."""
        if tokens.dtype not in (np.uint16, np.uint32):
            tokens = tokens.astype(np.uint32)
        tokens = np.ascontiguousarray(tokens)
        table, lengths, _ = self._decode_table
        k, n_vocab = self.modules.decode, len(lengths) - 1
        sample = np.minimum(tokens[:: len(tokens) // SAMPLE_IDS + 1], n_vocab)
        room = int(lengths[sample].sum() * (len(tokens) / max(len(sample), 1)) * 1.01) + 64
        state = np.zeros(k.N_FIELDS, np.int64)
        state[:4] = address(tokens), len(tokens), tokens.dtype.itemsize >> 1, 0
        state[7:] = address(table), n_vocab
        with GrowingBytes(room) as data:
            n, status = 0, k.FULL
            while status == k.FULL:
                state[4:6] = data.address + n, data.address + len(data)
                status = k.decode_tokens(address(state))
                n = int(state[4]) - data.address
                if status == k.FULL:
                    data.resize((len(data) + int(state[6])) * 5 // 4)
            if status == k.NO_BYTES:
                raise IndexError
            return data.finish(n)


class Scanner:
    """What one thread needs to find pieces: a state, and buffers for a batch of them."""

    short: NDArray[np.uint8]
    long: NDArray[np.uint8]
    arena: NDArray[np.uint8]

    def __init__(self) -> None:
        self.kernels = kernels()
        self.fields = f = self.kernels.state
        self.state = np.zeros(f.N_FIELDS, np.int64)
        self.state_address = address(self.state)
        self.starts = np.zeros(f.BUFFER_PIECES + 64, np.uint32)
        self.keys = np.zeros(4 * (f.BUFFER_PIECES + 64), np.int64)
        arrays: tuple[NDArray[Any], ...] = (self.starts, self.keys, *class_tables(), key_masks())
        for field, array in zip((f.STARTS, f.KEYS, f.CLASS_INDEX, f.CLASS_PAGES, f.KEY_MASKS), arrays):
            self.set(field, address(array))

    def set(self, field: int, value: int) -> None:
        """Write one field of the state."""
        self.state[field >> 3] = value

    def get(self, field: int) -> int:
        """Read one field of the state."""
        return int(self.state[field >> 3])

    def use_tables(self, short_slot_bytes: int, *, short_percent: int, long_percent: int) -> None:
        """Tell the kernels where the tables are, and how full each may become."""
        f = self.fields
        n_short, n_long = len(self.short) // short_slot_bytes, len(self.long) // 32
        self.set(f.SHORT, address(self.short))
        self.set(f.SHORT_SHIFT, 65 - n_short.bit_length())
        self.set(f.SHORT_LIMIT, n_short * short_percent // 100)
        self.set(f.LONG, address(self.long))
        self.set(f.LONG_MASK, n_long - 1)
        self.set(f.LONG_LIMIT, n_long * long_percent // 100)
        self.set(f.ARENA, address(self.arena))
        self.set(f.ARENA_BYTES, len(self.arena))


def batch_fields(f: Any, batch: Batch) -> tuple[tuple[int, int], ...]:
    """The fields of a state that say where the parts of a batch are, the first of them being next."""
    return (
        (f.BASE, address(np.frombuffer(batch.text, np.uint8))),
        (f.FROM, address(batch.begins)),
        (f.TO, address(batch.ends)),
        (f.N_PARTS, len(batch)),
        (f.PART, 0),
        (f.BEGUN, 0),
    )


class Worker(Scanner):
    """What one thread needs to encode: also what it remembers of pieces, and a buffer for ids."""

    def __init__(self, engine: FastEngine) -> None:
        super().__init__()
        self.engine: FastEngine = weakref.proxy(
            engine
        )  # else neither would go, with all its tables, when unused
        f = self.fields
        for field, array in (
            (f.PAIRS, engine.pairs),
            (f.BYTE_PAIRS, engine.byte_pairs),
            (f.BYTE_TOKENS, engine.byte_tokens),
            (f.IDS, engine.ids),
        ):
            self.set(field, address(array))
        self.set(f.PAIR_MASK, len(engine.pairs) - 1)
        self.set(f.ID_SHIFT, 1 if engine.dtype.itemsize == 2 else 2)
        n_words = len(engine.ids) // 64 + 1
        self.work = np.zeros(self.kernels.merge.WORK_BYTES, np.uint8)
        self.merge_lists, self.merge_bits = np.zeros(2 * 64 * n_words, np.uint32), np.zeros(n_words, np.int64)
        self.set(f.WORK, address(self.work))
        self.set(f.MERGE_LISTS, address(self.merge_lists))
        self.set(f.MERGE_BITS, address(self.merge_bits))
        self.set(f.N_MERGE_WORDS, n_words)
        self.make_work(MIN_WORK)
        self.out = np.zeros(1 << 17, np.uint8)
        self.n_bytes_met = 0
        self.forget(FEW_SHORT_SLOTS, MIN_LONG_SLOTS)

    def forget(self, short_slots: int, long_slots: int) -> None:
        """Begin with empty tables, in which only the vocabulary's own strings are remembered.

        Small tables begin without them: prompts need neither them nor the 34 MB that they fill.
        """
        f = self.fields
        self.short = zeros(64 * short_slots)
        self.long = zeros(32 * long_slots)
        self.arena = zeros(MIN_ARENA_BYTES)
        self._use_tables()
        for field in (f.N_SHORT, f.N_LONG, f.ARENA_USED):
            self.set(field, 0)
        if short_slots >= MIN_SHORT_SLOTS:
            seeds = self.engine.seeds
            self.encode(seeds, -1, np.empty(seeds.room, self.engine.dtype))

    def _use_tables(self) -> None:
        # Frequent pieces should stand where they are looked for first; at its cap a table may fill up further.
        growing = len(self.short) < 64 * MAX_SHORT_SLOTS
        self.use_tables(64, short_percent=35 if growing else 65, long_percent=60)

    def make_work(self, n_bytes: int) -> None:
        """Make memory in which a piece of `n_bytes` can be merged."""
        f = self.fields
        self.long_work = np.empty(self.kernels.merge.LONG_WORK_BYTES * n_bytes, np.uint8)
        self.set(f.LONG_WORK, address(self.long_work))
        self.set(f.LONG_ROOM, n_bytes)

    def drop_work(self) -> None:
        """Give back the memory that an unusually long piece needed."""
        if self.get(self.fields.LONG_ROOM) > MAX_KEPT_WORK:
            self.make_work(MIN_WORK)

    def make_room(self, what: int) -> None:
        """Double the table that is full; at its cap, forget everything."""
        if what == self.kernels.encode.WORK_FULL:
            return self.make_work(self.get(self.fields.LONGEST) * 5 // 4)
        n_short, n_long = len(self.short) // 64, len(self.long) // 32
        if what == self.kernels.encode.SHORT_FULL:
            if n_short >= MAX_SHORT_SLOTS:
                return self._forget_now(n_short, n_long)
            larger = zeros(2 * len(self.short))
            self.kernels.pieces.move_short(
                address(self.short), n_short, address(larger), 64 - n_short.bit_length(), 6
            )
            self.short = larger
        elif self.get(self.fields.N_LONG) > self.get(self.fields.LONG_LIMIT):
            if n_long >= MAX_LONG_SLOTS:
                return self._forget_now(n_short, n_long)
            larger = zeros(2 * len(self.long))
            self.kernels.pieces.move_long(address(self.long), n_long, address(larger), 2 * n_long - 1)
            self.long = larger
        else:
            if len(self.arena) >= MAX_ARENA_BYTES:
                return self._forget_now(n_short, n_long)
            arena = zeros(2 * len(self.arena))
            arena[: len(self.arena)] = self.arena
            self.arena = arena
        return self._use_tables()

    def _forget_now(self, short_slots: int, long_slots: int) -> None:
        """Forget in the middle of a text: the scan's own fields are kept."""
        kept, starts, f = self.state.copy(), self.starts.copy(), self.fields
        self.forget(short_slots, long_slots)
        now = self.state.copy()
        self.state[:], self.starts[:] = kept, starts
        for field in (f.N_SHORT, f.N_LONG, f.ARENA_USED):
            self.state[field >> 3] = now[field >> 3]
        self._use_tables()

    def encode(
        self, batch: Batch, separator: int, out: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The ids of documents and where each begins; see `FastEngine.encode_batch`."""
        f, dtype = self.fields, self.engine.dtype
        if batch.n_bytes > MAX_PART_BYTES:
            raise UserError(f"{batch.n_bytes:,} bytes without white space are too many to encode at once.")
        self.n_bytes_met += batch.n_bytes
        if self.n_bytes_met > FEW_BYTES and len(self.short) < 64 * MIN_SHORT_SLOTS:
            self.forget(MIN_SHORT_SLOTS, MIN_LONG_SLOTS)
        room = batch.room * dtype.itemsize
        if out is None and room > len(self.out):
            self.out = np.empty(room * 5 // 4, np.uint8)
        target = self.out if out is None else out.view(np.uint8)
        if room > len(target):
            raise ValueError(f"out has {len(target):,} bytes, not {room:,}")
        begins = np.empty(len(batch) + 1, np.int64)
        for field, value in (
            *batch_fields(f, batch),
            (f.BEGINS, address(begins)),
            (f.SEPARATOR, separator),
            (f.CONTINUES, batch.continues),
            (f.OUT, address(target)),
        ):
            self.set(field, value)
        while status := self.kernels.encode.encode_parts(self.state_address):
            self.make_room(status)
        begins -= address(target)
        begins >>= dtype.itemsize.bit_length() - 1
        ids = target[: int(begins[-1]) * dtype.itemsize].view(dtype)
        return ids.copy() if out is None else ids, begins
