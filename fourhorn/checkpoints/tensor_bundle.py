"""TensorFlow's checkpoint files, read and written without TensorFlow.

A "tensor bundle" is two kinds of file. `model.ckpt.index` is a LevelDB table: sorted keys (variable names) in blocks
with shared prefixes cut off, each value a small protocol buffer with type, shape, place and checksum; the first key,
the empty one, holds the number of data files. `model.ckpt.data-00000-of-00001` is the raw tensors one after another.

In: the path before `.index`. Out: tensors by variable name. Raises: `UserError` for damage, checksums included.
Sources: LevelDB's `table_format.md`; TensorFlow's `tensor_bundle.proto` and `tensor_bundle.h`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fourhorn.checkpoints.bounds import MAX_HEADER_BYTES, check_count, check_tensor, damaged, read_exactly
from fourhorn.checkpoints.crc32c import crc32c, mask
from fourhorn.files import atomic_write

MAGIC = 0xDB4775248B80FB57
N_FOOTER = 48
N_TRAILER = 5  # compression byte and checksum after each block
BLOCK_BYTES = 4096
RESTART_EVERY = 16
MAX_DATA_FILES = 1_000
DTYPES = {
    1: torch.float32,
    2: torch.float64,
    3: torch.int32,
    9: torch.int64,
    14: torch.bfloat16,
    19: torch.float16,
}
DTYPE_CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Entry:
    """Where one variable lies: its type, shape, data file, bytes and checksum."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int | None


# ---------------------------------------------------------------------------------------------------- numbers


def read_varint(data: bytes, at: int, path: Path) -> tuple[int, int]:
    """A base-128 number at `at`: its value and where the next byte is."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise damaged(path, "a number runs past its end")


def write_varint(value: int) -> bytes:
    """A base-128 number."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_fields(data: bytes, path: Path) -> Iterator[tuple[int, int | bytes]]:
    """The (number, value) pairs of a protocol buffer: varints and fixed words as int, the rest as bytes."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at, path)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, at = read_varint(data, at, path)
        elif kind in (1, 5):
            n_bytes = 8 if kind == 1 else 4
            value = int.from_bytes(data[at : at + n_bytes], "little")
            at += n_bytes
        elif kind == 2:
            n_bytes, at = read_varint(data, at, path)
            value = data[at : at + n_bytes]
            at += n_bytes
        else:
            raise damaged(path, f"an index entry has a field of unknown kind {kind}")
        if at > len(data):
            raise damaged(path, "an index entry runs past its end")
        yield tag >> 3, value


def write_field(number: int, value: int | bytes) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(value, int):
        return write_varint(number << 3) + write_varint(value)
    return write_varint(number << 3 | 2) + write_varint(len(value)) + value


# ------------------------------------------------------------------------------------------------------ table


def read_table(path: Path) -> dict[bytes, bytes]:
    """All keys and values of a LevelDB table."""
    size = path.stat().st_size
    if size > MAX_HEADER_BYTES:
        raise damaged(path, f"an index of {size} bytes, at most {MAX_HEADER_BYTES} are read")
    data = path.read_bytes()
    if len(data) < N_FOOTER or int.from_bytes(data[-8:], "little") != MAGIC:
        raise damaged(path, "it does not end like a TensorFlow index")
    footer = data[-N_FOOTER:]
    _, at = read_varint(footer, 0, path)  # the meta index: unused
    _, at = read_varint(footer, at, path)
    offset, at = read_varint(footer, at, path)
    n_bytes, at = read_varint(footer, at, path)
    rows: dict[bytes, bytes] = {}
    n_read = 0
    for handle in read_block(data, offset, n_bytes, path).values():
        offset, at = read_varint(handle, 0, path)
        n_bytes, at = read_varint(handle, at, path)
        n_read += n_bytes
        if n_read > size:
            raise damaged(path, "its blocks overlap")
        rows |= read_block(data, offset, n_bytes, path)
        check_count(path, len(rows))
    return rows


def read_block(data: bytes, offset: int, n_bytes: int, path: Path) -> dict[bytes, bytes]:
    """The keys and values of one block; each key gives only what differs from the one before."""
    if offset + n_bytes + N_TRAILER > len(data):
        raise damaged(path, "a block lies past its end")
    block, trailer = data[offset : offset + n_bytes], data[offset + n_bytes : offset + n_bytes + N_TRAILER]
    if int.from_bytes(trailer[1:], "little") != mask(crc32c(block + trailer[:1])):
        raise damaged(path, "the checksum of a block is wrong")
    if trailer[0] != 0:
        raise damaged(path, "its blocks are compressed, which TensorFlow's checkpoints never are")
    n_restarts = int.from_bytes(block[-4:], "little")
    end = n_bytes - 4 - 4 * n_restarts
    if n_bytes < 4 or end < 0:
        raise damaged(path, "a block is shorter than its own table")
    rows: dict[bytes, bytes] = {}
    key, at, n_key_bytes = b"", 0, 0
    while at < end:
        n_shared, at = read_varint(block, at, path)
        n_new, at = read_varint(block, at, path)
        n_value, at = read_varint(block, at, path)
        if n_shared > len(key) or at + n_new + n_value > end:
            raise damaged(path, "a block's entry runs past its end")
        key = key[:n_shared] + block[at : at + n_new]
        n_key_bytes += len(key)
        if n_key_bytes > MAX_HEADER_BYTES:
            raise damaged(path, f"its names take more than {MAX_HEADER_BYTES} bytes")
        rows[key] = block[at + n_new : at + n_new + n_value]
        at += n_new + n_value
    return rows


def write_table(rows: Mapping[bytes, bytes]) -> bytes:
    """A LevelDB table of these rows, uncompressed."""
    out, index = bytearray(), {}
    keys = sorted(rows)
    start = 0
    while start < len(keys):
        end, n_bytes = start, 0
        while end < len(keys) and n_bytes < BLOCK_BYTES:
            n_bytes += len(keys[end]) + len(rows[keys[end]])
            end += 1
        block = {key: rows[key] for key in keys[start:end]}
        index[keys[end - 1]] = append_block(out, block)
        start = end
    meta_handle = append_block(out, {})
    index_handle = append_block(out, index)
    handles = meta_handle + index_handle
    return bytes(out) + handles.ljust(N_FOOTER - 8, b"\0") + MAGIC.to_bytes(8, "little")


def append_block(out: bytearray, rows: Mapping[bytes, bytes]) -> bytes:
    """Append one block with its trailer; return its handle (place and size)."""
    block, restarts, previous = bytearray(), [0], b""
    for i, (key, value) in enumerate(rows.items()):
        n_shared = 0
        if i and i % RESTART_EVERY == 0:
            restarts.append(len(block))
        else:
            while n_shared < min(len(key), len(previous)) and key[n_shared] == previous[n_shared]:
                n_shared += 1
        block += write_varint(n_shared) + write_varint(len(key) - n_shared) + write_varint(len(value))
        block += key[n_shared:] + value
        previous = key
    block += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    handle = write_varint(len(out)) + write_varint(len(block))
    out += block + b"\0" + struct.pack("<I", mask(crc32c(bytes(block) + b"\0")))
    return handle


# ----------------------------------------------------------------------------------------------------- bundle


def read_bundle(prefix: Path, wanted: set[str] | None = None) -> dict[str, torch.Tensor]:
    """Read variables by name.

    Args:
        prefix: the path before `.index`.
        wanted: names to read; None reads every variable.
    """
    index = prefix.with_name(prefix.name + ".index")
    rows = read_table(index)
    n_files = read_n_files(rows.pop(b"", None), index)
    paths = [prefix.with_name(f"{prefix.name}.data-{i:05d}-of-{n_files:05d}") for i in range(n_files)]
    for path in paths:
        if not path.is_file():
            raise damaged(index, f"{path.name} is missing beside it")
    tensors: dict[str, torch.Tensor] = {}
    for key, value in rows.items():
        name = key.decode("utf-8", "replace")
        if wanted is None or name in wanted:
            tensors[name] = read_tensor(name, read_entry(name, value, index), paths, index)
    return tensors


def list_bundle(prefix: Path) -> set[str]:
    """The names of all variables."""
    rows = read_table(prefix.with_name(prefix.name + ".index"))
    return {key.decode("utf-8", "replace") for key in rows if key}


def read_n_files(header: bytes | None, index: Path) -> int:
    """The number of data files, from the entry under the empty key."""
    if header is None:
        raise damaged(index, "it has no header entry")
    fields = dict(read_fields(header, index))
    n_files = fields.get(1, 0)
    if not isinstance(n_files, int) or not 1 <= n_files <= MAX_DATA_FILES:
        raise damaged(index, f"it speaks of {n_files!r} data files")
    if fields.get(2, 0) != 0:
        raise damaged(index, "it was written on a big-endian machine")
    return n_files


def read_entry(name: str, value: bytes, index: Path) -> Entry:
    """Parse one variable's entry."""
    numbers = {1: 0, 3: 0, 4: 0, 5: 0}
    shape: list[int] = []
    checksum: int | None = None
    for number, field in read_fields(value, index):
        if number == 2 and isinstance(field, bytes):
            for inner, dimension in read_fields(field, index):
                if inner == 2 and isinstance(dimension, bytes):
                    size = dict(read_fields(dimension, index)).get(1, 0)
                    shape.append(size if isinstance(size, int) else -1)
        elif number == 6 and isinstance(field, int):
            checksum = field
        elif number == 7:
            raise damaged(index, f"variable {name!r} is stored in slices, which no GPT-2 checkpoint is")
        elif number in numbers and isinstance(field, int):
            numbers[number] = field
    if numbers[1] not in DTYPES:
        raise damaged(index, f"variable {name!r} has the unknown type {numbers[1]}")
    return Entry(DTYPES[numbers[1]], tuple(shape), numbers[3], numbers[4], numbers[5], checksum)


def read_tensor(name: str, entry: Entry, paths: list[Path], index: Path) -> torch.Tensor:
    """Read one variable's bytes and verify their checksum."""
    if not 0 <= entry.shard < len(paths):
        raise damaged(index, f"variable {name!r} lies in data file {entry.shard}")
    path = paths[entry.shard]
    n_available = path.stat().st_size
    n_elements = check_tensor(index, name, entry.shape, entry.dtype.itemsize * 8, n_available)
    if entry.size != n_elements * entry.dtype.itemsize or entry.offset + entry.size > n_available:
        raise damaged(
            index, f"variable {name!r} of shape {list(entry.shape)} takes {entry.size} bytes of {n_available}"
        )
    with path.open("rb") as file:
        file.seek(entry.offset)
        data = bytearray(read_exactly(file, entry.size, path, f"variable {name!r}"))
    if entry.checksum is not None and entry.checksum != mask(crc32c(memoryview(data))):
        raise damaged(path, f"the checksum of variable {name!r} is wrong")
    return (
        torch.frombuffer(data, dtype=entry.dtype).reshape(entry.shape) if data else torch.empty(entry.shape)
    )


def write_bundle(tensors: Mapping[str, torch.Tensor], prefix: Path) -> None:
    """Write variables as `prefix.index` and one data file, as TensorFlow's `Saver` does."""
    header = write_field(1, 1) + write_field(3, write_field(1, 1))
    rows = {b"": header}
    offset = 0
    with atomic_write(prefix.with_name(prefix.name + ".data-00000-of-00001"), "wb") as file:
        for name in sorted(tensors):
            tensor = tensors[name].detach().cpu().contiguous()
            data: np.ndarray[tuple[int], np.dtype[np.uint8]] = tensor.reshape(-1).view(torch.uint8).numpy()
            file.write(data)
            shape = b"".join(write_field(2, write_field(1, size)) for size in tensor.shape)
            value = write_field(1, DTYPE_CODES[tensor.dtype]) + write_field(2, shape)
            value += write_field(4, offset) + write_field(5, len(data))
            value += write_varint(6 << 3 | 5) + struct.pack("<I", mask(crc32c(data)))
            rows[name.encode()] = value
            offset += math.prod(tensor.shape) * tensor.dtype.itemsize
    with atomic_write(prefix.with_name(prefix.name + ".index"), "wb") as file:
        file.write(write_table(rows))
