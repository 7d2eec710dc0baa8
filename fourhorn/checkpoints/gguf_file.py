"""The GGUF container: metadata, tensor table and aligned data, read within budgets and written without a library.

    magic "GGUF", version, tensor count, metadata count | key, type, value … | name, shape, type, offset … | data

Metadata values are numbers, booleans, strings and flat arrays of those; arrays in arrays are refused, since nothing
in a GPT-2 needs them and following them is how readers have been made to recurse without end.

In: a path. Out: metadata, and tensors as float32 by name, rows first (the file lists sizes last first).
Raises: `UserError` for damage. Source: the format as described in ggml's `docs/gguf.md`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from fourhorn.checkpoints.bounds import check_count, check_tensor, damaged
from fourhorn.checkpoints.quantize import BLOCK_TYPES, TYPE_NAMES, dequantize

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32
MAX_METADATA = 10_000
MAX_METADATA_BYTES = 64 << 20
SCALARS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
STRING, ARRAY = 8, 9
UINT32, INT32, FLOAT32, BOOL = 4, 5, 6, 7


@dataclass(frozen=True)
class TensorPlace:
    """One row of the tensor table; `offset` counts from the start of the data."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int
    n_bytes: int


class Cursor:
    """Reads values from the start of a file, never past what is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        with path.open("rb") as file:
            self.data = file.read(min(self.size, MAX_METADATA_BYTES))
        self.at = 0

    def take(self, n_bytes: int) -> bytes:
        """The next bytes."""
        if n_bytes > len(self.data) - self.at:
            raise damaged(self.path, f"its metadata runs past byte {len(self.data)}")
        self.at += n_bytes
        return self.data[self.at - n_bytes : self.at]

    def number(self, kind: str) -> int:
        """The next whole number, by struct's letter."""
        value: int = struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)))[0]
        return value

    def string(self) -> str:
        """The next string: its length, then UTF-8."""
        return self.take(self.number("Q")).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """The next metadata value."""
        if kind in SCALARS:
            return np.frombuffer(self.take(np.dtype(SCALARS[kind]).itemsize), SCALARS[kind])[0].item()
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            inner, n_items = self.number("I"), self.number("Q")
            if inner in SCALARS:
                return np.frombuffer(self.take(n_items * np.dtype(SCALARS[inner]).itemsize), SCALARS[inner])
            if inner == STRING:
                if n_items * 8 > len(self.data) - self.at:
                    raise damaged(self.path, f"an array of {n_items} strings cannot be in it")
                return [self.string() for _ in range(n_items)]
        raise damaged(self.path, f"metadata of type {kind} is not read here")


def read_gguf(path: Path) -> tuple[dict[str, Any], list[TensorPlace], int]:
    """Read metadata and tensor table; return both and where the data starts."""
    cursor = Cursor(path)
    if cursor.take(4) != MAGIC:
        raise damaged(path, "it does not begin with GGUF")
    version, n_tensors, n_metadata = cursor.number("I"), cursor.number("Q"), cursor.number("Q")
    if version not in VERSIONS:
        raise damaged(path, f"version {version} of GGUF, only {VERSIONS} are read")
    check_count(path, n_tensors)
    if n_metadata > MAX_METADATA:
        raise damaged(path, f"it declares {n_metadata} metadata entries, at most {MAX_METADATA} are read")
    metadata = {}
    for _ in range(n_metadata):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.number("I"))
    places = [read_place(cursor) for _ in range(n_tensors)]
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
        raise damaged(path, f"an alignment of {alignment!r}")
    start = -(-cursor.at // alignment) * alignment
    for place in places:
        if start + place.offset + place.n_bytes > cursor.size:
            raise damaged(path, f"tensor {place.name!r} lies past its end")
    if sum(place.n_bytes for place in places) > cursor.size:
        raise damaged(path, "its tensors overlap")
    return metadata, places, start


def read_place(cursor: Cursor) -> TensorPlace:
    """One row of the tensor table."""
    name, n_dims = cursor.string(), cursor.number("I")
    if n_dims > 4:
        raise damaged(cursor.path, f"tensor {name[:80]!r} has {n_dims} dimensions")
    shape = tuple(cursor.number("Q") for _ in range(n_dims))[::-1]
    kind, offset = cursor.number("I"), cursor.number("Q")
    if kind not in BLOCK_TYPES:
        raise damaged(cursor.path, f"tensor {name[:80]!r} has the unknown type {kind}")
    n_block, n_block_bytes = BLOCK_TYPES[kind]
    n_elements = check_tensor(cursor.path, name, shape, n_block_bytes * 8 / n_block, cursor.size)
    if not shape or n_elements == 0 or shape[-1] % n_block:
        raise damaged(
            cursor.path, f"tensor {name!r} of shape {list(shape)} is not made of blocks of {n_block}"
        )
    return TensorPlace(name, shape, kind, offset, n_elements // n_block * n_block_bytes)


def read_values(path: Path, place: TensorPlace, start: int) -> npt.NDArray[np.float32]:
    """One tensor as float32."""
    data = np.fromfile(path, dtype=np.uint8, count=place.n_bytes, offset=start + place.offset)
    return dequantize(data, place.kind, path).reshape(place.shape)


# ---------------------------------------------------------------------------------------------------- writing


def pack_string(text: str) -> bytes:
    """A string: its length in bytes, then UTF-8."""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def pack_value(value: Any) -> bytes:
    """A metadata value with its type: bool, int (unsigned 32 bits), float, str, and lists of str or int."""
    if isinstance(value, bool):
        return struct.pack("<IB", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + pack_string(value)
    if all(isinstance(item, str) for item in value):
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(pack_string(item) for item in value)
    return struct.pack("<IIQ", ARRAY, INT32, len(value)) + np.asarray(value, dtype="<i4").tobytes()


def write_gguf(
    file: IO[bytes],
    metadata: Mapping[str, Any],
    tensors: Mapping[str, tuple[tuple[int, ...], int, npt.NDArray[np.uint8]]],
) -> None:
    """Write a whole file.

    Args:
        file: where to.
        metadata: keys and values, see `pack_value`.
        tensors: by name, the shape (rows first), the type's number and the bytes.
    """
    head = MAGIC + struct.pack("<IQQ", VERSIONS[-1], len(tensors), len(metadata))
    for key, value in metadata.items():
        head += pack_string(key) + pack_value(value)
    offset = 0
    for name, (shape, kind, data) in tensors.items():
        assert math.prod(shape) // BLOCK_TYPES[kind][0] * BLOCK_TYPES[kind][1] == data.nbytes, TYPE_NAMES[
            kind
        ]
        head += pack_string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
        head += struct.pack("<IQ", kind, offset)
        offset += -(-data.nbytes // ALIGNMENT) * ALIGNMENT
    file.write(head + b"\0" * (-len(head) % ALIGNMENT))
    for _, _, data in tensors.values():
        file.write(data.tobytes())
        file.write(b"\0" * (-data.nbytes % ALIGNMENT))
