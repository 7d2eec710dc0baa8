"""Several continuations of one context in a single pass, none seeing another.

A cache that holds contexts is read as a tree: the tokens of all continuations of a row are laid side by side behind its
context, each at the position it would have alone, each seeing the context and its own branch only. Nothing is copied,
and no branch is padded to the length of another, so ten candidates cost little more than their own tokens.

Shapes: B rows, T laid-out tokens per row (right-padded), S slots of the cache. Slots are not positions: branches share
positions but never slots. What is written lies behind each row's length and counts as never read.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fourhorn.model.cache import KVCache


class Branches(KVCache):
    """The buffers of `trunk`, with `branches[b]` laid out behind row b."""

    def __init__(self, trunk: KVCache, branches: Sequence[Sequence[Sequence[int]]]) -> None:
        self.n_ctx, self.k, self.v = trunk.n_ctx, trunk.k, trunk.v
        self.lengths = trunk.lengths.clone()
        device = self.lengths.device
        offsets = [[i for branch in row for i in range(len(branch))] for row in branches]
        owners = [[n for n, branch in enumerate(row) for _ in branch] for row in branches]
        self.width = max(map(len, offsets))
        self._offsets = torch.tensor([row + [0] * (self.width - len(row)) for row in offsets], device=device)
        owner = torch.tensor([row + [-1] * (self.width - len(row)) for row in owners], device=device)
        earlier = torch.ones(self.width, self.width, dtype=torch.bool, device=device).tril()
        self._visible = (owner[:, :, None] == owner[:, None, :]) & earlier  # (B, T, T)
        self._start = None

    def begin(self, n_new: int) -> Tensor:
        """Lay the branches behind the contexts; the position of each token, (B, T)."""
        lengths = self.lengths[:, None]
        slots = lengths + torch.arange(n_new, device=lengths.device)  # (B, T)
        self._span = int(slots.max()) + 1
        if self._span > self.n_ctx:
            raise ValueError(f"{self._span} slots for contexts and branches exceed the cache's {self.n_ctx}")
        self._positions = slots  # where `append` stores
        keys = torch.arange(self._span, device=lengths.device)
        mask = (keys < lengths[:, :, None]).expand(-1, n_new, -1).clone()  # (B, T, S): the context
        mask.scatter_(2, slots[:, None, :].expand(-1, n_new, -1), self._visible)  # its own branch
        # What is added to the scores, made once: of a mask of booleans every layer would make it anew.
        self._mask = torch.zeros_like(mask, dtype=self.k.dtype).masked_fill_(~mask, -math.inf)[:, None]
        return lengths + self._offsets


def layout(pending: Sequence[Sequence[int]], sizes: Sequence[int], room: int) -> list[list[int]]:
    """For each row of a cache as many of its pending branches as fit into `room` slots; at least one of each."""
    chosen = []
    for row in pending:
        taken: list[int] = []
        total = 0
        for branch in row:
            if taken and total + sizes[branch] > room:
                break
            taken.append(branch)
            total += sizes[branch]
        chosen.append(taken)
    return chosen
