"""Weights in fewer bits: bfloat16, or 8 or 4 bits with a scale and an offset for each 256 or 64 of them.

A group of neighbouring inputs of one output shares a bfloat16 scale s and offset m: w ≈ s · code + m, with codes in
0 … 255 or 0 … 15. Eight bits are symmetric (m = -128 s), 256 in a group; four bits are 64 in a group and use its whole
range, and the range that gives the least squared error is searched. The last group may be shorter. `docs/sampling.md`
gives what each costs in bits per byte.

In: a weight (outputs N, inputs K), K a multiple of 64. Out: `Packed`, in the order in which the kernels read it: blocks
of 16 outputs, each 64-byte row holding 4 inputs (or 2 in bfloat16) of all 16. N is padded to a multiple of 64.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fourhorn.errors import unknown
from fourhorn.model.transformer import GPT2

Precision = Literal["float32", "bfloat16", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8", "int4")
DEPTH = 64  # inputs that a tile takes: rows are padded to a multiple
PANEL = 64  # outputs that are computed together: their number is padded to a multiple
BYTE_GROUP, NIBBLE_GROUP = 256, 64  # neighbouring inputs that share a scale: multiples of DEPTH
HALVES, BYTES, NIBBLES = 0, 1, 2  # kinds of packed weights, as the kernels number them
KINDS = {"bfloat16": HALVES, "int8": BYTES, "int4": NIBBLES}


@dataclass(frozen=True)
class Packed:
    """One weight as the kernels read it."""

    kind: int
    n_outputs: int
    n_inputs: int
    codes: np.ndarray[Any, Any]  # bytes
    scales: np.ndarray[
        Any, Any
    ]  # bfloat16 bits, (N/16, groups, 1 or 2, 16): scales, and offsets of 4-bit codes

    @property
    def n_bytes(self) -> int:
        """Memory it takes."""
        return self.codes.nbytes + self.scales.nbytes


def padded(array: Tensor, *, rows: int = 0, columns: int = 0) -> Tensor:
    """The array with zeros appended to its last dimension and to its first: itself where there are none."""
    if not rows and not columns:
        return array
    between = (0, 0) * (array.ndim - 2)
    return torch.nn.functional.pad(array, (0, columns, *between, 0, rows))


def check_precision(precision: str) -> None:
    """Refuse a word that is no precision."""
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)


def group_of(bits: int) -> int:
    """How many neighbouring inputs share a scale."""
    return BYTE_GROUP if bits == 8 else NIBBLE_GROUP


def quantize(weight: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (N, K/G, G) as uint8, scales and offsets (N, K/G) as bfloat16; the last group is padded with zeros."""
    weight = padded(weight, columns=-weight.shape[1] % group_of(bits))
    parts = [
        _quantize(part, bits) for part in torch.split(weight, 256)
    ]  # small enough to stay in a core's cache
    codes, scales, offsets = (torch.cat(column) for column in zip(*parts, strict=True))
    return codes, scales, offsets


def _quantize(weight: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    groups = weight.detach().float().view(weight.shape[0], -1, group_of(bits))
    if bits == 8:
        scale = (groups.abs().amax(-1) / 127).bfloat16()
        offset = scale * -128  # exact: a power of two
        return encode(groups, scale, offset, 255), scale, offset
    low, high = groups.amin(-1), groups.amax(-1)
    best_scale, best_offset = torch.zeros_like(low).bfloat16(), torch.zeros_like(low).bfloat16()
    least = torch.full_like(low, torch.inf)
    for shrink in (1.0, 0.95, 0.9, 0.85, 0.8, 0.75):
        middle, half = (low + high) / 2, (high - low) / 2 * shrink
        scale, offset = (2 * half / 15).bfloat16(), (middle - half).bfloat16()
        error = (decode(encode(groups, scale, offset, 15), scale, offset) - groups).square().sum(-1)
        better = error < least
        least = torch.where(better, error, least)
        best_scale = torch.where(better, scale, best_scale)
        best_offset = torch.where(better, offset, best_offset)
    return encode(groups, best_scale, best_offset, 15), best_scale, best_offset


def encode(groups: Tensor, scale: Tensor, offset: Tensor, largest: int) -> Tensor:
    """The nearest codes."""
    scale, offset = scale.float()[..., None], offset.float()[..., None]
    codes = (groups - offset) / torch.where(scale == 0, 1.0, scale)
    return codes.round_().clamp_(0, largest).to(torch.uint8)


def decode(codes: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """The weights that codes stand for."""
    return codes.float() * scale.float()[..., None] + offset.float()[..., None]


def pack(weight: Tensor, precision: str) -> Packed:
    """A weight in the kernels' order."""
    n_outputs, n_inputs = weight.shape
    more, kind = -n_outputs % PANEL, KINDS[precision]
    blocks = (n_outputs + more) // 16
    if kind == HALVES:
        halves = (
            padded(weight.detach().bfloat16(), rows=more)
            .view(blocks, 16, n_inputs // 2, 2)
            .transpose(1, 2)
            .contiguous()
        )
        return Packed(kind, n_outputs, n_inputs, halves.view(torch.uint8).numpy(), np.zeros(0, np.uint16))
    columns = quantize(weight, 8 if kind == BYTES else 4)
    codes, scale, offset = (padded(column, rows=more) for column in columns)
    # (blocks, 16, depths, rows, 4) → (blocks, depths, rows, 16, 4)
    codes = codes.flatten(1)[:, :n_inputs].reshape(blocks, 16, -1, DEPTH // 4, 4).permute(0, 2, 3, 1, 4)
    if kind == BYTES:
        codes = codes ^ 128  # as signed bytes, code - 128; undone by `integers.EXCESS`
    if kind == NIBBLES:
        codes = codes[:, :, :8] | (codes[:, :, 8:] << 4)  # inputs 0–31 low, 32–63 high
    # bytes: the offset is -128 scales
    both = torch.stack((scale, offset) if kind == NIBBLES else (scale,))
    both = both.view(len(both), blocks, 16, -1).permute(1, 3, 0, 2).contiguous()
    scales = both.view(torch.int16).numpy().view(np.uint16)
    return Packed(kind, n_outputs, n_inputs, codes.contiguous().numpy(), scales)


def head_precision(precision: str) -> str:
    """The precision of the embedding and head: with 4-bit weights they keep 8, because every logit passes here."""
    return "int8" if precision == "int4" else precision


@torch.no_grad()
def round_trip(model: GPT2, precision: str) -> GPT2:
    """A copy of the model whose weights have gone through `precision`: the kernels' plain twin."""
    import copy

    check_precision(precision)
    twin = copy.deepcopy(model).eval()
    if precision in ("float32", "bfloat16"):
        return twin.to(torch.bfloat16 if precision == "bfloat16" else torch.float32)
    for name, parameter in twin.named_parameters():
        kept = head_precision(precision) if name == "wte.weight" else precision
        if parameter.ndim == 2 and name != "wpe.weight":
            rounded = decode(*quantize(parameter, 8 if kept == "int8" else 4))
            parameter.copy_(rounded.flatten(1)[:, : parameter.shape[1]])
    return twin
