"""How much of a test set stands in the training text: the paper's Table 6, and per item for Figure 5.

§4: "the percentage of 8-grams from that dataset that are also found in the WebText training set". Each occurrence in
the test set counts once; the share among distinct n-grams is given beside it. n-grams never span two items.

In: test sets (`testsets.py`) and training text (record files or folders of shards).
Out, per test set: `destination/<test>.json` (`<test>.<against>.json` when `against` is not "webtext") with shares in
[0, 1], an interval over items, the distribution over items, speed and the bound on chance matches; and
`…items.jsonl` with `id`, `n_ngrams`, `n_hits` per item.

Two methods give the same answer: `stream` holds the test sets' n-grams and streams the training text past them
(`index.py`); `bloom` holds the training text in a filter, as the paper did (`bloom.py`). Raises `UserError`.
"""

import os
import queue
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fourhorn.errors import UserError, unknown
from fourhorn.files import version, write_json
from fourhorn.memorization import testsets
from fourhorn.memorization.bloom import BloomFilter
from fourhorn.memorization.index import NgramIndex
from fourhorn.memorization.ngrams import Encoder, Hashes, NgramHasher, batches, pieces
from fourhorn.progress import progress
from fourhorn.records import iter_texts, write_records

METHODS = ("stream", "bloom")
N_BOOTSTRAP = 1000
PIECE_CHARACTERS = 4 << 20
CDF_PERCENTS = (0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12.5, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100)


@dataclass
class HashedSet:
    """A test set as hashes: n-grams of all items in order, with the number per item."""

    name: str
    ids: list[str]
    counts: npt.NDArray[np.int64]
    hashes: Hashes


@dataclass
class Streamed:
    """What went past while the training text was read once."""

    n_documents: int = 0
    n_bytes: int = 0
    n_ngrams: int = 0
    seconds: float = 0.0


@dataclass
class Answer:
    """Which test n-grams the training text has, and what it took to find out."""

    found: npt.NDArray[np.bool_]
    streamed: Streamed
    index_bytes: int
    false_positive_bound: float

    def figures(self) -> dict[str, Any]:
        """The figures that every test set's result carries."""
        seconds = max(self.streamed.seconds, 1e-9)
        return {
            "train_bytes": self.streamed.n_bytes,
            "train_documents": self.streamed.n_documents,
            "train_ngrams": self.streamed.n_ngrams,
            "false_positive_bound": self.false_positive_bound,
            "index_bytes": self.index_bytes,
            "peak_memory_bytes": peak_memory_bytes(),
            "megabytes_per_second": round(self.streamed.n_bytes / 1e6 / seconds, 1),
        }


def overlap(
    tests: str | Path | Sequence[str | Path] | Mapping[str, str | Path],
    train: str | Path | Sequence[str | Path],
    destination: str | Path,
    *,
    tokenizer: str | Path | Encoder | None = None,
    unit: str = "bpe",
    ngram: int = 8,
    method: str = "stream",
    against: str = "webtext",
    bloom: str | Path | None = None,
    false_positive_rate: float = 1e-8,
    n_threads: int = 0,
) -> dict[str, dict[str, Any]]:
    """Measure the n-gram overlap of test sets with training text and write one JSON file per test set.

    Args:
        tests: test sets, each PATH or NAME=PATH: a set in its official format, records, samples, or a folder of sets.
        train: training text: record files or folders of shards.
        destination: folder for the results.
        tokenizer: vocabulary for the unit `bpe`: a folder or file, as `fourhorn tokenizer` takes.
        unit: `bpe` tokens of the normalized text (the paper's) or `words`.
        ngram: length of an n-gram, in units; the paper's is 8.
        method: `stream` (exact, tens of megabytes) or `bloom` (a filter over the training text, as in the paper).
        against: a name for the training text; Table 6 compares `webtext` with each set's `own` training part.
        bloom: a saved filter to ask instead of reading the training text (with `--method bloom`).
        false_positive_rate: bound for the filter; the paper's is 1e-8.
        n_threads: threads; 0 is one per processor, at most 8.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    named = named_tests(tests)
    hasher = NgramHasher(unit=unit, n=ngram, tokenizer=load_tokenizer(tokenizer) if unit == "bpe" else None)
    n_threads = n_threads or min(8, os.cpu_count() or 1)
    sets = [hashed(name, items, hasher) for name, items in named.items()]
    sources = [train] if isinstance(train, str | Path) else list(train)
    if not sources and bloom is None:
        raise UserError("No training text is given: --train webtext/train, or --method bloom --bloom FILE.")
    started = time.monotonic()
    hashes = np.concatenate([s.hashes for s in sets]) if sets else np.zeros(0, dtype=np.uint64)
    answer = ask(hashes, sources, hasher, method, bloom, false_positive_rate, n_threads)
    common = {"against": against, "ngram": ngram, "unit": unit, "method": method, **answer.figures()}
    common["tokenizer_sha256"] = hasher.digest
    common |= {"n_threads": n_threads, "seconds": round(time.monotonic() - started, 3), "version": version()}
    results, first = {}, 0
    for test in sets:
        hits = answer.found[first : first + len(test.hashes)]
        first += len(test.hashes)
        results[test.name] = {"test": test.name, **measure(test, hits), **common}
        write(Path(destination), results[test.name], test, hits)
    return results


def ask(
    hashes: Hashes,
    sources: Sequence[str | Path],
    hasher: NgramHasher,
    method: str,
    bloom: str | Path | None,
    rate: float,
    n_threads: int,
) -> Answer:
    """Find out by one of the two methods which of `hashes` the training text has."""
    if method == "stream":
        index = NgramIndex(hashes)
        streamed = stream(sources, hasher, index.mark, n_threads=n_threads)
        return Answer(index.found(), streamed, index.n_bytes, index.collision_bound(streamed.n_ngrams))
    if bloom is None:
        filter_, streamed = filled(sources, hasher, rate, n_threads)
    else:
        filter_ = opened(bloom, hasher)
        streamed = Streamed(n_ngrams=filter_.n_added)
    return Answer(filter_.contains(hashes), streamed, filter_.lanes.nbytes, filter_.present_rate())


def named_tests(
    tests: str | Path | Sequence[str | Path] | Mapping[str, str | Path],
) -> dict[str, list[testsets.Item]]:
    """The items of every test set by name; two of one name are a `UserError`.

    Of the same set in two folders of sets the later counts, as official sets do over those cut from held-out text.
    """
    if isinstance(tests, Mapping):
        pairs = [(name, Path(path)) for name, path in tests.items()]
    else:
        pairs = [_name_path(str(t)) for t in ([tests] if isinstance(tests, str | Path) else tests)]
    named: dict[str, list[testsets.Item]] = {}
    in_folders: set[str] = set()
    for name, path in pairs:
        for found, items in testsets.read_sets(path, name).items():
            of_folder = path.is_dir() and found != name
            if found in named and not (of_folder and found in in_folders):
                raise UserError(f"Two test sets are called {found!r}, one of them {path}. Write NAME=PATH.")
            if "/" in found or found.startswith("."):
                raise UserError(f"{found!r} cannot name a test set; use letters, digits, - and _.")
            named[found] = items
            in_folders |= {found} if of_folder else set()
    if not named:
        raise UserError("No test set is given: fourhorn overlap webtext/test --train webtext/train.")
    return named


def _name_path(test: str) -> tuple[str, Path]:
    name, equals, path = test.partition("=")
    return (name, Path(path)) if equals and "/" not in name else ("", Path(test))


def load_tokenizer(tokenizer: str | Path | Encoder | None) -> Encoder | None:
    """A tokenizer from a path, or as it was given."""
    if isinstance(tokenizer, str | Path):
        from fourhorn.tokenizer import Tokenizer

        return Tokenizer.load(tokenizer)
    return tokenizer


def hashed(name: str, items: Sequence[testsets.Item], hasher: NgramHasher) -> HashedSet:
    """Hash a test set."""
    hashes, counts = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
    for batch in batches(text for _, text in items):
        batch_hashes, batch_counts = hasher(batch)
        hashes.append(batch_hashes.copy())
        counts.append(batch_counts)
    return HashedSet(name, [id for id, _ in items], np.concatenate(counts), np.concatenate(hashes))


def train_texts(sources: Iterable[str | Path], n: int, streamed: Streamed) -> Iterator[str]:
    """The training texts, counted; long ones in pieces."""
    for source in sources:
        for text in iter_texts(source):
            streamed.n_documents += 1
            if len(text) <= PIECE_CHARACTERS:
                yield text
                continue
            shared = -len(text.encode("utf-8", errors="replace"))  # pieces overlap; count each byte once
            for piece in pieces(text, n, PIECE_CHARACTERS):
                shared += len(piece.encode("utf-8", errors="replace"))
                yield piece
            streamed.n_bytes -= shared


def stream(
    sources: Sequence[str | Path],
    hasher: NgramHasher,
    use: Callable[[Hashes], Any],
    *,
    n_threads: int = 1,
    in_order: bool = False,
) -> Streamed:
    """Hash all training text in `n_threads` threads and give every batch of hashes to `use`.

    `use` is called in the threads, or with `in_order` by the caller alone, batch after batch.
    """
    streamed, started = Streamed(), time.monotonic()
    hashers: queue.SimpleQueue[NgramHasher] = queue.SimpleQueue()
    for _ in range(n_threads):
        hashers.put(hasher.twin())

    def work(batch: list[str]) -> tuple[int, int, Hashes | None]:
        mine = hashers.get()
        try:
            hashes, _ = mine(batch)
            if in_order:
                return mine.n_bytes, len(hashes), hashes.copy()
            use(hashes)
            return mine.n_bytes, len(hashes), None
        finally:
            hashers.put(mine)

    def finish(future: "Future[tuple[int, int, Hashes | None]]") -> None:
        n_bytes, n_ngrams, hashes = future.result()
        if hashes is not None:
            use(hashes)
        streamed.n_bytes += n_bytes
        streamed.n_ngrams += n_ngrams
        bar.update(n_bytes / 1e6)

    with progress("overlap", unit="MB") as bar, ThreadPoolExecutor(n_threads) as pool:
        waiting: list[Future[tuple[int, int, Hashes | None]]] = []
        for batch in batches(train_texts(sources, hasher.n, streamed)):
            waiting.append(pool.submit(work, batch))
            if len(waiting) > n_threads:
                finish(waiting.pop(0))
        for future in waiting:
            finish(future)
    streamed.seconds = time.monotonic() - started
    return streamed


def build_filter(
    train: Sequence[str | Path],
    *,
    tokenizer: str | Path | Encoder | None = None,
    unit: str = "bpe",
    ngram: int = 8,
    n_items: int = 0,
    false_positive_rate: float = 1e-8,
    n_threads: int = 0,
) -> BloomFilter:
    """A filter over training text; without `n_items` the text is read once more to count its n-grams."""
    hasher = NgramHasher(unit=unit, n=ngram, tokenizer=load_tokenizer(tokenizer) if unit == "bpe" else None)
    n_threads = n_threads or min(8, os.cpu_count() or 1)
    return filled(train, hasher, false_positive_rate, n_threads, n_items)[0]


def filled(
    sources: Sequence[str | Path], hasher: NgramHasher, rate: float, n_threads: int, n_items: int = 0
) -> tuple[BloomFilter, Streamed]:
    """A filter over the training text, large enough for all its n-grams even if no two were equal."""
    counted = Streamed(n_ngrams=n_items)
    if not n_items:
        counted = stream(sources, hasher, lambda hashes: None, n_threads=n_threads)
    filter_ = BloomFilter.sized(
        max(1, counted.n_ngrams), rate, ngram=hasher.n, unit=hasher.unit, tokenizer_sha256=hasher.digest
    )
    streamed = stream(sources, hasher, filter_.add, n_threads=n_threads, in_order=True)
    if n_items and streamed.n_ngrams > n_items:
        raise UserError(
            f"The training text has {streamed.n_ngrams:,} n-grams, more than --n-items {n_items:,}: "
            "the filter would not keep its rate. Give a larger number, or none to have them counted."
        )
    streamed.seconds += counted.seconds
    return filter_, streamed


def opened(path: str | Path, hasher: NgramHasher) -> BloomFilter:
    """A saved filter, which must hold n-grams of the kind that are asked for."""
    filter_ = BloomFilter.load(path)
    held = filter_.shape.ngram, filter_.shape.unit, filter_.shape.tokenizer_sha256
    if held != (hasher.n, hasher.unit, hasher.digest):
        kind = f"{held[0]}-grams of {held[1]}" + (
            " of another tokenizer" if held[1] == hasher.unit == "bpe" else ""
        )
        raise UserError(f"{path} holds {kind}; asked were {hasher.n}-grams of {hasher.unit}.")
    return filter_


# ------------------------------------------------------------------------------------------------ figures of a set


def measure(test: HashedSet, hits: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Overlap of a test set: of occurrences, of distinct n-grams, and over its items."""
    per_item = hits_per_item(test, hits)
    unique, first = np.unique(test.hashes, return_index=True)
    n_unique_hits = int(hits[first].sum())
    n, n_hits = len(hits), int(hits.sum())
    low, high = interval(test.counts, per_item)
    shares = per_item[test.counts > 0] / test.counts[test.counts > 0]
    items: dict[str, Any] = {"n": len(test.ids), "n_with_ngrams": len(shares)}
    if len(shares):
        items |= {
            "n_with_hits": int((shares > 0).sum()),
            "share_without_hits": float((shares == 0).mean()),
            "mean": float(shares.mean()),
            "median": float(np.median(shares)),
            "most": float(shares.max()),
            "cdf": [[p, round(float((shares * 100 <= p + 1e-9).mean()), 6)] for p in CDF_PERCENTS],
        }
    return {
        "n_ngrams": n,
        "n_hits": n_hits,
        "overlap": n_hits / n if n else None,
        "low": low,
        "high": high,
        "n_unique": len(unique),
        "n_unique_hits": n_unique_hits,
        "unique_overlap": n_unique_hits / len(unique) if n else None,
        "items": items,
    }


def hits_per_item(test: HashedSet, hits: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """How many n-grams of each item are in the training text."""
    ends = np.cumsum(test.counts)
    running = np.concatenate([[0], np.cumsum(hits)])
    return np.asarray(running[ends] - running[ends - test.counts], dtype=np.int64)


def interval(counts: npt.NDArray[np.int64], hits: npt.NDArray[np.int64]) -> tuple[float | None, float | None]:
    """A 95 % interval of the overlap by drawing items anew; None where these say nothing of others.

    That is below ten items, and where the share of every item is the same.
    """
    shares = hits[counts > 0] / counts[counts > 0]
    if len(counts) < 10 or not len(shares) or shares.min() == shares.max():
        return None, None
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(N_BOOTSTRAP if len(counts) <= 20_000 else 200):
        chosen = generator.integers(0, len(counts), len(counts))
        draws.append(hits[chosen].sum() / max(1, counts[chosen].sum()))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def write(destination: Path, result: dict[str, Any], test: HashedSet, hits: npt.NDArray[np.bool_]) -> None:
    """Write a test set's summary and its items."""
    name = test.name if result["against"] == "webtext" else f"{test.name}.{result['against']}"
    per_item = hits_per_item(test, hits)
    rows = (
        {"id": i, "n_ngrams": int(n), "n_hits": int(h)} for i, n, h in zip(test.ids, test.counts, per_item)
    )
    write_records(destination / f"{name}.items.jsonl", rows)
    write_json(destination / f"{name}.json", result)


def peak_memory_bytes() -> int:
    """The most memory this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
