"""Encoding speed with the released vocabulary, one core and two threads, beside the fastest tokenizers there are.

    python benchmarks/tokenizer_encode.py --vocabulary FOLDER english=english.txt code=code.txt …

Texts are plain files of documents joined by `<|endoftext|>`. Programs take turns; per program the best of all rounds
counts. One core: processor time of a pinned process. Two threads: time on the clock. What the second thread brings is
the median over turns of two threads and then one; a loop that works in registers alone takes its turns beside them and
shows what the second core of this machine is worth at all. "Unseen" is the first text for programs made anew and warmed
on two documents of the last one, the best of three such.
"""

import argparse
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numba
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from fourhorn.tokenizer import Tokenizer

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
RESULTS = Path(__file__).parent / "results" / "tokenizer_encode.md"
UNSEEN_ROUNDS = 3
SAMPLE_BYTES = {
    "tiktoken, lists": 6e6,
    "tiktoken, numpy": 6e6,
    "tokenizers": 2e6,
}  # of slow programs, per round


GAIN, GAIN_ROUNDS = "the second thread", 15


def version(name: str) -> str:
    return importlib.metadata.version(name)


def programs(folder: Path, n_threads: int) -> dict[str, tuple[str, Callable[[Any], Any]]]:
    """name → (takes "bytes" or "str", function from documents to whatever it returns)."""
    ours = Tokenizer.load(folder)
    found: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "fourhorn": ("bytes", lambda d: ours.encode_documents(d, n_threads=n_threads)[0]),
    }
    if n_threads > 1:  # in turns with the other, on the same clock: how much a second thread brings
        found["fourhorn, one thread"] = ("bytes", lambda d: ours.encode_documents(d)[0])
    with tempfile.TemporaryDirectory() as name:
        ours.save(name, format="huggingface")
        path = str(Path(name) / "tokenizer.json")
        try:
            import tiktoken

            ranks = {d: i for i, d in ours.vocabulary.bytes_of_id.items() if i != ours.eot}
            theirs = tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
            if n_threads == 1:
                found["tiktoken, lists"] = ("str", lambda d: [theirs.encode_ordinary(t) for t in d])
                found["tiktoken, numpy"] = ("str", lambda d: [theirs.encode_to_numpy(t) for t in d])
            else:
                found["tiktoken, lists"] = (
                    "str",
                    lambda d: theirs.encode_ordinary_batch(d, num_threads=n_threads),
                )
        except ImportError:
            print("tiktoken is absent")
        try:
            import gigatoken

            giga = gigatoken.Tokenizer(path)
            found["gigatoken"] = ("bytes", lambda d: giga.encode_batch(d, parallel=n_threads > 1))
        except ImportError:
            print("gigatoken is absent")
        try:
            import fastokens

            fast = fastokens._native.Tokenizer.from_file(path)
            found["fastokens"] = ("str", lambda d: fast.encode_batch_flat(d))
        except ImportError:
            print("fastokens is absent")
        try:
            import tokenizers

            face = tokenizers.Tokenizer.from_file(path)
            found["tokenizers"] = ("str", lambda d: face.encode_batch_fast(d))
        except ImportError:
            print("tokenizers is absent")
    return found


def sample(documents: list[bytes], n_bytes: float, turn: int) -> list[bytes]:
    """About `n_bytes` of documents spread over all of them; others in each turn."""
    step = max(int(sum(map(len, documents)) / n_bytes), 1)
    return documents[turn % step :: step]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def in_registers(n: int) -> int:
    """Work that touches no memory: four independent shifting registers, `n` times."""
    a, b, c, d = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(5)
    for _ in range(n):
        a ^= a << np.uint64(13)
        a ^= a >> np.uint64(7)
        b ^= b << np.uint64(13)
        b ^= b >> np.uint64(7)
        c ^= c << np.uint64(13)
        c ^= c >> np.uint64(7)
        d ^= d << np.uint64(13)
        d ^= d >> np.uint64(7)
    return a ^ b ^ c ^ d


def register_loops(n_threads: int) -> float:
    """Loops a second of so many threads at once."""
    started = time.perf_counter()
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(in_registers, [20_000_000] * n_threads))
    return n_threads / (time.perf_counter() - started)


def measure(folder: Path, texts: dict[str, Path], n_threads: int, rounds: int) -> None:
    """Print one line `text<TAB>program<TAB>MB/s first<TAB>best` per measurement."""
    clock = time.process_time if n_threads == 1 else time.perf_counter
    documents = {
        k: [d for d in p.read_bytes().split(b"<|endoftext|>") if d.strip()] for k, p in texts.items()
    }
    first, last = next(iter(texts)), list(texts)[-1]

    def speed(name: str, takes: str, encode: Callable[[Any], Any], kind: str, turn: int) -> float:
        work: list[Any] = documents[kind]
        if name in SAMPLE_BYTES:
            work = sample(work, SAMPLE_BYTES[name] * n_threads, turn)
        n_bytes = sum(map(len, work))
        if takes == "str":
            work = [d.decode() for d in work]
        started = clock()
        result = encode(work)
        seconds = clock() - started
        del result
        return n_bytes / 1e6 / seconds

    unseen: dict[str, float] = {}
    for turn in range(UNSEEN_ROUNDS):  # each with programs made anew, so that nobody has seen the text
        found = programs(folder, n_threads)
        for name, (takes, encode) in found.items():
            encode(documents[last][:2] if takes == "bytes" else [d.decode() for d in documents[last][:2]])
            unseen[name] = max(unseen.get(name, 0.0), speed(name, takes, encode, first, turn))
    for kind in texts:
        speeds: dict[str, list[float]] = {name: [] for name in found}
        for turn in range(rounds):
            for name, (takes, encode) in found.items():
                speeds[name].append(speed(name, takes, encode, kind, turn))
        for name, rates in speeds.items():
            print(f"{kind}\t{name}\t{unseen.get(name, 0.0):.1f}\t{max(rates):.1f}", flush=True)
        if n_threads > 1:
            pair = ("fourhorn", "fourhorn, one thread")
            gains = []
            for turn in range(GAIN_ROUNDS):
                many, one = (speed(name, *found[name], kind, turn) for name in pair)
                gains.append((many / one, register_loops(n_threads) / register_loops(1)))
            ours, host = (statistics.median(gain) for gain in zip(*gains, strict=True))
            print(f"{kind}\t{GAIN}\t{ours}\t{host}", flush=True)


def child(arguments: argparse.Namespace, n_threads: int) -> dict[tuple[str, str], tuple[float, float]]:
    """Measure in a process of its own, pinned to one core where one thread is measured."""
    command = [sys.executable, __file__, "--child", str(n_threads), "--rounds", str(arguments.rounds)]
    command += ["--vocabulary", str(arguments.vocabulary), *arguments.texts]
    out = subprocess.run(
        command,
        env=os.environ | {"RAYON_NUM_THREADS": str(n_threads)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    rows = [line.split("\t") for line in out.splitlines() if "\t" in line]
    return {(kind, name): (float(first), float(best)) for kind, name, first, best in rows}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", type=int, default=0)
    arguments = parser.parse_args()
    texts = {name: Path(path) for name, _, path in (text.partition("=") for text in arguments.texts)}
    if arguments.child:
        if arguments.child == 1 and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        measure(arguments.vocabulary, texts, arguments.child, arguments.rounds)
        return
    table = [report(child(arguments, n), texts, n) for n in (1, 2)]
    names = ("llvmlite", "numpy", "tiktoken", "gigatoken", "fastokens", "tokenizers")
    versions = ", ".join(f"{name} {version(name)}" for name in names if importlib.util.find_spec(name))
    cpu = next(
        (x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")),
        platform.machine(),
    )
    head = f"{date.today()}, {cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}.\n"
    text = f"# Encoding speed\n\n{head}\n" + "\n".join(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text)
    print(text)


def report(rates: dict[tuple[str, str], tuple[float, float]], texts: dict[str, Path], n_threads: int) -> str:
    """A Markdown table: MB/s (million bytes of UTF-8 a second) and how many times tiktoken's lists."""
    names = list(dict.fromkeys(name for _, name in rates))
    unseen = next(iter(texts))
    columns = [(f"{unseen}, unseen", unseen, 0), *((kind, kind, 1) for kind in texts)]
    lines = [f"{'One core' if n_threads == 1 else f'{n_threads} threads'}, MB/s (× tiktoken's lists):", ""]
    lines += [
        "| | " + " | ".join(title for title, _, _ in columns) + " |",
        "| --- |" + " --- |" * len(columns),
    ]
    for name in (name for name in names if name != GAIN):
        cells = []
        for _, kind, which in columns:
            # the base is tiktoken's best on this text, seen before or not, so that no ratio is flattered
            first_time, best = rates.get((kind, "tiktoken, lists"), (0.0, 0.0))
            base = max(first_time, best) if kind == unseen else best
            rate = rates[kind, name][which]
            cells.append(f"{rate:.1f} ({rate / base:.1f}×)" if base else f"{rate:.1f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if n_threads > 1:
        own, host = (", ".join(f"{kind} {rates[kind, GAIN][i]:.2f}×" for kind in texts) for i in (0, 1))
        lines += [
            "",
            f"The second thread brings fourhorn on {own}; a loop in registers between them: {host}. Medians of "
            f"{GAIN_ROUNDS} turns of two threads, then one.",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import importlib.util

    np.seterr(all="ignore")
    main()
