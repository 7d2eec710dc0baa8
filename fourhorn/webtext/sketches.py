"""What near-duplicate search needs to know of each document, kept in files so that memory does not grow with text.

The first pass of `dedup` writes one sketch file per shard: an exact key, date, id and MinHash signature per document,
about 650 bytes instead of 5,000. `Corpus` puts those of all shards together: a few dozen bytes per document in memory
for keys and order, the signatures and band keys as files mapped from disk, which the kernel pages in and out.
"""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from fourhorn.files import atomic_write
from fourhorn.records import iter_records
from fourhorn.webtext.documents import document_of
from fourhorn.webtext.lsh import band_keys
from fourhorn.webtext.minhash import exact_key, shingles, sketch
from fourhorn.webtext.words import Hashes, ngram_hashes, word_hashes

ID_BYTES = 64
ROW = np.dtype(
    [
        ("exact", np.uint64, 2),
        ("date", np.int64),
        ("order", np.uint64),
        ("id", f"S{ID_BYTES}"),
        ("overlaps", np.bool_),
    ]
)
NO_DATE = np.iinfo(np.int64).max


def write_sketches(
    shard: str, output: Path, *, ngram: int, n_hashes: int, evaluation: str | None, evaluation_ngram: int
) -> dict[str, Any]:
    """The sketch file of one shard of documents."""
    tests = np.load(evaluation) if evaluation else None
    rows, signatures = [], []
    for record in iter_records(shard):
        document = document_of(record)
        text = document["text"]
        words = word_hashes(text)
        overlaps = tests is not None and _overlaps(
            ngram_hashes(words, evaluation_ngram), words, tests, evaluation_ngram
        )
        name = document["id"].encode()
        rows.append(
            (
                exact_key(text, words),
                seconds_of(document["date"]),
                xxhash.xxh3_64_intdigest(name),
                name,
                overlaps,
            )
        )
        signatures.append(sketch(shingles(text, words, ngram), n_hashes))
    with atomic_write(output) as file:
        table = np.array(rows, dtype=ROW)
        stacked = np.array(signatures, dtype=np.uint32).reshape(len(rows), n_hashes)
        np.savez(file, rows=table, signatures=stacked)
    return {"n_in": len(rows), "n_kept": len(rows), "drops": {}}


def seconds_of(date: str | None) -> int:
    """An ISO date as seconds since 1970, so that earlier is smaller; unknown dates come last."""
    if not date:
        return NO_DATE
    try:
        moment = datetime.datetime.fromisoformat(date)
    except ValueError:
        return NO_DATE
    return int(moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp())


def evaluation_hashes(source: Path, ngram: int) -> Hashes:
    """The sorted hashes of all word n-grams of the texts in a file or folder."""
    parts = [ngram_hashes(word_hashes(document_of(record)["text"]), ngram) for record in iter_records(source)]
    return np.unique(np.concatenate(parts)) if parts else np.empty(0, dtype=np.uint64)


def _overlaps(hashes: Hashes, words: Hashes, tests: Hashes, ngram: int) -> bool:
    if len(words) < ngram or not len(tests):
        return False
    found = np.minimum(np.searchsorted(tests, hashes), len(tests) - 1)
    return bool(np.any(tests[found] == hashes))


@dataclass
class Corpus:
    """The sketches of all shards as columns; document i is row `i - starts[shard]` of its shard."""

    starts: npt.NDArray[np.int64]
    exact: npt.NDArray[np.uint64]  # (documents, 2)
    overlaps: npt.NDArray[np.bool_]
    rank: npt.NDArray[np.int64]  # 0 for the document that wins every comparison
    signatures: Any  # (documents, hashes), mapped
    keys: Any  # (bands, documents), mapped
    files: Sequence[Path]

    def ids(self, shard: int) -> npt.NDArray[np.bytes_]:
        """The ids of one shard's documents."""
        with np.load(self.files[shard]) as sketches:
            ids: npt.NDArray[np.bytes_] = sketches["rows"]["id"]
        return ids


def gather(files: Sequence[Path], folder: Path, *, n_hashes: int, bands: int, rows: int) -> Corpus:
    """Put the sketch files of all shards together; the mapped columns go into `folder`."""
    sizes = [len(table) for table in _each(files, "rows")]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    n = int(starts[-1])
    exact = np.empty((n, 2), dtype=np.uint64)
    date, order = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.uint64)
    overlaps = np.empty(n, dtype=np.bool_)
    signatures, keys = (
        _mapped(folder / "signatures", (n, n_hashes), np.uint32),
        _mapped(folder / "keys", (bands, n), np.uint64),
    )
    for start, table in zip(starts, _each(files, "rows")):
        part = slice(start, start + len(table))
        exact[part], date[part], order[part] = table["exact"], table["date"], table["order"]
        overlaps[part] = table["overlaps"]
    for start, table in zip(starts, _each(files, "signatures")):
        part = slice(start, start + len(table))
        signatures[part] = table
        keys[:, part] = band_keys(table, bands, rows)
    # Earliest first, then by the id's hash: a choice that does not depend on which shard a document is in.
    rank = np.empty(n, dtype=np.int64)
    rank[np.lexsort((order, date))] = np.arange(n)
    return Corpus(starts, exact, overlaps, rank, signatures, keys, files)


def _each(files: Sequence[Path], column: str) -> Iterator[Any]:
    for path in files:
        with np.load(path) as sketches:
            yield sketches[column]


def _mapped(path: Path, shape: tuple[int, int], dtype: Any) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    if 0 in shape:
        return np.empty(shape, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="w+", shape=shape)
