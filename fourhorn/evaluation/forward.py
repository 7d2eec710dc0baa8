"""The forward pass that scoring runs: `GPT2.hidden`, computed only where a state is wanted, with products fused on CPU.

§3 asks for the probabilities of a few tokens after many. The last block's keys and values are needed of every token,
but its queries, its MLP and the final normalization only of the positions whose next token is scored. On a CPU the
weights are laid out once for oneDNN, and bias, GELU and residual are added inside the product; elsewhere, and for
number formats that oneDNN does not multiply, the products are PyTorch's plain ones. oneDNN compiles a bfloat16 product
anew for every number of rows, which takes longer than the product itself, so rows are padded to few such numbers.
`GPT2.hidden` is the slow clear twin of both.

Shapes: B batch, T tokens, R = B · T rows and those added, C = n_embd, H heads, D head size, S cached length, N wanted
positions. The weights are taken when a `Forward` is made. Raises nothing.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fourhorn.model.cache import KVCache
from fourhorn.model.transformer import GPT2, Block

ROW_STEP = 64  # of bfloat16 rows on a CPU
PACKED_BYTES = 2 << 30  # larger weights stay as they are: laid out anew they would double the memory


class Products:
    """x · Wᵀ + b and what follows it, in PyTorch's own operations."""

    row_step = 1  # rows are padded to a multiple of this

    def weight(self, weight: Tensor) -> Tensor:
        """The weight as this class wants it."""
        return weight

    def even(self, x: Tensor) -> Tensor:
        """Vectors (…, C) as rows (R, C), with rows of zeros up to a multiple of `row_step`."""
        rows = x.reshape(-1, x.shape[-1])
        n_added = -len(rows) % self.row_step
        return F.pad(rows, (0, 0, 0, n_added)) if n_added else rows

    def plain(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x · Wᵀ + b"""
        return F.linear(x, weight, bias)

    def gelu(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """GELU(x · Wᵀ + b), tanh approximation."""
        return F.gelu(F.linear(x, weight, bias), approximate="tanh")

    def added(self, x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
        """residual + x · Wᵀ + b"""
        return residual + F.linear(x, weight, bias)


class FusedProducts(Products):
    """The same inside oneDNN's products, by the operators that torch's own compiler uses for CPUs."""

    def __init__(self, packed: bool, row_step: int = 1) -> None:
        self.packed, self.row_step = packed, row_step
        self._linear: Any = torch.ops.mkldnn._linear_pointwise
        self._reorder: Any = torch.ops.mkldnn._reorder_linear_weight

    def weight(self, weight: Tensor) -> Tensor:
        laid_out: Tensor = self._reorder(weight) if self.packed else weight
        return laid_out

    def plain(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        product: Tensor = self._linear(x, weight, bias, "none", [], "")
        return product

    def gelu(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        product: Tensor = self._linear(x, weight, bias, "gelu", [], "tanh")
        return product

    def added(self, x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
        product: Tensor = self._linear.binary(x, residual, weight, bias, "add")
        return product


def products(model: GPT2) -> Products:
    """The fastest products for this model's device and number format."""
    weight = model.wte.weight
    fused = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if fused and weight.dtype == torch.bfloat16:
        fused = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if not (fused and weight.dtype in (torch.float32, torch.bfloat16)):
        return Products()
    n_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    return FusedProducts(n_bytes <= PACKED_BYTES, ROW_STEP if weight.dtype == torch.bfloat16 else 1)


class _Weights:
    """One block's weights; the last block's c_attn is cut in two: queries, and keys with values."""

    def __init__(self, block: Block, kind: Products, is_last: bool) -> None:
        attn, mlp, C = block.attn, block.mlp, block.attn.c_proj.weight.shape[0]
        w, b = attn.c_attn.weight.detach(), attn.c_attn.bias.detach()
        starts = [0, C, 3 * C] if is_last else [0, 3 * C]
        self.attn = [(kind.weight(w[i:j].contiguous()), b[i:j]) for i, j in pairwise(starts)]
        self.out, self.out_bias = kind.weight(attn.c_proj.weight.detach()), attn.c_proj.bias.detach()
        self.up, self.up_bias = kind.weight(mlp.c_fc.weight.detach()), mlp.c_fc.bias.detach()
        self.down, self.down_bias = kind.weight(mlp.c_proj.weight.detach()), mlp.c_proj.bias.detach()


class Forward:
    """A model's forward pass for scoring."""

    def __init__(self, model: GPT2, kind: Products | None = None) -> None:
        self.model = model
        self.products = kind or products(model)
        self.blocks = [block for block in model.h if isinstance(block, Block)]
        self.weights = [_Weights(block, self.products, block is self.blocks[-1]) for block in self.blocks]
        self.wte = self.products.weight(model.wte.weight.detach())

    def logits(self, states: Tensor) -> Tensor:
        """Logits over the vocabulary: (N, C) → (N, V)."""
        return self.products.plain(self.products.even(states), self.wte, None)[: len(states)]

    def states(
        self, tokens: Tensor, rows: Sequence[int], columns: Sequence[int], cache: KVCache | None = None
    ) -> Tensor:
        """Final normalized states at the positions (rows[i], columns[i]) of tokens (B, T): (N, C).

        With a cache the tokens follow what it holds, as in `GPT2.hidden`, and it grows by T.
        """
        B, T = tokens.shape
        if cache is None or int(cache.lengths.max()) == 0:
            keys = _Keys(cache, fresh=True)
            positions = torch.arange(T, device=tokens.device)
        else:
            keys = _Keys(cache, fresh=False)
            positions = cache.begin(T)
        x = self.products.even(self.model.wte(tokens) + self.model.wpe(positions))  # (R, C)
        for layer, block in enumerate(self.blocks[:-1]):
            qkv = self._product(block.ln_1(x), layer, 0)
            q, k, v = self._heads(qkv[: B * T].view(B, T, -1), 3)
            k, v, mask = keys.extended(layer, k, v)
            x = self._finish(_attend(q, k, v, mask, keys.fresh), x, layer)
        places = [
            torch.tensor(list(part), dtype=torch.int64, device=tokens.device) for part in (rows, columns)
        ]
        x = self._last(x[: B * T].view(B, T, -1), places[0], places[1], keys)
        if cache is not None:
            cache.lengths += T
        final: Tensor = self.model.ln_f(x)
        return final

    def _product(self, x: Tensor, layer: int, part: int) -> Tensor:
        y = self.products.plain(self.products.even(x), *self.weights[layer].attn[part])
        return y[: x.shape[:-1].numel()].view(*x.shape[:-1], -1)

    def _heads(self, x: Tensor, n: int) -> tuple[Tensor, ...]:
        """n tensors (B, H, T, D) side by side in (B, T, n · C)."""
        B, T, _ = x.shape
        parts = x.view(B, T, n, self.blocks[0].attn.n_head, -1).unbind(2)
        return tuple(part.transpose(1, 2) for part in parts)

    def _finish(self, attended: Tensor, x: Tensor, layer: int) -> Tensor:
        """The rest of a block after attention, for whatever positions are given: as rows (R, C)."""
        w, block, p = self.weights[layer], self.blocks[layer], self.products
        attended, x = p.even(attended), p.even(x)
        x = p.added(attended, w.out, w.out_bias, x)
        return p.added(p.gelu(block.ln_2(x), w.up, w.up_bias), w.down, w.down_bias, x)

    def _last(self, x: Tensor, rows: Tensor, columns: Tensor, keys: "_Keys") -> Tensor:
        """The last block at the wanted positions: (B, T, C) → (N, C)."""
        layer, block = len(self.blocks) - 1, self.blocks[-1]
        B, T, C = x.shape
        normed = block.ln_1(x)
        k, v = self._heads(self._product(normed, layer, 1), 2)
        k, v, mask = keys.extended(layer, k, v)
        if not len(rows):
            return x.new_empty(0, C)
        counts = torch.bincount(rows, minlength=B)
        width = int(counts.max())
        if 2 * width > T or bool((rows[1:] < rows[:-1]).any()):  # nearly all of them: no gathering
            (q,) = self._heads(self._product(normed, layer, 0), 1)
            attended = _attend(q, k, v, mask, keys.fresh)[rows, columns]
            return self._finish(attended, x[rows, columns], layer)[: len(rows)]
        slots = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        asked = torch.zeros(B, width, dtype=torch.int64, device=rows.device)  # (B, W), padded with 0
        asked[rows, slots] = columns
        every = torch.arange(B, device=rows.device)[:, None]  # (B, 1)
        if mask is None:
            seen = torch.arange(T, device=rows.device) <= asked[:, :, None]  # (B, W, T)
        else:
            seen = mask[every, 0, asked]  # (B, W, S)
        (q,) = self._heads(self._product(normed[every, asked], layer, 0), 1)
        attended = _attend(q, k, v, seen[:, None], False)[rows, slots]
        return self._finish(attended, x[rows, columns], layer)[: len(rows)]


class _Keys:
    """Where the keys and values of one pass go, and what attention sees of them."""

    def __init__(self, cache: KVCache | None, fresh: bool) -> None:
        self.cache, self.fresh = cache, fresh

    def extended(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """All keys and values (B, H, S, D) after these (B, H, T, D), and the mask; none when T = S or T = 1."""
        if self.cache is None:
            return k, v, None
        if not self.fresh:
            return self.cache.append(layer, k, v)
        self.cache.k[layer][:, :, : k.shape[2]] = k
        self.cache.v[layer][:, :, : k.shape[2]] = v
        return k, v, None


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """Attention of queries (B, H, W, D): (B, W, C)."""
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    B, H, W, D = y.shape
    return y.transpose(1, 2).reshape(B, W, H * D)
