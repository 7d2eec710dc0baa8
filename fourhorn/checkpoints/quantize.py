"""GGUF's number types: float32 to bytes and back.

Q8_0 keeps 32 weights as one half-precision step d = max|x| / 127 and 32 signed bytes round(x / d), so a weight is off
by at most half a step (plus what rounding d to half precision costs). Q4_0 is the same with 16 levels. Types that only
other programs write (Q4_K, Q6_K, …) are decoded by the `gguf` package where it is installed.

In: numpy arrays. Out: bytes, or float32. Raises: `UserError` for a type that cannot be decoded here.
Source: ggml's `ggml-quants.c`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fourhorn.errors import UserError

F32, F16, Q4_0, Q8_0, BF16 = 0, 1, 2, 8, 30
# type: (weights in a block, bytes of a block)
BLOCK_TYPES = {
    F32: (1, 4),
    F16: (1, 2),
    Q4_0: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    Q8_0: (32, 34),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    BF16: (1, 2),
}
TYPE_NAMES = {
    F32: "F32", F16: "F16", Q4_0: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", Q8_0: "Q8_0",
    10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", BF16: "BF16",
}  # fmt: skip


def quantize(values: npt.NDArray[np.float32], kind: int) -> npt.NDArray[np.uint8]:
    """The bytes of some weights as F32, F16 or Q8_0; the last dimension must be whole blocks."""
    if kind == F32:
        return np.ascontiguousarray(values, dtype="<f4").reshape(-1).view(np.uint8)
    if kind == F16:
        return values.astype("<f2").reshape(-1).view(np.uint8)
    if kind != Q8_0:
        raise ValueError(f"{TYPE_NAMES[kind]} is not written here")
    blocks = values.astype(np.float32).reshape(-1, 32)
    step = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.where(step > 0, blocks / step, 0)
    out = np.empty((len(blocks), 34), dtype=np.uint8)
    out[:, :2] = step.astype("<f2").view(np.uint8)
    out[:, 2:] = np.rint(levels).astype(np.int8).view(np.uint8)
    return out.reshape(-1)


def dequantize(data: npt.NDArray[np.uint8], kind: int, path: Path) -> npt.NDArray[np.float32]:
    """Weights as float32 from a type's bytes."""
    if kind == F32:
        return data.view("<f4").astype(np.float32)
    if kind == F16:
        return data.view("<f2").astype(np.float32)
    if kind == BF16:
        return (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
    if kind in (Q8_0, Q4_0):
        blocks = data.reshape(-1, BLOCK_TYPES[kind][1])
        step = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
        if kind == Q8_0:
            return (blocks[:, 2:].view(np.int8) * step).reshape(-1)
        packed = blocks[:, 2:]
        levels = np.concatenate([packed & 0x0F, packed >> 4], axis=1).astype(np.int8) - np.int8(8)
        return (levels * step).reshape(-1)
    return dequantize_with_gguf(data, kind, path)


def dequantize_with_gguf(data: npt.NDArray[np.uint8], kind: int, path: Path) -> npt.NDArray[np.float32]:
    """Weights of a type that only other programs write."""
    try:
        from gguf import GGMLQuantizationType, quants
    except ImportError:
        raise UserError(
            f"{path} holds {TYPE_NAMES[kind]} weights, which need the gguf package: pip install 'fourhorn[interop]'"
        ) from None
    values = quants.dequantize(data.reshape(-1, BLOCK_TYPES[kind][1]), GGMLQuantizationType(kind))
    return np.asarray(values, dtype=np.float32).reshape(-1)
