"""Safetensors files, read only after their header has been checked against the file.

The library parses and maps the file; before that its header is held to our budgets (size, tensor count, names, types,
shapes that fill exactly the bytes that follow), and after it a sha256 over every tensor is compared with the one
that `write_tensors` left in the metadata.

In: a path. Out: tensors by name. Raises: `UserError` for a damaged file.
Source: the format as described at huggingface/safetensors.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fourhorn.checkpoints.bounds import (
    MAX_HEADER_BYTES,
    check_count,
    check_tensor,
    damaged,
    parse_json,
    read_exactly,
)
from fourhorn.checkpoints.names import Weights
from fourhorn.errors import UserError

DTYPE_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Read and check the header.

    Returns:
        The tensors' entries (dtype, shape, data_offsets) by name, and the file's own metadata.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        (n_header,) = struct.unpack("<Q", read_exactly(file, 8, path, "the header's length"))
        if n_header > MAX_HEADER_BYTES:
            raise damaged(path, f"a header of {n_header} bytes, at most {MAX_HEADER_BYTES} are read")
        header = parse_json(read_exactly(file, n_header, path, "the header"), path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise damaged(path, "its metadata is not a table of strings")
    check_count(path, len(header))
    spans = []
    for name, entry in header.items():
        spans.append(check_entry(path, name, entry, size - 8 - n_header))
    position = 0
    for start, end in sorted(spans):
        if start != position:
            raise damaged(path, f"a gap or an overlap at byte {start} of the data")
        position = end
    if position != size - 8 - n_header:
        raise damaged(path, f"its tensors end at byte {position} of {size - 8 - n_header}")
    return header, metadata


def check_entry(path: Path, name: str, entry: Any, n_data: int) -> tuple[int, int]:
    """Check one tensor's entry; return where its bytes start and end."""
    if not isinstance(entry, dict) or entry.get("dtype") not in DTYPE_BYTES:
        raise damaged(path, f"tensor {name!r} has no known type")
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise damaged(path, f"tensor {name!r} has no shape or no place")
    n_bytes = DTYPE_BYTES[entry["dtype"]]
    n_elements = check_tensor(path, name, shape, n_bytes * 8, n_data)
    start, end = offsets
    if (
        not isinstance(start, int)
        or not isinstance(end, int)
        or start < 0
        or end - start != n_elements * n_bytes
    ):
        raise damaged(path, f"tensor {name!r} of shape {shape} lies at {offsets}")
    return start, end


def read_tensors(path: Path) -> tuple[Weights, dict[str, str]]:
    """Read a whole file into memory; the digest is verified where the file carries one."""
    header, metadata = read_header(path)
    weights: Weights = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in header:
                weights[name] = file.get_tensor(name)
    except (SafetensorError, ValueError, RuntimeError, OverflowError) as error:
        raise damaged(path, str(error).splitlines()[0]) from None
    if "sha256" in metadata and metadata["sha256"] != digest(weights):
        raise UserError(
            f"{path} is damaged: its weights do not match the sha256 written with them. Copy it again."
        )
    return weights, metadata


def write_tensors(
    weights: Mapping[str, torch.Tensor], path: Path, *, metadata: Mapping[str, str] | None = None
) -> str:
    """Write tensors and their digest; return the digest. `path` should be a temporary name that is renamed after."""
    packed = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    sha256 = digest(packed)
    save_file(packed, path, metadata={"format": "pt", **(metadata or {}), "sha256": sha256})
    return sha256


def digest(weights: Mapping[str, torch.Tensor]) -> str:
    """sha256 over names, types, shapes and bytes of all tensors, in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
