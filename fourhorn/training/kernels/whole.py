"""One thread's share of a training step: forward, loss and backward of its sequences, without leaving compiled code.

§2.3. Threads split the sequences of a micro-batch and never wait for one another inside a pass: each has its own
activations and its own gradients, which are summed in a fixed order afterwards. Weights arrive packed twice, as right
operands of the forward and of the backward products.

Shapes: R rows = sequences × T tokens, C width, L layers, H heads, V vocabulary rounded up to 32.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fourhorn.training.kernels import attention as att
from fourhorn.training.kernels.amx import BLOCK, OPTIONS, configure_tiles, release_tiles
from fourhorn.training.kernels.functions import add_column_sums, layer_norm, layer_norm_backward
from fourhorn.training.kernels.head import STRETCH, head_loss, head_rows
from fourhorn.training.kernels.pack import narrow_rows, pack_right, pack_right_turned
from fourhorn.training.kernels.product import ADD, GELU, LOW, RESIDUAL, SET, SLOPE, product, scratch_numbers

# Places of a layer's twelve tensors in the row of offsets: name order of the model.
LN_1, LN_1_BIAS, QKV, QKV_BIAS, PROJ, PROJ_BIAS, LN_2, LN_2_BIAS, FC, FC_BIAS, OUT, OUT_BIAS = range(12)


class Buffers(NamedTuple):
    """What one thread holds from forward to backward, and its scratch."""

    x: Any  # (2L + 1, R, C) float32, the residual stream before each sub-block and at the end
    normal: Any  # (2L + 1, R, C) bfloat16, layer norms' results
    mean: Any  # (2L + 1, R)
    scale: Any  # (2L + 1, R)
    qkv: Any  # (L, R, 3C) bfloat16
    attended: Any  # (L, R, C) bfloat16
    log_sums: Any  # (L, R, H)
    wide: Any  # (L, R, 4C) bfloat16, before GELU
    active: Any  # (L, R, 4C) bfloat16, after it
    dx: Any  # (R, C) float32
    dx_low: Any  # (R, C) bfloat16
    d_normal: Any  # (R, C) float32
    d_qkv: Any  # (R, 3C) bfloat16
    d_wide: Any  # (R, 4C) bfloat16
    logits: Any  # (rows · V,) bfloat16
    packed: Any  # (R · 4C,) bfloat16
    strips: Any  # (3, 32, T) float32
    scratch: Any  # bfloat16
    head_scratch: Any  # bfloat16
    zeros: Any  # float32


def make_buffers(L: int, R: int, T: int, C: int, H: int, V: int) -> Buffers:
    """Room for one thread's R rows."""

    def low(*shape: int) -> Any:
        return np.empty(shape, np.uint16)

    def full(*shape: int) -> Any:
        return np.empty(shape, np.float32)

    return Buffers(
        full(2 * L + 1, R, C), low(2 * L + 1, R, C), full(2 * L + 1, R), full(2 * L + 1, R), low(L, R, 3 * C),
        low(L, R, C), full(L, R, H), low(L, R, 4 * C), low(L, R, 4 * C), full(R, C), low(R, C), full(R, C),
        low(R, 3 * C), low(R, 4 * C), low(head_rows(V, R) * V), low(R * 4 * C), full(3, BLOCK, T),
        low(max(scratch_numbers(max(4 * C, R)), att.scratch_numbers(T, C // H))),
        low(scratch_numbers(1024)), np.zeros(max(4 * C, V, 1024), np.float32),
    )  # fmt: skip


@njit(**OPTIONS)
def pack_weights(weights: Any, offset: int, n: int, k: int, low: Any, forward: Any, backward: Any) -> None:
    """Pack one (N, K) matrix of the flat weights both ways, at the same offset."""
    end = offset + n * k
    flat = low[: n * k]
    narrow_rows(weights[offset:end], flat)
    matrix = flat.reshape(n, k)
    pack_right_turned(matrix, forward[offset:end])
    pack_right(matrix, backward[offset:end])


@njit(**OPTIONS)
def run_forward(
    tokens: Any, T: int, H: int, weights: Any, offsets: Any, packs: Any, wte: Any, wpe: Any, b: Any
) -> None:
    """Tokens (R,) to the final layer norm's result, keeping what the backward pass needs."""
    L, R, C = b.qkv.shape[0], b.x.shape[1], b.x.shape[2]
    n_c = C // BLOCK
    for r in range(R):
        row, one, other = b.x[0, r], wte[tokens[r]], wpe[r % T]
        for i in range(C):
            row[i] = one[i] + other[i]
    for layer in range(L):
        o, n = offsets[layer], 2 * layer
        layer_norm(
            b.x[n], weights[o[LN_1] : o[LN_1] + C], weights[o[LN_1_BIAS] : o[LN_1_BIAS] + C],
            b.normal[n], b.mean[n], b.scale[n],
        )  # fmt: skip
        product(
            LOW, b.normal[n], False, packs[o[QKV] :], n_c, 0, 3 * C, b.scratch, b.qkv[layer], b.normal[n],
            b.dx, b.dx, weights[o[QKV_BIAS] : o[QKV_BIAS] + 3 * C],
        )  # fmt: skip
        att.attention(b.qkv[layer], b.attended[layer], b.log_sums[layer], T, H, b.strips, b.scratch, b.zeros)
        product(
            RESIDUAL, b.attended[layer], False, packs[o[PROJ] :], n_c, 0, C, b.scratch, b.dx_low, b.dx_low,
            b.x[n + 1], b.x[n], weights[o[PROJ_BIAS] : o[PROJ_BIAS] + C],
        )  # fmt: skip
        layer_norm(
            b.x[n + 1], weights[o[LN_2] : o[LN_2] + C], weights[o[LN_2_BIAS] : o[LN_2_BIAS] + C],
            b.normal[n + 1], b.mean[n + 1], b.scale[n + 1],
        )  # fmt: skip
        product(
            GELU, b.normal[n + 1], False, packs[o[FC] :], n_c, 0, 4 * C, b.scratch, b.wide[layer], b.active[layer],
            b.dx, b.dx, weights[o[FC_BIAS] : o[FC_BIAS] + 4 * C],
        )  # fmt: skip
        product(
            RESIDUAL, b.active[layer], False, packs[o[OUT] :], 4 * n_c, 0, C, b.scratch, b.dx_low, b.dx_low,
            b.x[n + 2], b.x[n + 1], weights[o[OUT_BIAS] : o[OUT_BIAS] + C],
        )  # fmt: skip
    o = offsets[L]
    layer_norm(
        b.x[2 * L],
        weights[o[0] : o[0] + C],
        weights[o[1] : o[1] + C],
        b.normal[2 * L],
        b.mean[2 * L],
        b.scale[2 * L],
    )


@njit(**OPTIONS)
def add_weight_gradient(
    left: Any, right: Any, gradients: Any, place: int, bias: int, packed: Any, b: Any
) -> None:
    """Add leftᵀ · right to the matrix at `place` and left's column sums to the bias: R rows, (R, N) and (R, K)."""
    n, k, rows = left.shape[1], right.shape[1], left.shape[0]
    pack_right(right, packed)
    matrix = gradients[place : place + n * k].reshape(n, k)
    product(ADD, left, True, packed, rows // BLOCK, 0, k, b.scratch, left, left, matrix, matrix, b.zeros)
    add_column_sums(left, gradients[bias : bias + n])


@njit(**OPTIONS)
def run_backward(T: int, H: int, weights: Any, offsets: Any, packs: Any, gradients: Any, b: Any) -> None:
    """From the gradient by the final layer norm's result, in `d_normal`, to those of every tensor in the blocks."""
    L, C = b.qkv.shape[0], b.x.shape[2]
    n_c = C // BLOCK
    b.dx[:] = 0
    norm_backward(2 * L, offsets[L][0], offsets[L][1], weights, gradients, b)
    for back in range(L):
        layer = L - 1 - back
        o, n = offsets[layer], 2 * layer
        product(
            SLOPE, b.dx_low, False, packs[o[OUT] :], n_c, 0, 4 * C, b.scratch, b.d_wide, b.wide[layer],
            b.dx, b.dx, b.zeros,
        )  # fmt: skip
        add_weight_gradient(b.dx_low, b.active[layer], gradients, o[OUT], o[OUT_BIAS], b.packed, b)
        add_weight_gradient(b.d_wide, b.normal[n + 1], gradients, o[FC], o[FC_BIAS], b.packed, b)
        product(
            SET, b.d_wide, False, packs[o[FC] :], 4 * n_c, 0, C, b.scratch, b.dx_low, b.dx_low,
            b.d_normal, b.dx, b.zeros,
        )  # fmt: skip
        norm_backward(n + 1, o[LN_2], o[LN_2_BIAS], weights, gradients, b)
        d_attended = b.d_wide.reshape(-1)[: b.dx_low.size].reshape(b.dx_low.shape)
        product(
            LOW, b.dx_low, False, packs[o[PROJ] :], n_c, 0, C, b.scratch, d_attended, b.dx_low,
            b.dx, b.dx, b.zeros,
        )  # fmt: skip
        add_weight_gradient(b.dx_low, b.attended[layer], gradients, o[PROJ], o[PROJ_BIAS], b.packed, b)
        att.attention_backward(
            b.qkv[layer],
            b.attended[layer],
            d_attended,
            b.log_sums[layer],
            b.d_qkv,
            T,
            H,
            b.strips,
            b.scratch,
            b.zeros,
        )
        add_weight_gradient(b.d_qkv, b.normal[n], gradients, o[QKV], o[QKV_BIAS], b.packed, b)
        product(
            SET, b.d_qkv, False, packs[o[QKV] :], 3 * n_c, 0, C, b.scratch, b.dx_low, b.dx_low,
            b.d_normal, b.dx, b.zeros,
        )  # fmt: skip
        norm_backward(n, o[LN_1], o[LN_1_BIAS], weights, gradients, b)


@njit(**OPTIONS)
def norm_backward(n: int, gain: int, bias: int, weights: Any, gradients: Any, b: Any) -> None:
    """Through layer norm number `n`: from `d_normal` into `dx`, `dx_low` and the gradients of its gain and bias."""
    C = b.x.shape[2]
    layer_norm_backward(
        b.d_normal, b.x[n], weights[gain : gain + C], b.mean[n], b.scale[n], b.dx, b.dx_low,
        gradients[gain : gain + C], gradients[bias : bias + C],
    )  # fmt: skip


@njit(**OPTIONS)
def training_pass(
    tokens: Any, targets: Any, row_weights: Any, T: int, H: int, n_vocab: int, weights: Any, offsets: Any,
    forward: Any, backward: Any, gradients: Any, wte: Any, wpe: Any, b: Any, learn: bool,
) -> float:  # fmt: skip
    """The loss of this thread's rows; with `learn` their gradients are added to `gradients`, laid out alike."""
    configure_tiles()
    L, R, C = b.qkv.shape[0], b.x.shape[1], b.x.shape[2]
    run_forward(tokens, T, H, weights, offsets, forward, wte, wpe, b)
    wte_at, wpe_at = offsets[L][2], offsets[L][3]
    V = (n_vocab + BLOCK - 1) // BLOCK * BLOCK
    d_wte = gradients[wte_at : wte_at + V * C].reshape(V, C)
    d_wpe = gradients[wpe_at : wpe_at + wpe.size].reshape(wpe.shape)
    b.d_normal[:] = 0
    loss = head_loss(
        b.normal[2 * L], targets, row_weights, n_vocab, forward[wte_at:], backward[wte_at:], b.logits, b.packed,
        b.head_scratch, b.d_normal, d_wte, b.zeros, learn,
    )  # fmt: skip
    if learn:
        run_backward(T, H, weights, offsets, backward, gradients, b)
        for r in range(R):
            row, one, other = b.dx[r], d_wte[tokens[r]], d_wpe[r % T]
            for i in range(C):
                one[i] += row[i]
                other[i] += row[i]
    release_tiles()
    return loss


@njit(**OPTIONS)
def pack_head(weights: Any, offset: int, n_vocab: int, C: int, low: Any, forward: Any, backward: Any) -> None:
    """Pack the embedding as the head's matrix, its last rows up to a multiple of 32 zero; backward by stretches."""
    V = (n_vocab + BLOCK - 1) // BLOCK * BLOCK
    for start in range(0, V, STRETCH):
        width = min(STRETCH, V - start)
        real = min(width, n_vocab - start)
        flat = low[: width * C]
        flat[real * C :] = 0
        narrow_rows(weights[offset + start * C : offset + (start + real) * C], flat[: real * C])
        place = offset + start * C
        pack_right_turned(flat.reshape(width, C), forward[place : place + width * C])
        pack_right(flat.reshape(width, C), backward[place : place + width * C])
