"""One pass through GPT-2 over some rows, in vector code: what lets a CPU decode near its memory's speed.

A row is one new token of one slot. All rows share each read of the weights, whatever their slots and positions. The
threads walk through the same phases and take pieces of each from a shared counter; a phase ends when all its pieces are
done, so a thread that is late or interrupted only leaves more pieces to the others. What is little work (rounding a few
rows) every thread does for itself, which costs less than to share it.

Every number of a row depends on that row alone, in an order fixed by the weights: a sequence gets bit for bit the same
logits whatever shares its batch. In: arrays of addresses, which `fourhorn.sampling.vector_decoder` fills. Out: float32
logits. The plain twin is `TorchDecoder` on `quantize.round_trip`.
"""

# mypy: disable-error-code="no-untyped-call, call-arg"

from typing import Any

from fourhorn.sampling.attention import attend, attend_tile, store_block, store_keys_values
from fourhorn.sampling.compiling import inner
from fourhorn.sampling.layout import (
    BLOCK,
    C_ATTN,
    C_FC,
    C_PROJ,
    EVERY,
    FIRSTS,
    LENGTHS,
    LN_1,
    LN_2,
    MLP_PROJ,
    N_COLUMNS,
    OWN_BYTES,
    PASS,
    PHASES_PER_LAYER,
    POSITIONS,
    SLOTS,
    TOKENS,
    WANTED,
    Buffers,
    Pass,
    Shape,
)
from fourhorn.sampling.linear import linear_panel
from fourhorn.sampling.pieces import next_piece, phase_done
from fourhorn.sampling.processor import HAS_TILES
from fourhorn.sampling.products import ADD, FEW_ROWS, GELU, GELU_HALVES, STORE, Rounded, bytes_of_16
from fourhorn.sampling.quantize import HALVES, NIBBLES, PANEL
from fourhorn.sampling.reading import (
    buffers_numbers,
    column,
    entry,
    matrix_numbers,
    number,
    pass_numbers,
    shape_numbers,
)
from fourhorn.sampling.rows import embed, halve, n_groups, normalize, quantize_row
from fourhorn.sampling.tiles import tile_configure, tile_release

STRETCH_BYTES = 3 << 18  # of rows
PIECE_BYTES = 1 << 18  # of weights, at most: about 10 µs


@inner
def embed_phase(shape: Any, buffers: Any, this: Any, counters: Any, phase: Any, job: Any) -> None:
    """Tokens and positions to x."""
    piece, n_own = next_piece(counters, phase, this.n_rows), 0
    while piece >= 0:
        to = buffers.x + 4 * piece * shape.n_embd
        embed(
            shape.head_kind, buffers.head, buffers.head_scales, buffers.positions,
            entry(job, TOKENS, piece), entry(job, POSITIONS, piece), to, shape.n_embd,
        )  # fmt: skip
        n_own += 1
        piece = next_piece(counters, phase, this.n_rows)
    phase_done(counters, phase, this.n_rows, n_own)


@inner
def round_row(
    kind: Any, x: Any, n: Any, n_true: Any, weight: Any, bias: Any, rounded: Any, row: Any, scratch: Any
) -> None:
    """A row as the next product wants it, normalized if there is a weight."""
    if weight != 0:
        normalize(x, weight, bias, scratch, n, n_true)
        x = scratch
    if kind == HALVES:
        halve(x, rounded.codes + 2 * row * n, n)
    else:
        at = 4 * row * n_groups(kind, n)
        quantize_row(kind, x, n, rounded.codes + row * n, rounded.scales + at, rounded.sums + at)


@inner
def round_phase(
    shape: Any, buffers: Any, counters: Any, phase: Any, kind: Any, source: Any, chosen: Any, n_chosen: Any, n: Any,
    weight: Any, bias: Any, scratch: Any,
) -> Any:  # fmt: skip
    """The `chosen` rows of `source` as the next product wants them; where they are."""
    n_true = shape.n_head * shape.head_size
    if n_chosen <= FEW_ROWS:
        own = scratch + buffers.scratch_bytes - OWN_BYTES * shape.n_embd
        rounded = Rounded(own, own + 128 * shape.n_embd, own + 136 * shape.n_embd)
        for row in range(n_chosen):
            round_row(
                kind, source + 4 * number(chosen, row) * n, n, n_true, weight, bias, rounded, row, scratch
            )
        return rounded
    rounded = Rounded(buffers.rounded, buffers.row_scales, buffers.row_sums)
    piece, n_own = next_piece(counters, phase, n_chosen), 0
    while piece >= 0:
        round_row(
            kind, source + 4 * number(chosen, piece) * n, n, n_true, weight, bias, rounded, piece, scratch
        )
        n_own += 1
        piece = next_piece(counters, phase, n_chosen)
    phase_done(counters, phase, n_chosen, n_own)
    return rounded


@inner
def linear_phase(
    shape: Any, counters: Any, phase: Any, kind: Any, meets: Any, weights: Any, n_inputs: Any, n_outputs: Any,
    rounded: Any, n_rows: Any, out: Any, epilogue: Any, scratch: Any,
) -> None:  # fmt: skip
    """All rows times one matrix; a piece is a few neighbouring panels of 64 outputs."""
    codes, scales, bias = weights
    n_panels, row_bytes = n_outputs // PANEL, n_outputs // 16 * bytes_of_16(epilogue)
    panel_bytes = n_inputs * (128 if kind == HALVES else 32 if kind == NIBBLES else 64)
    size = max(1, min(n_panels // (4 * shape.n_threads), PIECE_BYTES // panel_bytes))
    n_pieces = (n_panels + size - 1) // size
    # many rows go in stretches that stay in the core's cache while the piece's weights pass by
    stretch = max(32, STRETCH_BYTES // (2 * n_inputs) // 32 * 32) if meets == HALVES else n_rows
    piece, n_own = next_piece(counters, phase, n_pieces), 0
    while piece >= 0:
        for part in range((n_rows + stretch - 1) // stretch):
            row = part * stretch
            some = Rounded(rounded.codes + 2 * row * n_inputs, rounded.scales, rounded.sums)
            for panel in range(piece * size, min(piece * size + size, n_panels)):
                linear_panel(
                    kind, meets, panel, codes, scales, bias, n_inputs, min(stretch, n_rows - row), some,
                    out + row * row_bytes, row_bytes, epilogue, scratch,
                )  # fmt: skip
        n_own += 1
        piece = next_piece(counters, phase, n_pieces)
    phase_done(counters, phase, n_pieces, n_own)


@inner
def keys_of(shape: Any, buffers: Any, layer: Any, slot: Any, head: Any) -> Any:
    """Where the keys of a slot's head begin in the cache; their values lie `all_heads` bytes after."""
    first = slot * (shape.n_ctx // BLOCK) * shape.n_layer + layer
    return buffers.cache + (2 * first * shape.n_head + head) * 2 * BLOCK * shape.head_size


@inner
def all_heads(shape: Any) -> Any:
    """Bytes of the keys, or the values, of 64 positions in one layer."""
    return shape.n_head * 2 * BLOCK * shape.head_size


@inner
def cache_phase(
    shape: Any, buffers: Any, this: Any, counters: Any, phase: Any, layer: Any, job: Any, scratch: Any
) -> None:
    """New keys and values into the cache, where rows of one slot see each other; a piece is a head.

    So no two threads write to the same lines of memory, where 16 positions lie together.
    """
    C, D, after = shape.n_embd, shape.head_size, all_heads(shape)
    step = 2 * shape.n_layer * after
    piece, n_own = next_piece(counters, phase, shape.n_head), 0
    while piece >= 0:
        row = 0
        while row < this.n_rows:
            slot, position = entry(job, SLOTS, row), entry(job, POSITIONS, row)
            keys, k = (
                keys_of(shape, buffers, layer, slot, piece),
                buffers.wide + 4 * (3 * row * C + C + piece * D),
            )
            last, v = row + 15, k + 4 * C
            if position % 16 == 0 and D % 32 == 0 and last < this.n_rows and entry(job, SLOTS, last) == slot:
                store_block(k, v, 12 * C, keys, keys + after, step, position, D, scratch)
                row += 16
            else:
                store_keys_values(k, v, keys, keys + after, step, position, D, scratch)
                row += 1
        n_own += 1
        piece = next_piece(counters, phase, shape.n_head)
    phase_done(counters, phase, shape.n_head, n_own)


@inner
def attention_phase(
    shape: Any, buffers: Any, this: Any, counters: Any, phase: Any, layer: Any, job: Any, scratch: Any
) -> None:
    """Every head of every row; neighbours share a head, whose keys stay in the cache of the core."""
    n_items = this.n_spans if this.n_spans > 0 else this.n_rows
    C, D, n_all = shape.n_embd, shape.head_size, n_items * shape.n_head
    after = all_heads(shape)
    step = 2 * shape.n_layer * after
    size = max(1, min(4, n_all // (8 * shape.n_threads)))
    n_pieces = (n_all + size - 1) // size
    piece, n_own = next_piece(counters, phase, n_pieces), 0
    while piece >= 0:
        end = min(piece * size + size, n_all)
        for i in range(piece * size, end):
            head, item = i // n_items, i % n_items
            row = entry(job, FIRSTS, item) if this.n_spans > 0 else item
            keys = keys_of(shape, buffers, layer, entry(job, SLOTS, row), head)
            values, position = keys + after, entry(job, POSITIONS, row)
            query, out = buffers.wide + 4 * (3 * row * C + head * D), buffers.mixed + 4 * (row * C + head * D)
            if this.apart:
                store_keys_values(query + 4 * C, query + 8 * C, keys, values, step, position, D, scratch)
            if this.n_spans > 0:
                n = entry(job, LENGTHS, item)
                attend_tile(query, 12 * C, keys, values, step, D, position, n, out, 4 * C, scratch)
            else:
                later = min(i + 1 if i + 1 < end else (piece + shape.n_threads) * size, n_all - 1)  # probably
                following = keys_of(
                    shape, buffers, layer, entry(job, SLOTS, later % n_items), later // n_items
                )
                attend(query, keys, values, following - keys, step, D, position + 1, out, scratch)
        n_own += 1
        piece = next_piece(counters, phase, n_pieces)
    phase_done(counters, phase, n_pieces, n_own)


@inner
def block(
    shape: Any, table: Any, buffers: Any, this: Any, counters: Any, layer: Any, job: Any, scratch: Any
) -> None:
    """One Transformer block."""
    C, n, kind, every = shape.n_embd, this.n_rows, shape.kind, column(job, EVERY)
    meets = kind if this.as_bytes else HALVES
    x, wide, mixed = buffers.x, buffers.wide, buffers.mixed
    t, p = table + 8 * N_COLUMNS * layer, 1 + PHASES_PER_LAYER * layer
    norm, bias = number(t, LN_1), number(t, LN_1 + 1)
    rounded = round_phase(shape, buffers, counters, p, meets, x, every, n, C, norm, bias, scratch)
    weights = matrix_numbers(t + 8 * C_ATTN)
    linear_phase(shape, counters, p + 1, kind, meets, weights, C, 3 * C, rounded, n, wide, STORE, scratch)
    if not this.apart:
        cache_phase(shape, buffers, this, counters, p + 2, layer, job, scratch)
    attention_phase(shape, buffers, this, counters, p + 3, layer, job, scratch)
    rounded = round_phase(shape, buffers, counters, p + 4, meets, mixed, every, n, C, 0, 0, scratch)
    weights = matrix_numbers(t + 8 * C_PROJ)
    linear_phase(shape, counters, p + 5, kind, meets, weights, C, C, rounded, n, x, ADD, scratch)
    norm, bias = number(t, LN_2), number(t, LN_2 + 1)
    rounded = round_phase(shape, buffers, counters, p + 6, meets, x, every, n, C, norm, bias, scratch)
    weights = matrix_numbers(t + 8 * C_FC)
    if meets == HALVES:
        linear_phase(
            shape, counters, p + 7, kind, meets, weights, C, 4 * C, rounded, n, wide, GELU_HALVES, scratch
        )
        rounded = Rounded(wide, 0, 0)
    else:
        linear_phase(shape, counters, p + 7, kind, meets, weights, C, 4 * C, rounded, n, wide, GELU, scratch)
        rounded = round_phase(shape, buffers, counters, p + 8, meets, wide, every, n, 4 * C, 0, 0, scratch)
    weights = matrix_numbers(t + 8 * MLP_PROJ)
    linear_phase(shape, counters, p + 9, kind, meets, weights, 4 * C, C, rounded, n, x, ADD, scratch)


@inner
def forward(shape: Any, table: Any, buffers: Any, job: Any, counters: Any, thread: Any) -> None:
    """One thread's part of a pass: where `Shape`, `Buffers`, the job and zeroed counters are."""
    shape = Shape(*shape_numbers(shape))
    buffers = Buffers(*buffers_numbers(buffers))
    this = Pass(*pass_numbers(column(job, PASS)))
    if HAS_TILES:
        tile_configure(buffers.tile_shapes)
    scratch = buffers.scratch + thread * buffers.scratch_bytes
    embed_phase(shape, buffers, this, counters, 0, job)
    for layer in range(shape.n_layer):
        block(shape, table, buffers, this, counters, layer, job, scratch)
    if this.n_logits > 0:
        C, last, kind = shape.n_embd, 1 + PHASES_PER_LAYER * shape.n_layer, shape.head_kind
        meets = kind if this.head_as_bytes else HALVES
        rounded = round_phase(
            shape, buffers, counters, last, meets, buffers.x, column(job, WANTED), this.n_logits, C, buffers.ln_f,
            buffers.ln_f_bias, scratch,
        )  # fmt: skip
        linear_phase(
            shape, counters, last + 1, kind, meets, (buffers.head, buffers.head_scales, 0), C, shape.n_outputs, rounded,
            this.n_logits, this.logits, STORE, scratch,
        )  # fmt: skip
    if HAS_TILES:
        tile_release()
