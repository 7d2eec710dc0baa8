"""Claim: indexing and asking 8-grams is at least 20 times rbloom fed n-gram by n-gram, in the same run.

All contestants get the same documents in memory, count the same word 8-grams, and run on one core; MB are of UTF-8 text
per second of processor time. rbloom and Python's set are fed 8-grams as strings, each made by joining eight words of
`re.findall` over the lower-cased text: what a user writes with them. Five rounds, interleaved; the range is given.

    python benchmarks/memorization_throughput.py [english.txt.xz] [tokenizer folder]
"""

import argparse
import lzma
import re
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from table import write_table

from fourhorn.memorization.bloom import BloomFilter
from fourhorn.memorization.index import NgramIndex
from fourhorn.memorization.ngrams import NgramHasher, batches

DATA = Path(__file__).parents[2] / "shared" / "data"
N_ROUNDS = 5
N_TEST_NGRAMS = 1_000_000
SLOW_BYTES = 6_000_000  # of text for the contestants that are fed string by string
WORDS = re.compile(r"[^\W_]+")


def documents(path: Path, n_bytes: int) -> list[str]:
    """Documents of a text file joined by <|endoftext|>, up to so many bytes."""
    found, size = [], 0
    for text in lzma.open(path).read().decode().split("<|endoftext|>"):
        found.append(text)
        size += len(text.encode())
        if size > n_bytes:
            break
    return found


def strings(text: str) -> list[str]:
    """The word 8-grams of a text as strings."""
    words = WORDS.findall(text.lower())
    return [" ".join(words[i : i + 8]) for i in range(len(words) - 7)]


def timed(work) -> float:
    """Processor seconds of a call."""
    started = time.process_time()
    work()
    return time.process_time() - started


class Ours:
    """The index (stream) and the filter (bloom), on hashes."""

    def __init__(self, hasher: NgramHasher, texts: list[str]) -> None:
        self.hasher, self.batches = hasher, list(batches(texts))
        hashes = [hasher(batch)[0].copy() for batch in self.batches]
        every = np.concatenate(hashes)
        held = np.random.default_rng(0).integers(0, 2**64, N_TEST_NGRAMS, dtype=np.uint64)
        held[: N_TEST_NGRAMS // 100] = every[:: max(1, len(every) // (N_TEST_NGRAMS // 100))][
            : N_TEST_NGRAMS // 100
        ]
        self.index, self.n_ngrams = NgramIndex(held), len(every)
        self.filter = BloomFilter.sized(len(every))
        self.filter.add(every)
        self.found = np.zeros(1, dtype=bool)

    def hash_only(self) -> None:
        for batch in self.batches:
            self.hasher(batch)

    def stream(self) -> None:
        for batch in self.batches:
            self.index.mark(self.hasher(batch)[0])

    def add(self) -> None:
        for batch in self.batches:
            self.filter.add(self.hasher(batch)[0])

    def ask(self) -> None:
        for batch in self.batches:
            self.found = self.filter.contains(self.hasher(batch)[0])


def contestants(texts: list[str], few: list[str], tokenizer) -> dict[str, tuple[object, int]]:
    """Name → (work, bytes of text it does)."""
    size, small = (sum(len(t.encode()) for t in part) for part in (texts, few))
    words = Ours(NgramHasher(unit="words"), texts)
    found: dict[str, tuple[object, int]] = {
        "fourhorn, hash words only": (words.hash_only, size),
        "fourhorn, stream, words": (words.stream, size),
        "fourhorn, bloom, words, add": (words.add, size),
        "fourhorn, bloom, words, ask": (words.ask, size),
    }
    if tokenizer is not None:
        tokens = Ours(NgramHasher(unit="bpe", tokenizer=tokenizer), texts)
        found["fourhorn, stream, bpe"] = (tokens.stream, size)
        found["fourhorn, bloom, bpe, add"] = (tokens.add, size)
    members: set[str] = set()
    found["Python set, add"] = (lambda: [members.update(strings(text)) for text in few], small)
    found["Python set, ask"] = (lambda: [g in members for text in few for g in strings(text)], small)
    try:
        import rbloom
    except ImportError:
        return found
    filter_ = rbloom.Bloom(max(1, small // 5), 1e-8)

    def add() -> None:
        for text in few:
            for g in strings(text):
                filter_.add(g)

    def ask() -> None:
        for text in few:
            for g in strings(text):
                _ = g in filter_

    found["rbloom, add"], found["rbloom, ask"] = (add, small), (ask, small)
    return found


def main() -> None:
    """Run all contestants and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path, nargs="?", default=DATA / "text/english.txt.xz")
    parser.add_argument("tokenizer", type=Path, nargs="?", default=DATA / "gpt2-vocab")
    options = parser.parse_args()
    from fourhorn.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(options.tokenizer) if options.tokenizer.is_dir() else None
    works = contestants(documents(options.text, 1 << 30), documents(options.text, SLOW_BYTES), tokenizer)
    speeds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(N_ROUNDS):
        for name, (work, size) in works.items():
            speeds[name].append(size / 1e6 / timed(work))
    rows = []
    for name, found in speeds.items():
        rival = speeds.get("rbloom, ask" if name.endswith("ask") else "rbloom, add")
        ratio = f"{np.median(found) / np.median(rival):.1f}" if rival else "rbloom absent"
        rows.append((name, f"{min(found):.1f} to {max(found):.1f}", ratio))
    title = "Indexing and asking 8-grams: MB of text per second of one core"
    notes = [
        f"{', '.join(versions())}. {N_ROUNDS} rounds, interleaved. The index holds {N_TEST_NGRAMS:,} 8-grams, of which "
        "1 % occur; filters are sized for 1e-8 and all their text. `add` and `stream` stand beside rbloom's `add`."
    ]
    write_table(__file__, title, ("what", "MB/s per core, range", "times rbloom, median"), rows, notes)


def versions() -> list[str]:
    """The contestants' versions."""
    found = []
    for name in ("rbloom", "numba", "numpy"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    return found


if __name__ == "__main__":
    main()
