"""Training a vocabulary of 50,257 tokens: seconds and peak memory, beside rustbpe and Hugging Face's trainer.

    python benchmarks/tokenizer_train.py english=a.txt+b.txt mixed=c.txt [--rivals rustbpe huggingface] [--keep]
    python benchmarks/tokenizer_train.py large=d.txt --file --keep

Texts are plain files of documents joined by `<|endoftext|>`. Every program runs in a process of its own with two
threads, ours `--rounds` times and rivals once; the better time counts. The text is in memory before the clock starts,
and memory is what comes on top of it. With `--file` it is the command `fourhorn tokenizer train` that is measured, from
the file to the vocabulary, and memory is all that is resident. `--keep` keeps the rows of other texts.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.table import kept_rows, write_table

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
PROGRAMS = {"fourhorn": "llvmlite", "rustbpe": "rustbpe", "huggingface": "tokenizers"}


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


def command(path: Path) -> None:
    """Train from a file by the command, once."""
    from fourhorn.tokenizer.train import train

    with tempfile.TemporaryDirectory() as folder:
        clock, cpu = time.monotonic(), time.process_time()
        details = train(path, folder).details
        clock, cpu = time.monotonic() - clock, time.process_time() - cpu
    print(json.dumps({"seconds": clock, "cpu": cpu, "megabytes": megabytes("VmHWM")} | details))


def megabytes(field: str) -> float:
    """Memory of this process: `VmRSS` is resident now, `VmHWM` was at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) / 1e3


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
    Path("/proc/self/clear_refs").write_text("5")  # what was resident at most begins anew
    before = megabytes("VmRSS")
    clock, cpu = time.monotonic(), time.process_time()
    merges = train(documents)
    print(
        json.dumps(
            {
                "seconds": time.monotonic() - clock,
                "cpu": time.process_time() - cpu,
                "megabytes": megabytes("VmHWM") - before,
                "merges": merges,
                "first": first,
            }
        )
    )


def measure(kind: str, files: list[str], arguments: argparse.Namespace) -> list[list[str]]:
    """The rows of one text."""
    size = sum(os.path.getsize(path) for path in files) / 1e6
    best: dict[str, dict[str, float]] = {}
    programs = ["fourhorn"] if arguments.file else ["fourhorn", *arguments.rivals]
    for turn in range(arguments.rounds):
        for program in programs if turn == 0 else programs[:1]:
            if not importlib.util.find_spec(PROGRAMS[program]):
                continue
            call = [sys.executable, __file__, "--child", "command" if arguments.file else program, *files]
            environment = os.environ | {"RAYON_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "true"}
            out = subprocess.run(call, env=environment, check=True, capture_output=True, text=True).stdout
            result = json.loads(out.splitlines()[-1])
            print(kind, program, result, flush=True)
            if program not in best or result["seconds"] < best[program]["seconds"]:
                best[program] = result
    ours, rows = best["fourhorn"], []
    for program, result in best.items():
        ratio = f"{result['seconds'] / ours['seconds']:.1f}×, {result['megabytes'] / ours['megabytes']:.1f}×"
        cells = [f"{result['seconds']:.2f}", f"{result['cpu']:.2f}", f"{result['megabytes']:,.0f}"]
        if arguments.file:
            ratio = f"{result['n_distinct_pieces']:,.0f} distinct pieces"
            cells[-1] += " in all"
        name = f"{kind}, {size:,.0f} MB{' by the command' if arguments.file else ''}"
        rows.append([name, program, *cells, ratio if program != "fourhorn" or arguments.file else ""])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--rivals", nargs="*", default=["rustbpe", "huggingface"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--file", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--child")
    arguments = parser.parse_args()
    if arguments.child == "command":
        command(Path(arguments.texts[0]))
        return
    if arguments.child:
        child(arguments.child, [Path(path) for path in arguments.texts])
        return
    texts = {kind: paths.split("+") for kind, _, paths in (text.partition("=") for text in arguments.texts)}
    rows = [row for row in kept_rows(__file__) if row[0].split(",")[0] not in texts] if arguments.keep else []
    for kind, files in texts.items():
        rows += measure(kind, files, arguments)
    versions = [
        f"{n} {importlib.metadata.version(n)}" for n in PROGRAMS.values() if importlib.util.find_spec(n)
    ]
    absent = [p for p in arguments.rivals if not importlib.util.find_spec(PROGRAMS[p])]
    notes = [f"{', '.join(versions)}." + (f" Absent: {', '.join(absent)}." if absent else "")]
    head = ["text", "program", "seconds", "processor seconds", "MB on top of the text", "slower; more memory"]
    write_table(__file__, "Training a vocabulary of 50,257 tokens", head, rows, notes)


if __name__ == "__main__":
    main()
