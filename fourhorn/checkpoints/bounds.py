"""Budgets that every checkpoint reader keeps, so that a hostile file ends in one sentence.

Weights travel between strangers. Each reader therefore decides what a file may ask for before it allocates anything:
headers have a size, tensors a count, shapes must fit the bytes that are there, JSON may nest only so deep.

In: bytes and declared sizes. Out: the checked values. Raises: `UserError` naming the file and the figure, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from fourhorn.errors import UserError

MAX_HEADER_BYTES = 16 << 20  # GPT-2 1558M needs 60 kB; a GGUF header with its vocabulary 2 MB
MAX_TENSORS = 20_000  # GPT-2 1558M has 580
MAX_DIMENSIONS = 4
MAX_NAME_BYTES = 512
MAX_NESTING = 32


def damaged(path: Path, why: str) -> UserError:
    """The one sentence for a file that is not what it says it is."""
    return UserError(f"{path} is damaged or not what its header says: {why}. Copy or download it again.")


def read_exactly(file: BinaryIO, n_bytes: int, path: Path, what: str) -> bytes:
    """Read `n_bytes` or say what is missing; never asks for more than the file can hold."""
    if n_bytes < 0 or n_bytes > path.stat().st_size:
        raise damaged(path, f"{what} would take {n_bytes} bytes, the file has {path.stat().st_size}")
    data = file.read(n_bytes)
    if len(data) != n_bytes:
        raise damaged(path, f"it ends inside {what}")
    return data


def parse_json(data: bytes, path: Path, *, max_bytes: int = MAX_HEADER_BYTES) -> dict[str, Any]:
    """Parse a JSON object of at most `max_bytes` and `MAX_NESTING` levels."""
    if len(data) > max_bytes:
        raise damaged(path, f"{len(data)} bytes of JSON where at most {max_bytes} are expected")
    if not nests_within(data, MAX_NESTING):
        raise damaged(path, f"its JSON nests deeper than {MAX_NESTING} levels")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise damaged(path, f"its JSON does not parse ({error})") from None
    if not isinstance(value, dict):
        raise damaged(path, f"its JSON holds a {type(value).__name__}, not an object")
    return value


def read_json_object(path: Path, *, max_bytes: int = MAX_HEADER_BYTES) -> dict[str, Any]:
    """Read a small JSON file that must hold one object."""
    size = path.stat().st_size
    if size > max_bytes:
        raise damaged(path, f"{size} bytes of JSON where at most {max_bytes} are expected")
    return parse_json(path.read_bytes(), path, max_bytes=max_bytes)


def nests_within(data: bytes, limit: int) -> bool:
    """True if brackets outside strings never nest deeper than `limit`."""
    depth, in_string, escaped = 0, False, False
    if data.count(b"[") + data.count(b"{") <= limit:
        return True
    for byte in data:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:  # backslash
                escaped = True
            elif byte == 0x22:  # closing quote
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in (0x5B, 0x7B):  # [ {
            depth += 1
            if depth > limit:
                return False
        elif byte in (0x5D, 0x7D):  # ] }
            depth -= 1
    return True


def check_tensor(
    path: Path, name: str, shape: Sequence[int], bits_per_weight: float, available_bytes: int
) -> int:
    """Check one declared tensor against the bytes that are there; return its number of elements."""
    if len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        raise damaged(path, f"a tensor name is longer than {MAX_NAME_BYTES} bytes")
    if len(shape) > MAX_DIMENSIONS or any(not isinstance(size, int) or size < 0 for size in shape):
        raise damaged(path, f"tensor {name!r} has the shape {list(shape)[:8]}")
    n_elements = math.prod(shape)
    if n_elements * bits_per_weight > available_bytes * 8:
        raise damaged(path, f"tensor {name!r} of shape {list(shape)} does not fit in {available_bytes} bytes")
    return n_elements


def check_count(path: Path, n_tensors: int) -> None:
    """Refuse a file that declares more tensors than any model here could have."""
    if n_tensors > MAX_TENSORS:
        raise damaged(path, f"it declares {n_tensors} tensors, at most {MAX_TENSORS} are read")
