"""The worst that text can do: a megabyte of one thing, encoded and learned from; start-up, decoding, file → shards.

    python benchmarks/tokenizer_limits.py --vocabulary FOLDER [--shards text.txt]

Times are of the processor, the best of two or more. Rival: tiktoken, for encoding, for `decode_bytes`, and for a
pipeline of the usual kind: split a file into documents, `encode_to_numpy` each, append `<|endoftext|>`, write uint16.
It uses one thread and `fourhorn tokens` two; both are measured on the clock and in processor time. Memory is the most
that was resident.
"""

import argparse
import importlib.metadata
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.table import write_table
from fourhorn.tokenizer import Tokenizer

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""


def adversarial(n: int) -> dict[str, str]:
    rng = random.Random(0)
    return {
        "a": "a" * n,
        "space": " " * n,
        "line feed": "\n" * n,
        "1": "1" * n,
        "^": "^" * n,
        "random digits": "".join(rng.choices("0123456789", k=n)),
        "random letters": "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=n)),
        "ab": "ab" * (n // 2),
        "random CJK": "".join(map(chr, rng.choices(range(0x4E00, 0x9FFF), k=n // 3))),
        "random Unicode": "".join(map(chr, rng.choices(range(0x20, 0xD800), k=n // 3))),
        "'s": "'s" * (n // 2),
    }


def seconds(function: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> float:
    started = clock()
    function()
    return clock() - started


def tiktoken_encoding(ours: Tokenizer) -> Any:
    import tiktoken

    ranks = {data: i for i, data in ours.vocabulary.bytes_of_id.items() if i != ours.eot}
    return tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})


def child(what: str, vocabulary: Path, text: Path) -> None:
    """One pipeline in a process of its own."""
    clock = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if what == "fourhorn":
            from fourhorn.tokenizer.tokens import tokens

            (warm := Path(folder) / "w.txt").write_text("warm up")
            tokens(warm, Path(folder) / "warm", tokenizer=vocabulary)
            clock, cpu = time.monotonic(), time.process_time()
            n = tokens(text, Path(folder) / "out", tokenizer=vocabulary).details["n_tokens"]
        else:
            theirs = tiktoken_encoding(Tokenizer.load(vocabulary))
            clock, cpu, n = time.monotonic(), time.process_time(), 0
            with open(Path(folder) / "out.bin", "wb") as out:
                for document in text.read_text(encoding="utf-8").split("<|endoftext|>"):
                    ids = np.append(theirs.encode_to_numpy(document).astype(np.uint16), np.uint16(50256))
                    out.write(ids.tobytes())
                    n += len(ids)
        result = {"seconds": time.monotonic() - clock, "cpu": time.process_time() - cpu, "tokens": n}
        status = Path("/proc/self/status").read_text()  # ru_maxrss would begin with the parent's
        peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1e3
        print(json.dumps(result | {"megabytes": peak}))


def pipelines(vocabulary: Path, text: Path) -> list[list[object]]:
    rows = []
    for what in ("fourhorn", "tiktoken"):
        command = [
            sys.executable,
            __file__,
            "--child",
            what,
            "--vocabulary",
            str(vocabulary),
            "--shards",
            str(text),
        ]
        best: dict[str, float] = {}
        for _ in range(3):
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            result = json.loads(out.splitlines()[-1])
            best = result if not best or result["seconds"] < best["seconds"] else best
        size = os.path.getsize(text) / 1e6
        rates = (
            f"{size / best['seconds']:.1f} MB/s on the clock, {size / best['cpu']:.1f} per processor second"
        )
        rows.append(
            [f"{text.name} → shards, {size:.0f} MB", what, f"{rates}, {best['megabytes']:.0f} MB resident"]
        )
        print(rows[-1], flush=True)
    return rows


def starts(vocabulary: Path) -> list[list[object]]:
    """Seconds from the start of a process, without Python's own, to the ids of a first text."""
    code = (
        "import time; clock, cpu = time.perf_counter(), time.process_time()\n"
        "from fourhorn.tokenizer import Tokenizer\n"
        f"Tokenizer.load({str(vocabulary)!r}).encode_ordinary('hello')\n"
        "print(time.perf_counter() - clock, time.process_time() - cpu)"
    )

    def start(folder: str | None) -> list[float]:
        environment = os.environ | ({"FOURHORN_CACHE_DIR": folder} if folder else {})
        command = [sys.executable, "-c", code]
        root = Path(__file__).parent.parent
        return [float(word) for word in subprocess.check_output(command, cwd=root, env=environment).split()]

    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        first = start(folder)
    for what, times in (
        ("", min(start(None) for _ in range(5))),
        (", the first time: kernels are compiled", first),
    ):
        name = f"start: import, load the vocabulary, encode a word{what}"
        rows.append([name, "fourhorn", f"{times[0]:.2f} s on the clock, {times[1]:.2f} s of the processor"])
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--child")
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.vocabulary, arguments.shards)
        return
    ours = Tokenizer.load(arguments.vocabulary)
    theirs = tiktoken_encoding(ours)
    ours.encode_ordinary("warm up")
    Tokenizer.train(["warm up"], n_vocab=257)
    rows: list[list[object]] = []
    for kind, text in adversarial(1_000_000).items():
        mine = min(seconds(lambda: ours.encode_to_numpy(text)) for _ in range(2))  # noqa: B023
        rival = min(seconds(lambda: theirs.encode_to_numpy(text)) for _ in range(2))  # noqa: B023
        learn = min(seconds(lambda: Tokenizer.train([text], n_vocab=50257)) for _ in range(2))  # noqa: B023
        rows.append(
            [
                f"1 MB of {kind}",
                "fourhorn; tiktoken",
                f"encode {mine:.3f} s; {rival:.3f} s. Learn {learn:.3f} s",
            ]
        )
        print(rows[-1], flush=True)
    rows += starts(arguments.vocabulary)
    if arguments.shards:
        sample = arguments.shards.read_bytes()[:40_000_000]
        ids = ours.encode_to_numpy(sample)
        part = ids[: len(ids) // 8].tolist()
        mine, rival = float("inf"), float("inf")
        for _ in range(20):
            mine = min(mine, seconds(lambda: ours.decode_bytes(ids)))
            rival = min(rival, 8 * seconds(lambda: theirs.decode_bytes(part)))
        rows.append(
            [
                "decode",
                "fourhorn; tiktoken",
                f"{40 / mine:.0f} MB/s; {40 / rival:.0f} MB/s: {rival / mine:.1f}×",
            ]
        )
        rows += pipelines(arguments.vocabulary, arguments.shards)
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("tiktoken", "llvmlite", "numpy")]
    write_table(
        __file__, "Limits of the tokenizer", ["what", "program", "result"], rows, [f"{', '.join(versions)}."]
    )


if __name__ == "__main__":
    main()
