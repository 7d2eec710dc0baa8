"""One row per key out of any number, in bounded memory: rows are spilled to disk by hash and compared bucket by
bucket.

Used for §2.1's links: a page posted many times stays once, with the best karma, then the earliest date, then the
first in input order. `SpillWriter` collects rows and writes them as runs, each cut into 256 buckets by the first
byte of the key's hash; `SpillReader.best_rows` reads one bucket of all runs, keeps the best row of each key and
yields the rows in the order of their hashes. Memory: the run being filled (32 MiB), or one bucket (1/256 of all
rows).

A row is its 128-bit key hash, a rank (higher is better), a time (earlier is better) and its payload, a finished
line.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fourhorn import zstd
from fourhorn.files import atomic_write, read_json, write_json

N_BUCKETS = 256
RUN_BYTES = 32 << 20
ROW = np.dtype([("high", "<u8"), ("low", "<u8"), ("rank", "<i8"), ("time", "<i8"), ("n_bytes", "<u4")])
Rows = npt.NDArray[np.void]
UNKNOWN_RANK = -(2**62)
UNKNOWN_TIME = 2**62


class SpillWriter:
    """Writes one spill: `path` with the runs, beside it their places (`.npy`), and last a summary (`.json`)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hashes: list[bytes] = []
        self._numbers: list[tuple[int, int]] = []
        self._payloads: list[bytes] = []
        self._n_bytes = 0
        self._places: list[list[int]] = []  # bucket, offset, compressed bytes, rows
        self.n_rows = 0
        self._file = open(path, "wb")

    def add(self, key_hash: bytes, rank: int | None, time: int | None, payload: bytes) -> None:
        """Add one row; `key_hash` has 16 bytes."""
        self._hashes.append(key_hash)
        self._numbers.append((UNKNOWN_RANK if rank is None else rank, UNKNOWN_TIME if time is None else time))
        self._payloads.append(payload)
        self._n_bytes += len(payload) + 64
        self.n_rows += 1
        if self._n_bytes >= RUN_BYTES:
            self._flush()

    def close(self, summary: dict[str, int]) -> None:
        """Write what is left and mark the spill as complete."""
        self._flush()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        with atomic_write(_beside(self._path, ".npy")) as file:
            np.save(file, np.array(self._places, dtype=np.int64).reshape(-1, 4))
        write_json(_beside(self._path, ".json"), summary)

    def _flush(self) -> None:
        if not self._payloads:
            return
        rows = _table(self._hashes, self._numbers, self._payloads)
        buckets = (rows["high"] >> np.uint64(56)).astype(np.int64)
        order = np.argsort(buckets, kind="stable")
        edges = np.searchsorted(buckets[order], np.arange(N_BUCKETS + 1)).tolist()
        places = order.tolist()
        for bucket in range(N_BUCKETS):
            start, end = edges[bucket], edges[bucket + 1]
            if start == end:
                continue
            lines = [self._payloads[i] for i in places[start:end]]
            frame = zstd.compress(rows[order[start:end]].tobytes() + b"".join(lines), level=1)
            self._places.append([bucket, self._file.tell(), len(frame), end - start])
            self._file.write(frame)
        self._hashes, self._numbers, self._payloads, self._n_bytes = [], [], [], 0


def read_summary(path: Path) -> dict[str, int] | None:
    """The summary of a complete spill, or None."""
    summary = _beside(path, ".json")
    return dict(read_json(summary)) if summary.exists() else None


class SpillReader:
    """Reads the buckets of complete spills."""

    def __init__(self, spills: Sequence[Path]) -> None:
        self._spills = spills
        self._places = [np.load(_beside(spill, ".npy")) for spill in spills]

    def best_rows(self, bucket: int) -> tuple[list[bytes], int]:
        """Each key's best payload in one bucket, in the order of the hashes, and how many rows there were."""
        tables: list[Rows] = []
        payloads: list[bytes] = []
        for spill, places in zip(self._spills, self._places):
            found = places[places[:, 0] == bucket]
            if len(found):
                with open(spill, "rb") as file:
                    for _, offset, n_bytes, n_rows in found.tolist():
                        table, payload = _read_frame(file, offset, n_bytes, n_rows)
                        tables.append(table)
                        payloads.append(payload)
        if not tables:
            return [], 0
        rows = np.concatenate(tables)
        payload = b"".join(payloads)
        del tables, payloads
        ends = np.cumsum(rows["n_bytes"], dtype=np.int64)
        chosen = best(rows)
        starts = ends[chosen] - rows["n_bytes"][chosen]
        return [payload[a:b] for a, b in zip(starts.tolist(), ends[chosen].tolist())], len(rows)


def best(rows: Rows) -> npt.NDArray[np.int64]:
    """The index of the best row of each key, in the order of the keys' hashes."""
    columns = {name: np.ascontiguousarray(rows[name]) for name in ("high", "low", "rank", "time")}
    order = np.argsort(columns["high"])
    high = columns["high"][order]
    new = np.empty(len(order), dtype=bool)
    new[:1] = True
    np.not_equal(high[1:], high[:-1], out=new[1:])
    alone = new.copy()
    alone[:-1] &= new[1:]
    singles = order[alone]
    # Only rows that share the first half of a hash are compared in full; most share it with none.
    several = order[~alone]
    high, low, rank, time = (column[several] for column in columns.values())
    full = np.lexsort((several, time, -rank, low, high))
    several, high, low = several[full], high[full], low[full]
    first = np.empty(len(several), dtype=bool)
    first[:1] = True
    first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    chosen = np.concatenate([singles, several[first]])
    # Two sorted runs with no half hash in common, so a stable sort by it merges them into the order of whole hashes.
    return chosen[np.argsort(columns["high"][chosen], kind="stable")]


def write_lines(path: Path, groups: Iterable[list[bytes]], *, level: int = 1) -> int:
    """Write finished lines to a `.zst` shard, atomically; how many there were."""
    n = 0
    with atomic_write(path) as file, zstd.frame_writer(file, level) as sink:
        for lines in groups:
            n += len(lines)
            sink.write(b"".join(lines))
    return n


def _table(hashes: list[bytes], numbers: list[tuple[int, int]], payloads: list[bytes]) -> Rows:
    rows = np.empty(len(hashes), dtype=ROW)
    halves = np.frombuffer(b"".join(hashes), dtype=">u8").reshape(-1, 2)
    rows["high"], rows["low"] = halves[:, 0], halves[:, 1]
    both = np.array(numbers, dtype=np.int64)
    rows["rank"], rows["time"] = both[:, 0], both[:, 1]
    rows["n_bytes"] = np.fromiter(map(len, payloads), dtype=np.uint32, count=len(payloads))
    return rows


def _read_frame(file: BinaryIO, offset: int, n_bytes: int, n_rows: int) -> tuple[Rows, bytes]:
    file.seek(offset)
    content = zstd.decompress(file.read(n_bytes))
    head = n_rows * ROW.itemsize
    return np.frombuffer(content[:head], dtype=ROW), content[head:]


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
