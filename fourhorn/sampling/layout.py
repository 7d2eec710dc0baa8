"""What Python and the kernels agree on: sizes, where buffers lie, what a job is. Nothing here needs a compiler.

A row is one new token of one slot. Each pass is a job: columns of numbers, one for each row, and a `Pass`.
"""

from typing import NamedTuple

# Columns of the table of layers: addresses of layer-normalization weights, then codes, scales and bias of each matrix.
LN_1, LN_2, C_ATTN, C_PROJ, C_FC, MLP_PROJ, N_COLUMNS = 0, 2, 4, 7, 10, 13, 16
PHASES_PER_LAYER, PHASES_AROUND = 10, 3
LINE = 64  # bytes of a cache line
PHASE_BYTES = 2 * LINE  # two counters, each alone in its cache line
# Rows of a job: one column for each row of the pass (firsts and lengths: for each span); the last holds a `Pass`.
TOKENS, SLOTS, POSITIONS, WANTED, EVERY, FIRSTS, LENGTHS, PASS, JOB_ROWS = range(9)
BLOCK = 64  # positions of a slot that lie together in the cache
MAX_ROWS = 512  # tokens read in one pass
N_JOBS = 4  # in the ring
CLOSED = -1  # instead of the newest job's number: there will be no more
GROUPS_AT_ONCE = 4  # whose products wait in the core's cache until they are scaled
BUFFER_BYTES = (2 + GROUPS_AT_ONCE) * 2048  # totals, products, unpacked nibbles
OWN_BYTES = (
    144  # of a thread's scratch per channel: 16 rows of 4C halves (tiles read whole blocks), scales, sums
)
# palette 1; eight tiles of 16 rows × 64 bytes
TILE_SHAPES = bytes([1] + [0] * 15 + [64, 0] * 8 + [0] * 16 + [16] * 8 + [0] * 8)


def tile_bytes(n: int, head_size: int) -> int:
    """What `attention.attend_tile` needs for n positions, a multiple of 64: between rows lies a line, so that they do
    not fall on the same places of the core's cache.
    """
    return 4096 + 32 * head_size + 16 * (6 * n + 2 * LINE)


class Shape(NamedTuple):
    """Sizes that stay the same from pass to pass."""

    n_layer: int
    n_head: int
    n_embd: int  # of the model, padded to a multiple of 64
    head_size: int
    n_outputs: int  # of the head, a multiple of 64
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
    cache: int  # see `fourhorn.sampling.attention`
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
    apart: int  # is every row of another slot?
    as_bytes: int  # round rows to bytes for byte weights (decoding), or widen the weights (reading prompts)
    head_as_bytes: int
    logits: int


N_SHAPE, N_BUFFERS, N_PASS = len(Shape._fields), len(Buffers._fields), len(Pass._fields)
