"""Hostile weights, vocabularies and token shards: thousands of mutated files for every reader.

Each mutated file must end in its content or in one `UserError` of one line, within 2 s, and within twice the size of
the files plus 64 MB of memory. Half of a reader's promise shows with small files, whose headers are hit often; the
memory bound shows with files of many megabytes. `tests/checkpoints/test_bounds.py` runs a sample of the same campaign.

    python benchmarks/checkpoints_mutations.py [--mutations 10000] [--large 300] [READER…]
"""

import argparse
import ctypes
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from fourhorn.checkpoints import gguf, huggingface, llmc, nanogpt, native, openai
from fourhorn.checkpoints.load import read
from fourhorn.checkpoints.names import Checkpoint
from fourhorn.errors import UserError
from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.records import write_records
from fourhorn.tokenizer.tokenizer import Tokenizer
from fourhorn.tokenizer.tokens import TokenShards, tokens

MAX_SECONDS, MAX_EXTRA_BYTES = 2.0, 64 << 20
SMALL = {"n_layer": 1, "n_embd": 32, "n_vocab": 290}
LARGE = {"n_layer": 6, "n_embd": 256, "n_vocab": 10_000}
EXTREMES = [
    0,
    1,
    2,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**63 - 1,
    2**63,
    2**64 - 1,
]
TEXT = "the four horns of the unicorn in the silver valley 🦄 é " * 9


@dataclass
class Reader:
    """How the sound files are made, which of them are mutated, and what reads them."""

    make: Callable[[Checkpoint, Path], object]
    files: list[str]
    read: Callable[[Path], object] = read


@dataclass
class Outcome:
    """What a campaign saw."""

    n_bytes: int
    n_mutations: int
    slowest_seconds: float = 0.0
    memory_bytes: int = 0
    refusals: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)

    @property
    def is_held(self) -> bool:
        """Whether every promise was kept."""
        one_line = all("\n" not in message and len(message) < 2_000 for message in self.refusals)
        in_bounds = self.slowest_seconds < MAX_SECONDS and self.memory_bytes < self.allowed_bytes
        return not self.crashes and one_line and in_bounds

    @property
    def allowed_bytes(self) -> int:
        """Memory that a reader may take."""
        return 2 * self.n_bytes + MAX_EXTRA_BYTES


def make_shards(checkpoint: Checkpoint, folder: Path) -> None:
    """Token shards with as many bytes as the weights, roughly."""
    n_documents = max(20, 2 * checkpoint.weights["h.0.mlp.c_fc.weight"].numel() // 100)
    source = folder.parent / "documents.jsonl"
    write_records(source, [{"text": f"{i} {TEXT}"} for i in range(n_documents)])
    vocabulary = folder.parent / "vocabulary"
    vocabulary.mkdir()
    checkpoint.tokenizer.save(vocabulary)
    tokens(source, folder, tokenizer=vocabulary, tokens_per_shard=n_documents * 10)


def read_shards(folder: Path) -> None:
    """Everything that training does with shards: open, verify, read."""
    shards = TokenShards(folder)
    shards.verify()
    shards.read(0, len(shards))


READERS = {
    "native": Reader(native.write, ["model.safetensors", "config.json", "encoder.json", "vocab.bpe"]),
    "huggingface": Reader(huggingface.write, ["model.safetensors", "config.json", "tokenizer.json"]),
    "openai": Reader(
        openai.write, ["model.ckpt.index", "model.ckpt.data-00000-of-00001", "hparams.json", "checkpoint"]
    ),
    "gguf": Reader(lambda it, folder: gguf.write(it, folder / "model.gguf"), ["model.gguf"]),
    "llmc": Reader(llmc.write, ["model.bin"]),
    "nanogpt": Reader(nanogpt.write, ["model.safetensors", "model_args.json"]),
    "vocabulary": Reader(
        lambda it, folder: (folder.mkdir(), it.tokenizer.save(folder)),
        ["encoder.json", "vocab.bpe"],
        Tokenizer.load,
    ),
    "token shards": Reader(make_shards, ["index.json", "part-00000.bin", "part-00001.bin"], read_shards),
}


def make_checkpoint(n_layer: int, n_embd: int, n_vocab: int) -> Checkpoint:
    """A model with random weights, and a tokenizer of made-up words."""
    chance = random.Random(0)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(4, 12))) for _ in range(n_vocab)]
    tokenizer = Tokenizer.train([TEXT + " ".join(words + words)], n_vocab=n_vocab)
    config = GPT2Config(n_layer, 4, n_embd, 16, tokenizer.n_vocab)
    torch.manual_seed(0)
    return Checkpoint(config, dict(GPT2(config).state_dict()), tokenizer)


def mutate(data: bytes, chance: random.Random) -> bytes:
    """One to three changes: bits, bytes, numbers, cuts, copies; mostly near the start, where headers are."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        if not out:
            break
        reach = len(out) if chance.random() < 0.3 else min(len(out), chance.choice([16, 64, 512, 4096]))
        last = len(out) - 1 - chance.randrange(min(len(out), 64))
        at = chance.randrange(reach) if chance.random() < 0.8 else last
        kind = chance.randrange(8)
        if kind == 0:
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[at] = chance.randrange(256)
        elif kind == 2:
            width = chance.choice([4, 8])
            out[at : at + width] = (chance.choice(EXTREMES) % 2 ** (8 * width)).to_bytes(width, "little")
        elif kind == 3:
            del out[at:]
        elif kind == 4:
            del out[at : at + chance.randint(1, 32)]
        elif kind == 5:
            out[at:at] = chance.randbytes(chance.randint(1, 32))
        elif kind == 6:
            out[at:at] = out[at : at + chance.randint(1, 256)] * chance.randint(1, 8)
        else:
            digits = [i for i in range(min(len(out), 65_536)) if 48 <= out[i] <= 57]
            if digits:
                i = chance.choice(digits)
                out[i : i + 1] = str(chance.choice([*EXTREMES, -1, 1e300, "[", '"', "null"])).encode()
    return bytes(out)


def campaign(name: str, n_mutations: int, root: Path, sizes: dict[str, int]) -> Outcome:
    """Mutate one file at a time, read, and note how it ended; `root` is an empty folder to work in."""
    reader, folder = READERS[name], root / "it"
    reader.make(make_checkpoint(**sizes), folder)
    originals = {file: (folder / file).read_bytes() for file in reader.files}
    outcome = Outcome(sum(path.stat().st_size for path in folder.iterdir()), n_mutations)
    chance = random.Random(name)
    reader.read(folder)  # sound files are read; imports and kernels are paid for here
    for _ in range(n_mutations):
        file = chance.choice(reader.files)
        (folder / file).write_bytes(mutate(originals[file], chance))
        before, started = start_peak(), time.perf_counter()
        try:
            reader.read(folder)
        except UserError as error:
            outcome.refusals.append(str(error))
        except Exception as error:  # what the campaign looks for
            outcome.crashes.append(f"{file}: {type(error).__name__}: {error}")
        outcome.slowest_seconds = max(outcome.slowest_seconds, time.perf_counter() - started)
        outcome.memory_bytes = max(outcome.memory_bytes, resident("VmHWM") - before)
        (folder / file).write_bytes(originals[file])
    return outcome


def start_peak() -> int:
    """Give freed memory back, count the peak of memory anew, and return the bytes that are held now (Linux)."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def resident(what: str) -> int:
    """Bytes of memory held now (`VmRSS`) or at the peak (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(what)).split()[1])


def main() -> int:
    """Run the campaigns; the number of readers that broke a promise."""
    from table import write_table

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*", default=list(READERS), help=f"of {', '.join(READERS)}")
    parser.add_argument("--mutations", type=int, default=10_000, help="mutated small files per reader")
    parser.add_argument("--large", type=int, default=300, help="mutated large files per reader")
    arguments = parser.parse_args()
    rows, n_broken = [], 0
    for name in arguments.readers:
        for n_mutations, sizes in ((arguments.mutations, SMALL), (arguments.large, LARGE)):
            root = Path(tempfile.mkdtemp())
            outcome = campaign(name, n_mutations, root, sizes)
            shutil.rmtree(root)
            n_broken += not outcome.is_held
            n_refused, n_crashed = len(outcome.refusals), len(outcome.crashes)
            row = [name, f"{outcome.n_bytes / 1e6:.2f} MB", f"{n_mutations:,}", f"{n_refused:,}"]
            row += [f"{n_mutations - n_refused - n_crashed:,}", n_crashed, f"{outcome.slowest_seconds:.3f} s"]
            row += [f"{outcome.memory_bytes / 1e6:.1f} MB", f"{outcome.allowed_bytes / 1e6:.0f} MB"]
            rows.append(row)
            print(row, *outcome.crashes[:5], sep="\n", flush=True)
    head = [
        "reader",
        "size",
        "mutated",
        "refused in one sentence",
        "read",
        "other errors",
        "slowest",
        "memory",
    ]
    notes = [
        "Memory is the peak above what the process held before; the last column is twice the size plus 64 MiB."
    ]
    write_table(__file__, "Mutated files", [*head, "allowed"], rows, notes)
    return n_broken


if __name__ == "__main__":
    raise SystemExit(main())
