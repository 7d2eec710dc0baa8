"""The forward pass that scoring runs: `GPT2.hidden`, computed only where a state is wanted.

§3 asks for the probabilities of a few tokens after many. The last block's keys and values are needed of every token,
but its queries, its MLP and the final normalization only of the positions whose next token is scored. What each step
is computed with is the business of `operations`. `GPT2.hidden` is the slow clear twin.

Shapes: B batch, T tokens, R = B · T rows and those added, C = n_embd, H heads, D head size, S cached length, N wanted
positions. The weights are taken when a `Forward` is made. Raises nothing.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from fourhorn.evaluation.operations import Norm, Operations, operations
from fourhorn.model.cache import KVCache
from fourhorn.model.transformer import GPT2, Block


class _Weights:
    """One block's weights; the last block's c_attn is cut in two: queries, and keys with values."""

    def __init__(self, block: Block, kind: Operations, is_last: bool) -> None:
        attn, mlp, C = block.attn, block.mlp, block.attn.c_proj.weight.shape[0]
        w, b = attn.c_attn.weight.detach(), attn.c_attn.bias.detach()
        starts = [0, C, 3 * C] if is_last else [0, 3 * C]
        self.attn = [(kind.weight(w[i:j].contiguous()), b[i:j]) for i, j in pairwise(starts)]
        self.ln_1, self.ln_2 = Norm.of(block.ln_1), Norm.of(block.ln_2)
        self.out, self.out_bias = kind.weight(attn.c_proj.weight.detach()), attn.c_proj.bias.detach()
        self.up, self.up_bias = kind.weight(mlp.c_fc.weight.detach()), mlp.c_fc.bias.detach()
        self.down, self.down_bias = kind.weight(mlp.c_proj.weight.detach()), mlp.c_proj.bias.detach()


class Forward:
    """A model's forward pass for scoring."""

    def __init__(self, model: GPT2, kind: Operations | None = None) -> None:
        self.model = model
        self.operations = kind or operations(model)
        self.blocks = [block for block in model.h if isinstance(block, Block)]
        self.weights = [_Weights(block, self.operations, block is self.blocks[-1]) for block in self.blocks]
        self.wte = self.operations.weight(model.wte.weight.detach())
        self.ln_f = Norm.of(model.ln_f)

    def logits(self, states: Tensor) -> Tensor:
        """Logits over the vocabulary: (N, C) → (N, V)."""
        return self.operations.plain(self.operations.even(states), self.wte, None)[: len(states)]

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
        x = self.operations.even(self.model.wte(tokens) + self.model.wpe(positions))  # (R, C)
        for layer, weights in enumerate(self.weights[:-1]):
            qkv = self._product(self.operations.norm(x, weights.ln_1), layer, 0)
            q, k, v = self._heads(qkv[: B * T].view(B, T, -1), 3)
            k, v, mask = keys.extended(layer, k, v)
            x = self._finish(self.operations.attend(q, k, v, mask, keys.fresh), x, layer)
        places = [
            torch.tensor(list(part), dtype=torch.int64, device=tokens.device) for part in (rows, columns)
        ]
        x = self._last(x[: B * T].view(B, T, -1), places[0], places[1], keys)
        if cache is not None:
            cache.lengths += T
        return self.operations.norm(x, self.ln_f)

    def _product(self, x: Tensor, layer: int, part: int) -> Tensor:
        y = self.operations.plain(self.operations.even(x), *self.weights[layer].attn[part])
        return y[: x.shape[:-1].numel()].view(*x.shape[:-1], -1)

    def _heads(self, x: Tensor, n: int) -> tuple[Tensor, ...]:
        """n tensors (B, H, T, D) side by side in (B, T, n · C)."""
        B, T, _ = x.shape
        parts = x.view(B, T, n, self.blocks[0].attn.n_head, -1).unbind(2)
        return tuple(part.transpose(1, 2) for part in parts)

    def _finish(self, attended: Tensor, x: Tensor, layer: int) -> Tensor:
        """The rest of a block after attention, for whatever positions are given: as rows (R, C)."""
        w, p, parts = self.weights[layer], self.operations, []
        attended, x = p.even(attended), p.even(x)
        for some, before in zip(*(torch.split(rows, p.rows_at_once) for rows in (attended, x)), strict=True):
            between = p.added(some, w.out, w.out_bias, before)
            wide = p.gelu(p.norm(between, w.ln_2), w.up, w.up_bias)
            parts.append(p.added(wide, w.down, w.down_bias, between))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _last(self, x: Tensor, rows: Tensor, columns: Tensor, keys: "_Keys") -> Tensor:
        """The last block at the wanted positions: (B, T, C) → (N, C)."""
        layer = len(self.blocks) - 1
        B, T, C = x.shape
        normed = self.operations.norm(x, self.weights[layer].ln_1)
        k, v = self._heads(self._product(normed, layer, 1), 2)
        k, v, mask = keys.extended(layer, k, v)
        if not len(rows):
            return x.new_empty(0, C)
        counts = torch.bincount(rows, minlength=B)
        width = int(counts.max())
        if 2 * width > T or bool((rows[1:] < rows[:-1]).any()):  # nearly all of them: no gathering
            (q,) = self._heads(self._product(normed, layer, 0), 1)
            attended = self.operations.attend(q, k, v, mask, keys.fresh)[rows, columns]
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
        attended = self.operations.attend(q, k, v, seen[:, None], False)[rows, slots]
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
