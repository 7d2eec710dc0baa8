"""One pass through GPT-2 over some rows, in vector code: what lets a CPU decode near its memory's speed.

A row is one new token of one slot. All rows share each read of the weights, whatever their slots and positions. The
threads walk through the same phases and take pieces of each from a shared counter; a phase ends when all its pieces are
done, so a thread that is late or interrupted only leaves more pieces to the others.

Every number of a row depends on that row alone, in an order fixed by the weights: a sequence gets bit for bit the same
logits whatever shares its batch. In: tables of addresses, which `fourhorn.sampling.vector_decoder` fills. Out: float32
logits. The plain twin is `TorchDecoder` on `quantize.round_trip`.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any, NamedTuple

from numba import njit

from fourhorn.sampling.attention import attend, attend_tile, store_keys_values
from fourhorn.sampling.linear import ADD, GELU, STORE, linear_pair
from fourhorn.sampling.pieces import next_piece, phase_done, piece_done
from fourhorn.sampling.processor import HAS_TILES
from fourhorn.sampling.quantize import HALVES
from fourhorn.sampling.rows import embed, halve, normalize, quantize_row
from fourhorn.sampling.tiles import tile_configure, tile_release
from fourhorn.sampling.vectors import FAST

# Columns of the table of layers: addresses of layer-normalization weights, then codes, scales and bias of each matrix.
LN_1, LN_2, C_ATTN, C_PROJ, C_FC, MLP_PROJ, N_COLUMNS = 0, 2, 4, 7, 10, 13, 16
PHASES_PER_LAYER, PHASES_AROUND = 10, 3


class Shape(NamedTuple):
    """Sizes that stay the same from pass to pass."""

    n_layer: int
    n_head: int
    n_embd: int
    head_size: int
    n_outputs: int  # of the head, a multiple of 32
    n_ctx: int  # of a slot, a multiple of 64
    n_slots: int
    kind: int  # of the layers' weights
    head_kind: int
    n_threads: int


class Buffers(NamedTuple):
    """Addresses that stay the same from pass to pass."""

    positions: int  # wpe, float32
    ln_f: int
    ln_f_bias: int
    head: int
    head_scales: int
    keys: int
    values: int
    x: int  # (rows, C)
    wide: int  # (rows, 4C): q·k·v, then the MLP's inside
    mixed: int  # (rows, C): attention's output
    rounded: int  # (rows, 4C) bytes or halves
    row_scales: int
    row_sums: int
    scratch: int  # a part for each thread
    scratch_bytes: int
    tile_shapes: int


class Pass(NamedTuple):
    """What this pass reads."""

    n_rows: int
    n_logits: int
    n_spans: int  # stretches of up to 16 rows of one slot that are attended to together; 0 for single rows
    as_bytes: bool  # round rows to bytes for byte weights (decoding), or widen the weights (reading prompts)
    head_as_bytes: bool
    logits: int
    counters: int


@njit(**FAST)
def embed_phase(shape: Any, buffers: Any, this: Any, phase: Any, rows: Any) -> None:
    """Tokens and positions to x."""
    piece = next_piece(this.counters, phase, this.n_rows)
    while piece >= 0:
        to = buffers.x + 4 * piece * shape.n_embd
        embed(
            shape.head_kind, buffers.head, buffers.head_scales, buffers.positions,
            rows[0, piece], rows[2, piece], to, shape.n_embd,
        )  # fmt: skip
        piece_done(this.counters, phase)
        piece = next_piece(this.counters, phase, this.n_rows)
    phase_done(this.counters, phase, this.n_rows)


@njit(**FAST)
def round_phase(
    buffers: Any, this: Any, phase: Any, source: Any, chosen: Any, n_chosen: Any, n: Any, weight: Any, bias: Any,
    as_bytes: Any, scratch: Any,
) -> None:  # fmt: skip
    """Rows of `source`, normalized if there is a weight, rounded for the next product; `chosen` picks them."""
    piece = next_piece(this.counters, phase, n_chosen)
    while piece >= 0:
        x = source + 4 * chosen[piece] * n
        if weight != 0:
            normalize(x, weight, bias, scratch, n)
            x = scratch
        if as_bytes:
            groups = n // 64
            at = 4 * piece * groups
            quantize_row(x, n, buffers.rounded + piece * n, buffers.row_scales + at, buffers.row_sums + at)
        else:
            halve(x, buffers.rounded + 2 * piece * n, n)
        piece_done(this.counters, phase)
        piece = next_piece(this.counters, phase, n_chosen)
    phase_done(this.counters, phase, n_chosen)


@njit(**FAST)
def linear_phase(
    buffers: Any, this: Any, phase: Any, kind: Any, codes: Any, scales: Any, bias: Any, n_inputs: Any, n_outputs: Any,
    n_rows: Any, as_bytes: Any, out: Any, epilogue: Any, n_threads: Any, scratch: Any,
) -> None:  # fmt: skip
    """All rows times one matrix; a piece is a few neighbouring pairs of blocks."""
    n_pairs = n_outputs // 32
    size = max(1, n_pairs // (8 * n_threads))
    n_pieces = (n_pairs + size - 1) // size
    piece = next_piece(this.counters, phase, n_pieces)
    while piece >= 0:
        for pair in range(piece * size, min(piece * size + size, n_pairs)):
            linear_pair(
                kind, pair, codes, scales, bias, n_inputs, as_bytes, n_rows, buffers.rounded, buffers.row_scales,
                buffers.row_sums, out, 4 * n_outputs, epilogue, scratch,
            )  # fmt: skip
        piece_done(this.counters, phase)
        piece = next_piece(this.counters, phase, n_pieces)
    phase_done(this.counters, phase, n_pieces)


@njit(**FAST)
def slot_start(shape: Any, layer: Any, slot: Any) -> Any:
    """Where a slot's keys (and values) of one layer begin in the cache, in bytes."""
    return (layer * shape.n_slots + slot) * shape.n_ctx * shape.n_embd * 2


@njit(**FAST)
def cache_phase(shape: Any, buffers: Any, this: Any, phase: Any, layer: Any, rows: Any, scratch: Any) -> None:
    """New keys and values into the cache."""
    piece = next_piece(this.counters, phase, this.n_rows)
    while piece >= 0:
        start = slot_start(shape, layer, rows[1, piece])
        store_keys_values(
            buffers.wide + 12 * piece * shape.n_embd, buffers.keys + start, buffers.values + start,
            rows[2, piece], shape.n_head, shape.head_size, shape.n_ctx, scratch,
        )  # fmt: skip
        piece_done(this.counters, phase)
        piece = next_piece(this.counters, phase, this.n_rows)
    phase_done(this.counters, phase, this.n_rows)


@njit(**FAST)
def attention_phase(
    shape: Any, buffers: Any, this: Any, phase: Any, layer: Any, rows: Any, scratch: Any
) -> None:
    """Every head of every row; neighbouring pieces share a head, whose keys stay in the cache of the core."""
    n_items = this.n_spans if this.n_spans > 0 else this.n_rows
    C, D, n_pieces = shape.n_embd, shape.head_size, n_items * shape.n_head
    piece = next_piece(this.counters, phase, n_pieces)
    while piece >= 0:
        head, item = piece // n_items, piece % n_items
        row = rows[5, item] if this.n_spans > 0 else item
        start = slot_start(shape, layer, rows[1, row]) + head * shape.n_ctx * D * 2
        keys, values, position = buffers.keys + start, buffers.values + start, rows[2, row]
        query, out = buffers.wide + 4 * (3 * row * C + head * D), buffers.mixed + 4 * (row * C + head * D)
        if this.n_spans > 0:
            attend_tile(query, 12 * C, keys, values, D, position, rows[6, item], out, 4 * C, scratch)
        else:
            attend(query, keys, values, D, position + 1, out, scratch)
        piece_done(this.counters, phase)
        piece = next_piece(this.counters, phase, n_pieces)
    phase_done(this.counters, phase, n_pieces)


@njit(**FAST)
def block(shape: Any, table: Any, buffers: Any, this: Any, layer: Any, rows: Any, scratch: Any) -> None:
    """One Transformer block."""
    C, n, by, kind, threads = shape.n_embd, this.n_rows, this.as_bytes, shape.kind, shape.n_threads
    x, wide, mixed, every = buffers.x, buffers.wide, buffers.mixed, rows[4]
    t, p = table[layer], 1 + PHASES_PER_LAYER * layer
    round_phase(buffers, this, p, x, every, n, C, t[LN_1], t[LN_1 + 1], by, scratch)
    linear_phase(
        buffers, this, p + 1, kind, t[C_ATTN], t[C_ATTN + 1], t[C_ATTN + 2], C, 3 * C, n, by, wide, STORE,
        threads, scratch,
    )  # fmt: skip
    cache_phase(shape, buffers, this, p + 2, layer, rows, scratch)
    attention_phase(shape, buffers, this, p + 3, layer, rows, scratch)
    round_phase(buffers, this, p + 4, mixed, every, n, C, 0, 0, by, scratch)
    linear_phase(
        buffers,
        this,
        p + 5,
        kind,
        t[C_PROJ],
        t[C_PROJ + 1],
        t[C_PROJ + 2],
        C,
        C,
        n,
        by,
        x,
        ADD,
        threads,
        scratch,
    )
    round_phase(buffers, this, p + 6, x, every, n, C, t[LN_2], t[LN_2 + 1], by, scratch)
    linear_phase(
        buffers,
        this,
        p + 7,
        kind,
        t[C_FC],
        t[C_FC + 1],
        t[C_FC + 2],
        C,
        4 * C,
        n,
        by,
        wide,
        GELU,
        threads,
        scratch,
    )
    round_phase(buffers, this, p + 8, wide, every, n, 4 * C, 0, 0, by, scratch)
    linear_phase(
        buffers, this, p + 9, kind, t[MLP_PROJ], t[MLP_PROJ + 1], t[MLP_PROJ + 2], 4 * C, C, n, by, x, ADD,
        threads, scratch,
    )  # fmt: skip


@njit(**FAST)
def forward(shape: Any, table: Any, buffers: Any, this: Any, rows: Any, thread: Any) -> None:
    """One thread's part of a pass.

    `rows` (7, n): tokens, slots, positions, rows that need logits, 0 … n-1, first rows and lengths of spans.
    """
    if HAS_TILES:
        tile_configure(buffers.tile_shapes)
    scratch = buffers.scratch + thread * buffers.scratch_bytes
    embed_phase(shape, buffers, this, 0, rows)
    for layer in range(shape.n_layer):
        block(shape, table, buffers, this, layer, rows, scratch)
    if this.n_logits > 0:
        C, last = shape.n_embd, 1 + PHASES_PER_LAYER * shape.n_layer
        by = this.head_as_bytes and shape.head_kind != HALVES
        round_phase(
            buffers,
            this,
            last,
            buffers.x,
            rows[3],
            this.n_logits,
            C,
            buffers.ln_f,
            buffers.ln_f_bias,
            by,
            scratch,
        )
        linear_phase(
            buffers, this, last + 1, shape.head_kind, buffers.head, buffers.head_scales, 0, C, shape.n_outputs,
            this.n_logits, by, this.logits, STORE, shape.n_threads, scratch,
        )  # fmt: skip
    if HAS_TILES:
        tile_release()
