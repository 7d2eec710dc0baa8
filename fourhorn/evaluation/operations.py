"""What a scoring pass is made of: products with what follows them, layer norms, attention, the sums of a softmax.

`Operations` are PyTorch's own, for every device and number format, and the slow clear twins of the others. On a CPU
`FusedOperations` lay the weights out once for oneDNN and add bias, GELU and residual inside the product; attention,
layer norms and sums are this package's kernels where the processor has them (`team.available`). oneDNN compiles a
bfloat16 product anew for every number of rows, which takes longer than the product itself, so rows are padded to few
such numbers.

Shapes: R rows, C width, V vocabulary, B batch, T tokens, H heads, D head size. Raises nothing.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fourhorn.evaluation import attention, rows, team
from fourhorn.model.transformer import GPT2
from fourhorn.runtime import changing_shapes

ROW_STEP = 64  # of bfloat16 rows on a CPU
LOW_ROWS_AT_ONCE = 256  # bfloat16 rows whose widest states, (R, 4C), stay in the second-level cache at 124M
PACKED_BYTES = 2 << 30  # larger weights stay as they are: laid out anew they would double the memory
N_SUM_ROWS = 16  # rows of logits that PyTorch sums at a time on a CPU, which stay in the cache


class Norm(NamedTuple):
    """A layer norm's gain and bias, (C,) each, in the model's number format and in float32."""

    module: nn.LayerNorm
    gain: Tensor
    bias: Tensor

    @classmethod
    def of(cls, module: nn.LayerNorm) -> "Norm":
        """The gain and bias of a module."""
        return cls(module, module.weight.detach().float(), module.bias.detach().float())


class Operations:
    """The steps of a pass in PyTorch's own operations."""

    row_step = 1  # rows are padded to a multiple of this
    rows_at_once = 1 << 30  # rows that go through a block's last three products together

    def weight(self, weight: Tensor) -> Tensor:
        """The weight as this class wants it."""
        return weight

    def even(self, x: Tensor) -> Tensor:
        """Vectors (…, C) as rows (R, C), with rows of zeros up to a multiple of `row_step`."""
        found = x.reshape(-1, x.shape[-1])
        n_added = -len(found) % self.row_step
        return F.pad(found, (0, 0, 0, n_added)) if n_added else found

    def plain(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x · Wᵀ + b"""
        return F.linear(x, weight, bias)

    def gelu(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """GELU(x · Wᵀ + b), tanh approximation."""
        return F.gelu(F.linear(x, weight, bias), approximate="tanh")

    def added(self, x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
        """residual + x · Wᵀ + b"""
        return residual + F.linear(x, weight, bias)

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        """Layer normalization of vectors (…, C)."""
        normal: Tensor = norm.module(x)
        return normal

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        """Attention of queries (B, H, W, D): (B, W, C)."""
        with changing_shapes(q.device):
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        B, H, W, D = y.shape
        return y.transpose(1, 2).reshape(B, W, H * D)

    def sums(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Each row's largest logit and Σ exp(logit − largest): (N, V) → two of (N,), float32."""
        highest, total = torch.empty(2, len(logits), device=logits.device)
        n_rows = N_SUM_ROWS if logits.device.type == "cpu" else len(logits)
        for start in range(0, len(logits), max(n_rows, 1)):
            place = slice(start, start + n_rows)
            part = logits[place].float()
            highest[place] = part.amax(1)
            total[place] = part.sub(highest[place, None]).exp_().sum(1)
        return highest, total


class FusedOperations(Operations):
    """Products by the operators that torch's own compiler uses for CPUs, and this package's kernels."""

    def __init__(
        self, packed: bool, row_step: int = 1, rows_at_once: int = 1 << 30, kernels: bool = False
    ) -> None:
        self.packed, self.row_step, self.rows_at_once, self.kernels = packed, row_step, rows_at_once, kernels
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

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        if self.kernels and rows.can_norm(x):
            return rows.layer_norm(x, norm.gain, norm.bias)
        return super().norm(x, norm)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        if self.kernels and mask is None and causal and attention.can_attend(q, k):
            return attention.attend(q, k, v)
        return super().attend(q, k, v, mask, causal)

    def sums(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        return rows.softmax_sums(logits) if self.kernels else super().sums(logits)


def operations(model: GPT2) -> Operations:
    """The fastest operations for this model's device and number format."""
    weight = model.wte.weight
    fused = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if fused and weight.dtype == torch.bfloat16:
        fused = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if not (fused and weight.dtype in (torch.float32, torch.bfloat16)):
        return Operations()
    n_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    packed, kernels = n_bytes <= PACKED_BYTES, team.available()
    if weight.dtype == torch.bfloat16:
        return FusedOperations(packed, ROW_STEP, LOW_ROWS_AT_ONCE, kernels)
    return FusedOperations(packed, kernels=kernels)
