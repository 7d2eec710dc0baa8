"""One thread's share of a training step: forward, loss and backward of its sequences, without leaving compiled code.

§2.3. Threads split the sequences of a micro-batch and never wait for one another inside a pass: each has its own
activations and its own gradients, which are summed in a fixed order afterwards. Weights arrive packed as right operands
of the forward products and are turned for the backward ones as they are needed; only the head's come packed both ways.

Shapes: R rows = sequences × T tokens, C width, L layers, H heads, V vocabulary rounded up to 32.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

import contextlib
import mmap
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fourhorn.training.kernels import attention as att
from fourhorn.training.kernels import rows
from fourhorn.training.kernels.amx import BLOCK, OPTIONS, address, configure_tiles, release_tiles
from fourhorn.training.kernels.functions import add_column_sums, layer_norm, layer_norm_backward
from fourhorn.training.kernels.head import STRETCH, head_loss, head_rows
from fourhorn.training.kernels.pack import pack_right, pack_right_turned, turn_packed
from fourhorn.training.kernels.product import ADD, GELU, LOW, RESIDUAL, SET, SLOPE, product, scratch_numbers

# Places of a layer's twelve tensors in the row of offsets: name order of the model.
LN_1, LN_1_BIAS, QKV, QKV_BIAS, PROJ, PROJ_BIAS, LN_2, LN_2_BIAS, FC, FC_BIAS, OUT, OUT_BIAS = range(12)

CACHED_BYTES = 1 << 20  # of a second-level cache of 2 MiB
HUGE_PAGE = 2 << 20


class Buffers(NamedTuple):
    """What one thread holds from forward to backward, and its scratch."""

    x: Any  # (2L + 1, R, C) float32, the residual stream before each sub-block and at the end
    normal: Any  # (2L + 1, R, C) bfloat16, layer norms' results
    mean: Any  # (2L + 1, R)
    scale: Any  # (2L + 1, R)
    qkv: Any  # (L, R, 3C) bfloat16
    attended: Any  # (L, R, C) bfloat16
    log_sums: Any  # (L, R, H)
    wide: Any  # (L, R, 4C) bfloat16, before GELU; the backward pass puts its results here
    active: Any  # (P, 4C) bfloat16, after it, of the P rows that a layer works on at once
    dx: Any  # (R, C) float32
    dx_low: Any  # (R, C) bfloat16
    d_normal: Any  # (R, C) float32
    d_qkv: Any  # (P, 3C) bfloat16
    d_wide: Any  # (P, 4C) bfloat16
    logits: Any  # (rows · V,) bfloat16
    packed: Any  # (P · 4C or rows · C,) bfloat16
    turned: Any  # (4C · C,) bfloat16, a matrix packed for the backward pass
    strips: Any  # float32
    scratch: Any  # bfloat16
    zeros: Any  # float32
    mask: Any  # (32, 32) float32, very low above the diagonal


def aligned(shape: tuple[int, ...], kind: Any) -> Any:
    """An uninitialized array that begins on a cache line, without which the matrix unit is several times slower.

    Large ones are mapped for themselves, in huge pages where the system has them, and go back to it when freed.
    """
    n_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize
    if n_bytes < HUGE_PAGE:
        room = np.empty(n_bytes + 64, np.uint8)
        start = -room.ctypes.data % 64
    else:
        pages = mmap.mmap(-1, n_bytes + HUGE_PAGE)
        with contextlib.suppress(OSError):  # a kernel without huge pages
            pages.madvise(mmap.MADV_HUGEPAGE)
        room = np.frombuffer(pages, np.uint8)
        start = -room.ctypes.data % HUGE_PAGE
    return room[start : start + n_bytes].view(kind).reshape(shape)


def rows_at_once(R: int, T: int, C: int) -> int:
    """Rows a layer works on at once: a sequence where its widest tensor stays in the second-level cache, else all."""
    return T if 2 * 4 * C * T <= CACHED_BYTES else R


def make_buffers(L: int, R: int, T: int, C: int, H: int, V: int) -> Buffers:
    """Room for one thread's R rows."""

    def low(*shape: int) -> Any:
        return aligned(shape, np.uint16)

    def full(*shape: int) -> Any:
        return aligned(shape, np.float32)

    P = rows_at_once(R, T, C)
    scratch = max(scratch_numbers(max(4 * C, P, STRETCH)), att.scratch_numbers(T, C // H))
    zeros, mask = full(max(4 * C, STRETCH)), full(BLOCK, BLOCK)
    zeros[:] = 0
    mask[:] = np.triu(np.full((BLOCK, BLOCK), rows.LOWEST, np.float32), 1)
    return Buffers(
        full(2 * L + 1, R, C), low(2 * L + 1, R, C), full(2 * L + 1, R), full(2 * L + 1, R), low(L, R, 3 * C),
        low(L, R, C), full(L, R, H), low(L, R, 4 * C), low(P, 4 * C), full(R, C), low(R, C), full(R, C),
        low(P, 3 * C), low(P, 4 * C), low(head_rows(V, R) * V), low(max(P * 4, head_rows(V, R)) * C), low(4 * C * C),
        full(att.strip_numbers(T)), low(scratch), zeros, mask,
    )  # fmt: skip


@njit(**OPTIONS)
def pack_weights(weights: Any, offset: int, n: int, k: int, low: Any, packs: Any) -> None:
    """Pack one (N, K) matrix of the flat weights for the forward pass, at the same offset."""
    rows.narrowed(address(weights) + 4 * offset, address(low), n * k)
    pack_right_turned(address(low), 2 * k, n, k, address(packs) + 2 * offset)


@njit(**OPTIONS)
def pack_head(weights: Any, offset: int, n_vocab: int, C: int, low: Any, packs: Any, turned: Any) -> None:
    """Pack the embedding as the head's matrix, its last rows up to a multiple of 32 zero; `turned` by stretches."""
    V = (n_vocab + BLOCK - 1) // BLOCK * BLOCK
    flat = address(low)
    for start in range(0, V, STRETCH):
        width = min(STRETCH, V - start)
        place = offset + start * C
        rows.narrowed(address(weights) + 4 * place, flat, width * C)
        pack_right_turned(flat, 2 * C, width, C, address(packs) + 2 * place)
        pack_right(flat, 2 * C, width, C, address(turned) + 2 * start * C)


@njit(**OPTIONS)
def run_forward(
    tokens: Any, T: int, H: int, weights: int, offsets: Any, packs: int, wte: Any, wpe: Any, b: Any
) -> None:
    """Tokens (R,) to the final layer norm's result, keeping what the backward pass needs."""
    L, R, C, rows_at_once = b.qkv.shape[0], b.x.shape[1], b.x.shape[2], b.active.shape[0]
    for r in range(R):
        row, one, other = b.x[0, r], wte[tokens[r]], wpe[r % T]
        for i in range(C):
            row[i] = one[i] + other[i]
    for layer in range(L):
        for first in range(0, R, rows_at_once):
            block_forward(layer, first, min(first + rows_at_once, R), T, H, weights, offsets[layer], packs, b)
    norm(2 * L, 0, R, offsets[L][0], offsets[L][1], weights, b)


@njit(**OPTIONS)
def block_forward(
    layer: int, first: int, last: int, T: int, H: int, weights: int, o: Any, packs: int, b: Any
) -> None:
    """One layer's two sub-blocks over rows [first, last), whole sequences."""
    n, R, C, scratch, active = 2 * layer, last - first, b.x.shape[2], address(b.scratch), address(b.active)
    qkv, attended, wide = b.qkv[layer, first:last], b.attended[layer, first:last], b.wide[layer, first:last]
    norm(n, first, last, o[LN_1], o[LN_1_BIAS], weights, b)
    product(
        LOW, address(b.normal[n, first:]), 2 * C, False, R, C, packs + 2 * o[QKV], 3 * C, scratch, address(qkv), 6 * C,
        0, 0, weights + 4 * o[QKV_BIAS],
    )  # fmt: skip
    att.attention(qkv, attended, b.log_sums[layer, first:last], T, H, b.strips, scratch, b.mask)
    product(
        RESIDUAL, address(attended), 2 * C, False, R, C, packs + 2 * o[PROJ], C, scratch, address(b.x[n + 1, first:]),
        4 * C, address(b.x[n, first:]), 4 * C, weights + 4 * o[PROJ_BIAS],
    )  # fmt: skip
    norm(n + 1, first, last, o[LN_2], o[LN_2_BIAS], weights, b)
    product(
        GELU, address(b.normal[n + 1, first:]), 2 * C, False, R, C, packs + 2 * o[FC], 4 * C, scratch, address(wide),
        8 * C, active, 8 * C, weights + 4 * o[FC_BIAS],
    )  # fmt: skip
    product(
        RESIDUAL, active, 8 * C, False, R, 4 * C, packs + 2 * o[OUT], C, scratch, address(b.x[n + 2, first:]), 4 * C,
        address(b.x[n + 1, first:]), 4 * C, weights + 4 * o[OUT_BIAS],
    )  # fmt: skip


@njit(**OPTIONS)
def norm(n: int, first: int, last: int, gain: int, bias: int, weights: int, b: Any) -> None:
    """Layer norm number `n` of rows [first, last)."""
    layer_norm(
        b.x[n, first:last], weights + 4 * gain, weights + 4 * bias, b.normal[n, first:last], b.mean[n, first:last],
        b.scale[n, first:last],
    )  # fmt: skip


@njit(**OPTIONS)
def norm_backward(
    n: int, first: int, last: int, gain: int, bias: int, weights: int, gradients: int, b: Any
) -> None:
    """Through layer norm number `n`: from `d_normal` into `dx`, `dx_low` and the gradients of its gain and bias."""
    layer_norm_backward(
        b.d_normal[first:last], b.x[n, first:last], weights + 4 * gain, b.mean[n, first:last], b.scale[n, first:last],
        b.dx[first:last], b.dx_low[first:last], gradients + 4 * gain, gradients + 4 * bias,
    )  # fmt: skip


@njit(**OPTIONS)
def add_weight_gradient(left: Any, right: Any, matrix: int, bias: int, b: Any) -> None:
    """Add leftᵀ · right to the matrix and left's column sums to the bias, at addresses: R rows, (R, N) and (R, K)."""
    n, k, R = left.shape[1], right.shape[1], left.shape[0]
    packed = address(b.packed)
    pack_right(address(right), 2 * k, R, k, packed)
    product(ADD, address(left), 2 * n, True, n, R, packed, k, address(b.scratch), matrix, 4 * k, 0, 0, 0)
    add_column_sums(left, bias)


@njit(**OPTIONS)
def turn(pack: int, n: int, k: int, b: Any) -> int:
    """The address of a packed matrix (N, K) packed for products over N instead."""
    turn_packed(pack, n, k, address(b.turned), address(b.scratch))
    return address(b.turned)


@njit(**OPTIONS)
def run_backward(T: int, H: int, weights: int, offsets: Any, packs: int, gradients: int, b: Any) -> None:
    """From the gradient by the final layer norm's result, in `d_normal`, to those of every tensor in the blocks."""
    L, R, rows_at_once = b.qkv.shape[0], b.x.shape[1], b.active.shape[0]
    b.dx[:] = 0
    norm_backward(2 * L, 0, R, offsets[L][0], offsets[L][1], weights, gradients, b)
    for back in range(L):
        layer = L - 1 - back
        for first in range(0, R, rows_at_once):
            last = min(first + rows_at_once, R)
            mlp_backward(layer, first, last, weights, offsets[layer], packs, gradients, b)
            attention_block_backward(layer, first, last, T, H, weights, offsets[layer], packs, gradients, b)


@njit(**OPTIONS)
def mlp_backward(
    layer: int, first: int, last: int, weights: int, o: Any, packs: int, gradients: int, b: Any
) -> None:
    """One layer's second sub-block over rows [first, last)."""
    n, R, C, scratch = 2 * layer, last - first, b.x.shape[2], address(b.scratch)
    d_wide, wide, low = b.d_wide[:R], b.wide[layer, first:last], b.dx_low[first:last]
    product(
        SLOPE, address(low), 2 * C, False, R, C, turn(packs + 2 * o[OUT], C, 4 * C, b), 4 * C, scratch,
        address(d_wide), 8 * C, address(wide), 8 * C, 0,
    )  # fmt: skip
    add_weight_gradient(low, wide, gradients + 4 * o[OUT], gradients + 4 * o[OUT_BIAS], b)
    add_weight_gradient(
        d_wide, b.normal[n + 1, first:last], gradients + 4 * o[FC], gradients + 4 * o[FC_BIAS], b
    )
    product(
        SET, address(d_wide), 8 * C, False, R, 4 * C, turn(packs + 2 * o[FC], 4 * C, C, b), C, scratch,
        address(b.d_normal[first:]), 4 * C, 0, 0, 0,
    )  # fmt: skip
    norm_backward(n + 1, first, last, o[LN_2], o[LN_2_BIAS], weights, gradients, b)


@njit(**OPTIONS)
def attention_block_backward(
    layer: int,
    first: int,
    last: int,
    T: int,
    H: int,
    weights: int,
    o: Any,
    packs: int,
    gradients: int,
    b: Any,
) -> None:
    """One layer's first sub-block over rows [first, last), whole sequences."""
    n, R, C, scratch = 2 * layer, last - first, b.x.shape[2], address(b.scratch)
    d_qkv, low, attended = b.d_qkv[:R], b.dx_low[first:last], b.attended[layer, first:last]
    d_attended = b.d_wide.reshape(-1)[: R * C].reshape(R, C)
    product(
        LOW, address(low), 2 * C, False, R, C, turn(packs + 2 * o[PROJ], C, C, b), C, scratch,
        address(d_attended), 2 * C, 0, 0, address(b.zeros),
    )  # fmt: skip
    add_weight_gradient(low, attended, gradients + 4 * o[PROJ], gradients + 4 * o[PROJ_BIAS], b)
    att.attention_backward(
        b.qkv[layer, first:last], attended, d_attended, b.log_sums[layer, first:last], d_qkv, T, H, b.strips, scratch,
        b.mask, address(b.zeros),
    )  # fmt: skip
    add_weight_gradient(
        d_qkv, b.normal[n, first:last], gradients + 4 * o[QKV], gradients + 4 * o[QKV_BIAS], b
    )
    product(
        SET, address(d_qkv), 6 * C, False, R, 3 * C, turn(packs + 2 * o[QKV], 3 * C, C, b), C, scratch,
        address(b.d_normal[first:]), 4 * C, 0, 0, 0,
    )  # fmt: skip
    norm_backward(n, first, last, o[LN_1], o[LN_1_BIAS], weights, gradients, b)


@njit(**OPTIONS)
def training_pass(
    tokens: Any, targets: Any, row_weights: Any, T: int, H: int, n_vocab: int, weights: Any, offsets: Any,
    packs: Any, head: Any, gradients: Any, wte: Any, wpe: Any, b: Any, learn: bool,
) -> float:  # fmt: skip
    """The loss of this thread's rows; with `learn` their gradients are added to `gradients`, laid out alike."""
    configure_tiles()
    L, R, C = b.qkv.shape[0], b.x.shape[1], b.x.shape[2]
    run_forward(tokens, T, H, address(weights), offsets, address(packs), wte, wpe, b)
    wte_at, wpe_at = offsets[L][2], offsets[L][3]
    b.d_normal[:] = 0
    loss = head_loss(
        b.normal[2 * L], targets, row_weights, n_vocab, address(packs) + 2 * wte_at, address(head),
        b.logits, address(b.packed), address(b.scratch), b.d_normal, address(gradients) + 4 * wte_at,
        address(b.zeros), learn,
    )  # fmt: skip
    if learn:
        run_backward(T, H, address(weights), offsets, address(packs), address(gradients), b)
        d_wte = gradients[wte_at : wte_at + wte.size].reshape(wte.shape)
        d_wpe = gradients[wpe_at : wpe_at + wpe.size].reshape(wpe.shape)
        for r in range(R):
            row, one, other = b.dx[r], d_wte[tokens[r]], d_wpe[r % T]
            for i in range(C):
                one[i] += row[i]
                other[i] += row[i]
    release_tiles()
    return loss
