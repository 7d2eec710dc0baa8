"""Cross-entropy of the next token, without ever holding all logits.

The logits of a batch, (B, T, V) in float32, would be its largest tensor by far: 824 MB at 4 × 1,024 tokens and GPT-2's
vocabulary. Here a block of rows at a time is multiplied, turned into its loss and its gradient, and dropped, so the
memory is that of one block (`BLOCK_BYTES`) whatever the vocabulary. The gradients are ready when the loss is.

On a card a block is larger, so that its products fill the card; the vocabulary is padded to a multiple of `EVEN`, with
logits of −∞, because matrix units read rows of 50,257 numbers at a fraction of their speed; and where torch.compile
works, everything between the two products is one pass over the logits as they are, in bfloat16.

In: hidden (N, C), the head's weight (V, C), targets (N,) int64, a weight per target or one for all. Out: the weighted
sum of −log p(target) in nats, float32, differentiable once.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fourhorn.model import counts

BLOCK_BYTES = {"cpu": counts.BLOCK_BYTES, "cuda": counts.CARD_BLOCK_BYTES, "mps": counts.BLOCK_BYTES}
EVEN = {"cpu": 1, "cuda": 128, "mps": 1}

# (logits (R, V), targets (R,), weights (R,)) → the block's loss and its gradient by the logits (R, V)
BlockLoss = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def block_rows(n_vocab: int, device: str = "cpu") -> int:
    """Rows whose float32 logits fill one block; at least 64, a multiple of 32, on a card a power of two."""
    rows = max(BLOCK_BYTES[device] // (4 * n_vocab) // 32 * 32, 64)
    return rows if device == "cpu" else 1 << (rows.bit_length() - 1)


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, dtype: torch.dtype,
        block_loss: BlockLoss,
    ) -> Tensor:  # fmt: skip
        need = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        n_vocab, kind = len(weight), hidden.device.type
        low_hidden, low_weight = hidden.to(dtype), F.pad(weight.to(dtype), (0, 0, 0, -n_vocab % EVEN[kind]))
        total = torch.zeros((), device=hidden.device, dtype=torch.float32)
        d_hidden = torch.empty_like(hidden) if need else None
        d_weight = torch.zeros_like(low_weight, dtype=torch.float32) if need else None
        rows = block_rows(n_vocab, kind)
        for start in range(0, hidden.shape[0], rows):
            part = slice(start, start + rows)
            logits = low_hidden[part] @ low_weight.t()
            logits[:, n_vocab:] = -torch.inf
            loss, gradient = block_loss(logits, targets[part], weights[part])
            total += loss
            if d_hidden is not None and d_weight is not None:
                gradient = gradient.to(dtype)
                d_hidden[part] = gradient @ low_weight
                d_weight += gradient.t() @ low_hidden[part]
        ctx.save_for_backward(d_hidden, None if d_weight is None else d_weight[:n_vocab])
        return total

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Any:  # type: ignore[override]
        d_hidden, d_weight = ctx.saved_tensors
        if outer.device.type != "cpu" or outer.item() != 1.0:
            d_hidden, d_weight = d_hidden * outer, d_weight * outer
        return d_hidden, d_weight, None, None, None, None


def loss_and_gradient(logits: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted loss of a block and its gradient by the logits, softmax − one-hot, float32 (rows, V)."""
    logits = logits.float()
    log_sum = torch.logsumexp(logits, 1, keepdim=True)  # (rows, 1)
    picked = logits.gather(1, targets[:, None])  # (rows, 1)
    loss = ((log_sum - picked)[:, 0] * weights).sum()
    gradient = logits.sub_(log_sum).exp_().mul_(weights[:, None])
    gradient.scatter_add_(1, targets[:, None], -weights[:, None])
    return loss, gradient


def fusible_loss_and_gradient(logits: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """`loss_and_gradient` for torch.compile: nothing in place, and a gradient in the logits' number format.

    The sum of exponentials is written out as the compiler knows it, which then finds it in one pass over the logits.
    """
    wide = logits.float()
    highest = wide.amax(1, keepdim=True)  # (rows, 1)
    log_sum = (wide - highest).exp().sum(1, keepdim=True).log() + highest  # (rows, 1)
    picked = logits.gather(1, targets[:, None]).float()  # (rows, 1)
    loss = ((log_sum - picked)[:, 0] * weights).sum()
    is_target = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]
    gradient = ((wide - log_sum).exp() - is_target.float()) * weights[:, None]
    return loss, gradient.to(logits.dtype)


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    weights: Tensor | float,
    dtype: torch.dtype = torch.float32,
    block_loss: BlockLoss = loss_and_gradient,
) -> Tensor:
    """Σ weights · −log p(target): hidden (…, C), targets (…); products in `dtype`, sums in float32."""
    hidden, targets = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    if not isinstance(weights, Tensor):
        weights = torch.full(targets.shape, weights, device=hidden.device, dtype=torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        return _ChunkedCrossEntropy.apply(  # type: ignore[no-any-return, no-untyped-call]
            hidden, weight, targets, weights.reshape(-1), dtype, block_loss
        )


def plain_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor | float) -> Tensor:
    """The clear twin of `chunked_cross_entropy`: all logits at once."""
    losses = F.cross_entropy(
        F.linear(hidden, weight).flatten(0, -2).float(), targets.flatten(), reduction="none"
    )
    return (losses * (weights.flatten() if isinstance(weights, Tensor) else weights)).sum()
