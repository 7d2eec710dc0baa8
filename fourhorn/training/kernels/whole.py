"""One thread's share of a training step: forward, loss and backward of its sequences, kernel by kernel.

§2.3. Threads split the sequences of a micro-batch and never wait for one another inside a pass: each has its own
activations and its own gradients, which are summed in a fixed order afterwards. A pass is a list of calls, and each
kernel lets the other threads' Python run. Weights come packed as right operands of the forward products and are turned
for the backward ones as they are needed; only the head's come packed both ways.

Shapes: R rows = sequences × T tokens, C width, L layers, H heads, V vocabulary rounded up to 32.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from typing import Any, NamedTuple

from numba import njit

from fourhorn.training.kernels import functions as fn
from fourhorn.training.kernels import rows
from fourhorn.training.kernels.amx import BLOCK, OPTIONS, address, configure_tiles, release_tiles
from fourhorn.training.kernels.attention import attention, attention_backward
from fourhorn.training.kernels.buffers import Buffers
from fourhorn.training.kernels.finish import ADD, GELU, LOW, RESIDUAL, SET, SLOPE
from fourhorn.training.kernels.head import STRETCH, head_loss
from fourhorn.training.kernels.pack import pack_right, pack_right_turned, turn_packed
from fourhorn.training.kernels.product import product

# Places of a layer's twelve tensors in its row of offsets: name order of the model.
LN_1, LN_1_BIAS, QKV, QKV_BIAS, PROJ, PROJ_BIAS, LN_2, LN_2_BIAS, FC, FC_BIAS, OUT, OUT_BIAS = range(12)


class Network(NamedTuple):
    """A model as the kernels see it: its shape, where each tensor begins in a flat vector, the vectors' addresses."""

    n_layer: int
    n_head: int
    n_embd: int
    n_vocab: int
    layers: list[list[int]]  # (L, 12), in numbers
    final: list[int]  # the last layer norm's gain and bias, the two embeddings
    weights: int  # float32
    packs: int  # bfloat16, packed for the forward products
    head: int  # bfloat16, the embedding packed for the backward product


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


class ThreadPass:
    """Passes over R rows, whole sequences of T tokens, with one thread; gradients go to a flat vector."""

    def __init__(self, network: Network, R: int, T: int, gradients: Any) -> None:
        self.net, self.R, self.T = network, R, T
        self.C, self.H, self.L = network.n_embd, network.n_head, network.n_layer
        self.gradients: int = gradients.ctypes.data
        V = (network.n_vocab + BLOCK - 1) // BLOCK * BLOCK
        self.b = Buffers(self.L, R, T, self.C, self.H, V)
        self.weight_mode = ADD

    def run(self, tokens: Any, targets: Any, row_weights: Any, *, learn: bool, fresh: bool = False) -> float:
        """The loss of rows, all (R,); with `learn` their gradients are added; `fresh`: those of matrices are set."""
        net, b = self.net, self.b
        ln_f, ln_f_bias, wte, wpe = net.final
        configure_tiles()
        fn.embed(tokens, self.T, net.weights + 4 * wte, net.weights + 4 * wpe, b.x.at(), self.C)
        steps = [(first, min(first + b.rows_at_once, self.R)) for first in range(0, self.R, b.rows_at_once)]
        for layer in range(self.L):
            for first, last in steps:
                self.block_forward(layer, first, last)
        self.norm(2 * self.L, 0, self.R, ln_f, ln_f_bias)
        loss = head_loss(
            b, b.normal.at(2 * self.L), targets, row_weights, net.n_vocab, self.C, net.packs + 2 * wte, net.head,
            self.gradients + 4 * wte, learn=learn, fresh=fresh,
        )  # fmt: skip
        if learn:
            b.dx.array[:] = 0
            self.norm_backward(2 * self.L, 0, self.R, ln_f, ln_f_bias)
            for layer in reversed(range(self.L)):
                for first, last in steps:
                    self.weight_mode = SET if fresh and first == 0 else ADD
                    self.mlp_backward(layer, first, last)
                    self.attention_block_backward(layer, first, last)
            fn.embed_backward(
                tokens, self.T, b.dx.at(), self.gradients + 4 * wte, self.gradients + 4 * wpe, self.C
            )
        release_tiles()
        return loss

    # ------------------------------------------------------------------------------------------------- forward

    def block_forward(self, layer: int, first: int, last: int) -> None:
        """One layer's two sub-blocks over rows [first, last), whole sequences."""
        b, o, C, n, R = self.b, self.net.layers[layer], self.C, 2 * layer, last - first
        weights, packs, scratch = self.net.weights, self.net.packs, b.scratch.at()
        qkv, attended = b.qkv.at(layer, first), b.attended.at(layer, first)
        wide, active = b.wide.at(layer, first), b.active.at()
        self.norm(n, first, last, o[LN_1], o[LN_1_BIAS])
        product(
            LOW, b.normal.at(n, first), 2 * C, False, R, C, packs + 2 * o[QKV], 3 * C, scratch, qkv, 6 * C,
            0, 0, weights + 4 * o[QKV_BIAS],
        )  # fmt: skip
        attention(
            qkv, attended, b.log_sums.at(layer, first), R, C, self.T, self.H, b.strips.at(), scratch, b.mask.at()
        )  # fmt: skip
        product(
            RESIDUAL, attended, 2 * C, False, R, C, packs + 2 * o[PROJ], C, scratch, b.x.at(n + 1, first), 4 * C,
            b.x.at(n, first), 4 * C, weights + 4 * o[PROJ_BIAS],
        )  # fmt: skip
        self.norm(n + 1, first, last, o[LN_2], o[LN_2_BIAS])
        product(
            GELU, b.normal.at(n + 1, first), 2 * C, False, R, C, packs + 2 * o[FC], 4 * C, scratch,
            wide, b.wide.row_bytes, active, b.active.row_bytes, weights + 4 * o[FC_BIAS],
        )  # fmt: skip
        product(
            RESIDUAL, active, b.active.row_bytes, False, R, 4 * C, packs + 2 * o[OUT], C, scratch,
            b.x.at(n + 2, first), 4 * C, b.x.at(n + 1, first), 4 * C, weights + 4 * o[OUT_BIAS],
        )  # fmt: skip

    def norm(self, n: int, first: int, last: int, gain: int, bias: int) -> None:
        """Layer norm number `n` of rows [first, last)."""
        b, weights = self.b, self.net.weights
        fn.layer_norm(
            b.x.at(n, first), weights + 4 * gain, weights + 4 * bias, b.normal.at(n, first), b.mean.at(n, first),
            b.scale.at(n, first), last - first, self.C,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------ backward

    def norm_backward(self, n: int, first: int, last: int, gain: int, bias: int) -> None:
        """Through layer norm number `n`: from `d_normal` into `dx`, `dx_low` and the gradients of its gain and bias."""
        b = self.b
        fn.layer_norm_backward(
            b.d_normal.at(row=first), b.x.at(n, first), self.net.weights + 4 * gain, b.mean.at(n, first),
            b.scale.at(n, first), b.dx.at(row=first), b.dx_low.at(row=first), self.gradients + 4 * gain,
            self.gradients + 4 * bias, last - first, self.C,
        )  # fmt: skip

    def add_weight_gradient(
        self, left: int, n: int, right: int, k: int, R: int, matrix: int, bias: int, *, left_row: int = 0,
        right_row: int = 0,
    ) -> None:  # fmt: skip
        """Add leftᵀ · right, (R, N) and (R, K), to the matrix at a place, and left's column sums to the bias.

        Rows lie `left_row` and `right_row` bytes apart, 0 where they follow one another.
        """
        b, packed, left_row = self.b, self.b.packed.at(), left_row or 2 * n
        pack_right(right, right_row or 2 * k, R, k, packed)
        product(
            self.weight_mode, left, left_row, True, n, R, packed, k, b.scratch.at(), self.gradients + 4 * matrix, 4 * k,
            0, 0, 0,
        )  # fmt: skip
        fn.add_column_sums(left, left_row, R, n, self.gradients + 4 * bias)

    def turn(self, matrix: int, n: int, k: int) -> int:
        """The address of a packed matrix (N, K), given by its place, packed for products over N instead."""
        turned = self.b.turned.at()
        turn_packed(self.net.packs + 2 * matrix, n, k, turned, self.b.scratch.at())
        return turned

    def mlp_backward(self, layer: int, first: int, last: int) -> None:
        """One layer's second sub-block over rows [first, last)."""
        b, o, C, n, R = self.b, self.net.layers[layer], self.C, 2 * layer, last - first
        scratch, d_wide, wide_row = b.scratch.at(), b.d_wide.at(), b.wide.row_bytes
        wide, low = b.wide.at(layer, first), b.dx_low.at(row=first)
        product(
            SLOPE, low, 2 * C, False, R, C, self.turn(o[OUT], C, 4 * C), 4 * C, scratch, d_wide, wide_row, wide,
            wide_row, 0,
        )  # fmt: skip
        self.add_weight_gradient(low, C, wide, 4 * C, R, o[OUT], o[OUT_BIAS], right_row=wide_row)
        self.add_weight_gradient(
            d_wide, 4 * C, b.normal.at(n + 1, first), C, R, o[FC], o[FC_BIAS], left_row=wide_row
        )  # fmt: skip
        product(
            SET, d_wide, wide_row, False, R, 4 * C, self.turn(o[FC], 4 * C, C), C, scratch, b.d_normal.at(row=first),
            4 * C, 0, 0, 0,
        )  # fmt: skip
        self.norm_backward(n + 1, first, last, o[LN_2], o[LN_2_BIAS])

    def attention_block_backward(self, layer: int, first: int, last: int) -> None:
        """One layer's first sub-block over rows [first, last), whole sequences."""
        b, o, C, n, R = self.b, self.net.layers[layer], self.C, 2 * layer, last - first
        scratch, d_qkv, d_attended = b.scratch.at(), b.d_qkv.at(), b.d_wide.at()
        low, attended = b.dx_low.at(row=first), b.attended.at(layer, first)
        product(
            LOW, low, 2 * C, False, R, C, self.turn(o[PROJ], C, C), C, scratch, d_attended, 2 * C, 0, 0, b.zeros.at()
        )  # fmt: skip
        self.add_weight_gradient(low, C, attended, C, R, o[PROJ], o[PROJ_BIAS])
        attention_backward(
            b.qkv.at(layer, first), attended, d_attended, b.log_sums.at(layer, first), d_qkv, R, C, self.T, self.H,
            b.strips.at(), scratch, b.mask.at(), b.zeros.at(),
        )  # fmt: skip
        self.add_weight_gradient(d_qkv, 3 * C, b.normal.at(n, first), C, R, o[QKV], o[QKV_BIAS])
        product(
            SET, d_qkv, 6 * C, False, R, 3 * C, self.turn(o[QKV], 3 * C, C), C, scratch, b.d_normal.at(row=first),
            4 * C, 0, 0, 0,
        )  # fmt: skip
        self.norm_backward(n, first, last, o[LN_1], o[LN_1_BIAS])
