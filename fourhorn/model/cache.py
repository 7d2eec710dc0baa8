"""The keys and values of tokens already read, in fixed buffers.

A forward pass over T new tokens writes them at positions lengths[b] … lengths[b]+T-1 of each row b and attends to
everything at or before each position. Rows may have different lengths: after a pass over right-padded prompts set
`lengths` to the true ones; what the padding wrote is masked, and overwritten by the next tokens.

Shapes: k, v (n_layer, B, H, S, D); lengths (B,) int64. Raises `ValueError` when a row would outgrow S.
"""

import torch
from torch import Tensor

from fourhorn.model.config import GPT2Config


class KVCache:
    """Static key/value buffers for `batch_size` rows of up to `n_ctx` tokens."""

    def __init__(
        self,
        config: GPT2Config,
        batch_size: int,
        n_ctx: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.n_ctx = min(n_ctx or config.n_ctx, config.n_ctx)
        shape = (config.n_layer, batch_size, config.n_head, self.n_ctx, config.head_size)
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = torch.zeros(batch_size, dtype=torch.int64, device=device)
        self._positions = torch.empty(0)
        self._mask: Tensor | None = None
        self._span = 0
        self._start: int | None = None

    def begin(self, n_new: int) -> Tensor:
        """Prepare a pass over `n_new` tokens; the position of each, (B, T)."""
        longest, shortest = int(self.lengths.max()), int(self.lengths.min())
        if longest + n_new > self.n_ctx:
            raise ValueError(f"{longest} cached + {n_new} new tokens exceed the cache's {self.n_ctx}")
        self._span = longest + n_new
        self._start = longest if longest == shortest else None
        new = torch.arange(n_new, device=self.lengths.device)
        self._positions = self.lengths[:, None] + new  # (B, T)
        if self._start is not None and n_new == 1:
            self._mask = None  # one new token in rows of equal length sees all of them
        else:
            keys = torch.arange(self._span, device=self.lengths.device)
            self._mask = (keys <= self._positions[:, :, None])[:, None]  # (B, 1, T, S)
        return self._positions

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Store one layer's new keys and values (B, H, T, D); all so far (B, H, S, D), and the mask."""
        keys, values = self.k[layer], self.v[layer]
        if self._start is not None:
            keys[:, :, self._start : self._span] = k
            values[:, :, self._start : self._span] = v
        else:
            rows = torch.arange(k.shape[0], device=k.device)[:, None]  # (B, 1)
            keys[rows, :, self._positions] = k.transpose(1, 2).to(keys.dtype)
            values[rows, :, self._positions] = v.transpose(1, 2).to(values.dtype)
        return keys[:, :, : self._span], values[:, :, : self._span], self._mask

    def select(self, rows: Tensor) -> "KVCache":
        """A new cache whose rows are copies of these: repeat a row to share a prefix, drop one to free it."""
        other = object.__new__(KVCache)
        other.n_ctx = self.n_ctx
        other.k, other.v = self.k[:, rows].clone(), self.v[:, rows].clone()
        other.lengths = self.lengths[rows].clone()
        other._positions, other._mask, other._span, other._start = torch.empty(0), None, 0, None
        return other
