# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,call-arg"
"""The longest verbatim run of each text in a much longer one that is streamed past, exactly, in linear time.

A suffix automaton (Blumer et al. 1985) over the samples knows every substring of them. Streaming the training text
through it gives at each byte the longest run that ends there and stands in a sample, at constant cost per byte however
repetitive the texts are. Most training text shares nothing with a sample, so a rolling hash of the last `window` bytes
is looked up in a bitmap first, and the automaton is only entered where that hash is one of the samples'.

In: samples and training text as bytes (uint8). Out: for each sample the length in bytes of its longest run of at least
`window` bytes, where it ends in the sample, and in which training text it stands. Memory: about 110 bytes per sample
byte. Nothing is left to chance: the bytes themselves are compared before the automaton is entered.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from fourhorn.memorization.kernels import BASE, CACHED, FOLD, U64, mix

BOUNDARY = 256  # a symbol between samples that no text holds
NONE = -1
PREFILTER_BITS_PER_BYTE = 64


@dataclass(frozen=True)
class Run:
    """A sample's longest run: `sample[end - length : end]`, found in training text number `document`."""

    length: int
    end: int
    document: int


class LongestRuns:
    """The samples' automaton, with the longest run found so far at each of its states."""

    def __init__(self, samples: Sequence[bytes], window: int = 24) -> None:
        self.window, self.ends = window, np.cumsum([len(sample) + 1 for sample in samples])
        symbols = np.full(int(self.ends[-1]) if samples else 0, BOUNDARY, dtype=np.int16)
        for end, sample in zip(self.ends, samples, strict=True):
            symbols[end - 1 - len(sample) : end - 1] = np.frombuffer(sample, dtype=np.uint8)
        n = len(symbols)
        self.length, self.link = np.zeros(2 * n + 2, dtype=np.int32), np.full(2 * n + 2, NONE, dtype=np.int32)
        self.first_edge = np.full(2 * n + 2, NONE, dtype=np.int32)
        self.edge_symbol = np.zeros(3 * n + 4, dtype=np.int16)
        self.edge_next, self.edge_target = (
            np.zeros(3 * n + 4, dtype=np.int32),
            np.zeros(3 * n + 4, dtype=np.int32),
        )
        self.state_at = np.zeros(n, dtype=np.int32)
        n_states = build(symbols, self.state_at, *self._automaton())
        self.best, self.where = np.zeros(n_states, dtype=np.int32), np.full(n_states, NONE, dtype=np.int64)
        n_bits = 1 << max(10, int(n * PREFILTER_BITS_PER_BYTE).bit_length())
        self.prefilter = np.zeros(n_bits // 64, dtype=np.uint64)
        n_slots = 1 << max(6, (2 * n).bit_length())
        self.table, self.table_end = (
            np.zeros(n_slots, dtype=np.uint64),
            np.full(n_slots, NONE, dtype=np.int32),
        )
        self.symbols = symbols
        note_windows(symbols, window, self.prefilter, self.table, self.table_end)

    def _automaton(self):  # type: ignore[no-untyped-def]
        return self.length, self.link, self.first_edge, self.edge_symbol, self.edge_next, self.edge_target

    def _windows(self):  # type: ignore[no-untyped-def]
        return self.window, self.prefilter, self.table, self.table_end, self.symbols, self.state_at

    def stream(self, texts: Sequence[bytes], first: int) -> list[int]:
        """Take in training texts number `first` and on; returns the numbers of those that hold a longer run."""
        offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        data = np.frombuffer(b"".join(texts), dtype=np.uint8)
        touched = np.zeros(len(texts), dtype=np.bool_)
        if self.window <= len(data):
            track(data, offsets, first, *self._windows(), *self._automaton(), self.best, self.where, touched)
        return [first + int(i) for i in np.flatnonzero(touched)]

    def runs(self) -> list[Run]:
        """The longest run of every sample; length 0 where none reaches the window."""
        order = np.argsort(self.length[: len(self.best)], kind="stable")
        best, where = self.best.copy(), self.where.copy()
        spread(order, self.length, self.link, best, where)
        found, start = [], 0
        for end in self.ends:
            states = self.state_at[start : int(end) - 1]
            if len(states) and best[states].max() >= self.window:
                at = int(best[states].argmax())
                found.append(Run(int(best[states[at]]), at + 1, int(where[states[at]])))
            else:
                found.append(Run(0, 0, NONE))
            start = int(end)
        return found


@njit(**CACHED)
def follow(state, symbol, first_edge, edge_symbol, edge_next):
    """The edge of `state` with `symbol`, or NONE."""
    edge = first_edge[state]
    while edge != NONE and edge_symbol[edge] != symbol:
        edge = edge_next[edge]
    return edge


@njit(**CACHED)
def build(symbols, state_at, length, link, first_edge, edge_symbol, edge_next, edge_target):
    """Add the symbols one by one; `state_at[i]` becomes the state of the prefix that ends at i. Returns the states."""
    n_states, n_edges, last = 1, 0, 0
    for i in range(len(symbols)):
        symbol, new = symbols[i], n_states
        n_states += 1
        length[new] = length[last] + 1
        state, edge = last, np.int32(NONE)
        while state != NONE:
            edge = follow(state, symbol, first_edge, edge_symbol, edge_next)
            if edge != NONE:
                break
            edge_symbol[n_edges], edge_target[n_edges] = symbol, new
            edge_next[n_edges], first_edge[state] = first_edge[state], n_edges
            n_edges += 1
            state = link[state]
        if state == NONE:
            link[new] = 0
        else:
            target = edge_target[edge]
            if length[target] == length[state] + 1:
                link[new] = target
            else:
                clone = n_states
                n_states += 1
                length[clone], link[clone] = length[state] + 1, link[target]
                copied = first_edge[target]
                while copied != NONE:
                    edge_symbol[n_edges], edge_target[n_edges] = edge_symbol[copied], edge_target[copied]
                    edge_next[n_edges], first_edge[clone] = first_edge[clone], n_edges
                    n_edges += 1
                    copied = edge_next[copied]
                while state != NONE:
                    edge = follow(state, symbol, first_edge, edge_symbol, edge_next)
                    if edge == NONE or edge_target[edge] != target:
                        break
                    edge_target[edge] = clone
                    state = link[state]
                link[target] = clone
                link[new] = clone
        last = new
        state_at[i] = new
    return n_states


@njit(inline="always")
def power(n):
    """BASE ** n, the weight with which the oldest of n bytes leaves a rolling hash."""
    weight = U64(1)
    for _ in range(n):
        weight *= BASE
    return weight


@njit(**CACHED)
def note_windows(symbols, window, prefilter, table, table_end):
    """Note the hash of every run of `window` bytes in the samples, with where its first occurrence ends."""
    shift, last_slot = U64(64 - round(np.log2(len(prefilter) * 64))), U64(len(table) - 1)
    polynomial, n_seen, leave = U64(0), 0, power(window)
    for i in range(len(symbols)):
        polynomial = polynomial * BASE + U64(symbols[i])
        if i >= window:
            polynomial -= U64(symbols[i - window]) * leave
        n_seen = 0 if symbols[i] == BOUNDARY else n_seen + 1
        if n_seen >= window:
            h = polynomial * FOLD
            slot = mix(h) & last_slot
            while table_end[slot] != NONE and table[slot] != h:
                slot = (slot + U64(1)) & last_slot
            if table_end[slot] == NONE:
                table[slot], table_end[slot] = h, i
                bit = h >> shift
                prefilter[bit >> U64(6)] |= U64(1) << (bit & U64(63))


@njit(**CACHED)
def enter(data, i, h, window, table, table_end, symbols, state_at, length, link):
    """The automaton's state for the `window` bytes that end at `data[i]`, or 0 when no sample has them."""
    last_slot = U64(len(table) - 1)
    slot = mix(h) & last_slot
    while table[slot] != h:
        if table_end[slot] == NONE:
            return 0
        slot = (slot + U64(1)) & last_slot
    end = table_end[slot]
    if end == NONE:
        return 0
    for k in range(window):
        if symbols[end - k] != data[i - k]:
            return 0
    state = state_at[end]
    while length[link[state]] >= window:
        state = link[state]
    return state


@njit(**CACHED)
def track(
    data, offsets, first, window, prefilter, table, table_end, symbols, state_at, length, link, first_edge,
    edge_symbol, edge_next, edge_target, best, where, touched,
):  # fmt: skip
    """Run each text through the automaton where its windows are noted; keep the longest run per state."""
    shift, leave = U64(64 - round(np.log2(len(prefilter) * 64))), power(window)
    for d in range(len(offsets) - 1):
        start, stop = offsets[d], offsets[d + 1]
        polynomial, state, run = U64(0), 0, 0
        for i in range(start, min(stop, start + window)):
            polynomial = polynomial * BASE + U64(data[i])
        for i in range(start + window - 1, stop):
            if i >= start + window:
                polynomial = polynomial * BASE + U64(data[i]) - U64(data[i - window]) * leave
            if run == 0:
                h = polynomial * FOLD
                bit = h >> shift
                if not prefilter[bit >> U64(6)] >> (bit & U64(63)) & U64(1):
                    continue
                state = enter(data, i, h, window, table, table_end, symbols, state_at, length, link)
                run = window if state != 0 else 0
            else:
                edge = follow(state, data[i], first_edge, edge_symbol, edge_next)
                while edge == NONE and state != 0:
                    state = link[state]
                    run = length[state]
                    edge = follow(state, data[i], first_edge, edge_symbol, edge_next)
                run = 0 if edge == NONE else run + 1
                state = 0 if edge == NONE else edge_target[edge]
                if run < window:
                    state, run = 0, 0
            if run > best[state] and run >= window:
                best[state], where[state], touched[d] = run, first + d, True


@njit(**CACHED)
def spread(order, length, link, best, where):
    """From the runs noted at states to those of every prefix: a run stands wherever its state's suffixes do."""
    for k in range(len(order) - 1, 0, -1):
        state = order[k]
        shorter = link[state]
        if best[state] > 0 and shorter > 0 and best[shorter] < length[shorter]:
            best[shorter], where[shorter] = length[shorter], where[state]
    for k in range(1, len(order)):
        state = order[k]
        shorter = link[state]
        if shorter > 0 and best[shorter] > best[state]:
            best[state], where[state] = best[shorter], where[shorter]
