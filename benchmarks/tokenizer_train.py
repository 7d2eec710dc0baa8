"""Training a vocabulary of 50,257 tokens: seconds and peak memory, beside rustbpe and Hugging Face's trainer.

    python benchmarks/tokenizer_train.py english=a.txt+b.txt mixed=c.txt [--rivals rustbpe huggingface]

Texts are plain files of documents joined by `<|endoftext|>`. Every program runs in a process of its own, twice, with
two threads; the better time counts, on the clock and of the processor. The text is in memory before the clock starts,
memory is what comes on top of it. Numba's code is compiled before (`first` is the time that takes once).
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.table import write_table

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
PROGRAMS = {"fourhorn": "numba", "rustbpe": "rustbpe", "huggingface": "tokenizers"}


def fourhorn(documents: list[bytes]) -> int:
    from fourhorn.tokenizer.counter import FastCounter
    from fourhorn.tokenizer.source import batches

    counter = FastCounter(2)
    counter.count(batches(documents))
    return len(counter.merge(50_000, 1, lambda n: None))


def rustbpe(documents: list[str]) -> int:
    import rustbpe as rival

    tokenizer = rival.Tokenizer()
    tokenizer.train_from_iterator(iter(documents), 50_256, pattern=PATTERN)
    return len(tokenizer.get_mergeable_ranks()) - 256


def huggingface(documents: list[str]) -> int:
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=50_256, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer.get_vocab_size() - 256


def child(program: str, paths: list[Path]) -> None:
    """Train once and print seconds, processor seconds, bytes of memory on top of the text, merges."""
    train: Callable[[list], int] = {"fourhorn": fourhorn, "rustbpe": rustbpe, "huggingface": huggingface}[
        program
    ]
    documents: list = [d for path in paths for d in path.read_bytes().split(b"<|endoftext|>")]
    if program != "fourhorn":
        documents = [document.decode() for document in documents]
    first = time.monotonic()
    train(documents[:1] if program != "fourhorn" else [b"warm up, it's 12 " + b"x" * 40])
    first = time.monotonic() - first
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock, cpu = time.monotonic(), time.process_time()
    merges = train(documents)
    print(
        json.dumps(
            {
                "seconds": time.monotonic() - clock,
                "cpu": time.process_time() - cpu,
                "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3,
                "merges": merges,
                "first": first,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--rivals", nargs="*", default=["rustbpe", "huggingface"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--child")
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, [Path(path) for path in arguments.texts])
        return
    rows = []
    for text in arguments.texts:
        kind, _, paths = text.partition("=")
        files = paths.split("+")
        size = sum(os.path.getsize(path) for path in files) / 1e6
        best: dict[str, dict[str, float]] = {}
        for _ in range(arguments.rounds):
            for program in ["fourhorn", *arguments.rivals]:
                if not importlib.util.find_spec(PROGRAMS[program]):
                    continue
                command = [sys.executable, __file__, "--child", program, *files]
                environment = os.environ | {"RAYON_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "true"}
                out = subprocess.run(
                    command, env=environment, check=True, capture_output=True, text=True
                ).stdout
                result = json.loads(out.splitlines()[-1])
                print(kind, program, result, flush=True)
                if program not in best or result["cpu"] < best[program]["cpu"]:
                    best[program] = result
        ours = best["fourhorn"]
        for program, result in best.items():
            ratio = f"{result['seconds'] / ours['seconds']:.1f}× / {result['cpu'] / ours['cpu']:.1f}×"
            cells = [f"{result['seconds']:.2f}", f"{result['cpu']:.2f}", f"{result['megabytes']:,.0f}"]
            rows.append([f"{kind}, {size:.0f} MB", program, *cells, "" if program == "fourhorn" else ratio])
    versions = [
        f"{n} {importlib.metadata.version(n)}" for n in PROGRAMS.values() if importlib.util.find_spec(n)
    ]
    absent = [p for p in arguments.rivals if not importlib.util.find_spec(PROGRAMS[p])]
    notes = [f"{', '.join(versions)}." + (f" Absent: {', '.join(absent)}." if absent else "")]
    head = [
        "text",
        "program",
        "seconds",
        "processor seconds",
        "MB on top of the text",
        "slower: clock / processor",
    ]
    write_table(__file__, "Training a vocabulary of 50,257 tokens", head, rows, notes)


if __name__ == "__main__":
    main()
