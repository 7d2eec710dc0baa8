"""Ids equal to tiktoken's, merges equal to Hugging Face's, bytes that come back: the full campaign.

    python benchmarks/tokenizer_equality.py --vocabulary FOLDER TEXT… [--fuzz 500000] [--bytes 10000000] [--keep]

`--keep` keeps the rows of an earlier run, for a campaign in parts; 0 leaves a part out.

Texts are plain files (or .xz) of documents joined by `<|endoftext|>`; every document is encoded by both. Fuzz strings
are short, of random Unicode and of alphabets that the split pattern finds hard. Byte strings are random, UTF-8 or not:
they must come back from `decode(encode(…))`, and a part of them is encoded by the plain engine as well.
"""

import argparse
import importlib.metadata
import itertools
import json
import lzma
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.table import kept_rows, write_table
from benchmarks.tokenizer_limits import adversarial
from fourhorn.tokenizer import Tokenizer

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
ALPHABETS = (
    "ab ",
    "a'sdmtlver ",
    " \n\t\u3000\u00a0a",
    "1²½٣a ",
    "éß漢か 🦄\u200d\u0301",
    "'",
    "aA'S.!? ",
    "\u2028\u0085x ",
    "\0\x1c a",
)


def documents(path: Path) -> list[str]:
    opened = lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb")
    with opened as file:
        return file.read().decode("utf-8", "replace").split("<|endoftext|>")


def fuzz(n: int) -> Iterator[str]:
    rng = random.Random(2019)
    everything = [chr(p) for p in range(0x110000) if not 0xD800 <= p < 0xE000]
    for i in range(n):
        if i % 400 == 0:  # one of the kinds that are hard to merge, long enough for the lists of places
            yield rng.choice(list(adversarial(rng.randrange(100, 4000)).values()))
            continue
        alphabet = everything if i % 3 == 0 else rng.choice(ALPHABETS)
        text = "".join(rng.choices(alphabet, k=rng.randrange(1, 40)))
        yield text if i % 5 else text * rng.randrange(1, 9)


def compare_texts(ours: Tokenizer, encode: object, paths: list[Path]) -> list[list[object]]:
    rows = []
    for path in paths:
        texts = documents(path)
        mine, starts = ours.encode_documents([text.encode() for text in texts], n_threads=2)
        n_tokens = different = 0
        for text, (a, b) in zip(texts, itertools.pairwise(starts.tolist())):
            theirs = encode(text)  # type: ignore[operator]
            n_tokens += len(theirs)
            different += not np.array_equal(mine[a:b], theirs)
        n_bytes = sum(len(text.encode()) for text in texts)
        rows.append(
            [path.name, f"{n_bytes / 1e6:.1f} MB, {len(texts):,} documents", f"{n_tokens:,}", different]
        )
        print(rows[-1], flush=True)
    return rows


def random_bytes(ours: Tokenizer, plain: Tokenizer, n: int) -> int:
    """How many of `n` random byte strings fail to come back or differ from the plain engine's ids (each 500th)."""
    rng = random.Random(50257)
    n_bytes_of_id = np.array([len(ours.vocabulary.bytes_of_id[i]) for i in range(ours.n_vocab)])
    failures = 0
    for begin in range(0, n, 100_000):
        size = min(100_000, n - begin)
        blob = rng.randbytes(24 * size)
        cuts = sorted(rng.sample(range(len(blob)), size - 1))
        parts = [blob[a:b] for a, b in itertools.pairwise([0, *cuts, len(blob)])]
        if begin % 300_000 == 0:  # text with damage in it
            text = "it's naïve 渡轮 1024 🦄\n ".encode() * size
            parts = [text[(at := rng.randrange(len(text) - 40)) : at + rng.randrange(40)] for _ in parts]
        ids, starts = ours.encode_documents(parts, n_threads=2)
        # All together come back, and each string's ids hold as many bytes as it has: so each comes back.
        failures += ours.decode_bytes(ids) != b"".join(parts)
        held = np.concatenate([[0], np.cumsum(n_bytes_of_id[ids])])[starts]
        failures += int(np.count_nonzero(held != np.cumsum([0, *map(len, parts)])))
        for i in range(0, size, 500):
            failures += ours.decode_bytes(ids[starts[i] : starts[i + 1]]) != parts[i]
            failures += plain.encode_to_numpy(parts[i]).tolist() != ids[starts[i] : starts[i + 1]].tolist()
    return failures


def huggingface_merges(texts: list[str], n_vocab: int) -> list[tuple[int, int]]:
    import tokenizers

    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=n_vocab - 1, initial_alphabet=alphabet, show_progress=False
    )
    theirs.train_from_iterator(texts, trainer)
    model = json.loads(theirs.to_str())["model"]
    return [(model["vocab"][a], model["vocab"][b]) for a, b in model["merges"]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", nargs="*", type=Path)
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--fuzz", type=int, default=500_000)
    parser.add_argument("--bytes", type=int, default=10_000_000)
    parser.add_argument("--train", nargs="*", type=Path, default=[])
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    import tiktoken

    ours, plain = Tokenizer.load(arguments.vocabulary), Tokenizer.load(arguments.vocabulary, plain=True)
    ranks = {data: i for i, data in ours.vocabulary.bytes_of_id.items() if i != ours.eot}
    theirs = tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    rows: list[list[object]] = [list(row) for row in kept_rows(__file__)] if arguments.keep else []
    rows += compare_texts(ours, theirs.encode_to_numpy, arguments.texts)
    if arguments.fuzz:
        n_tokens = different = 0
        for batch in _batched(fuzz(arguments.fuzz)):
            for mine, text in zip(ours.encode_batch(batch), batch):
                n_tokens += len(mine)
                different += mine != theirs.encode_ordinary(text)
        rows.append(["fuzz strings", f"{arguments.fuzz:,}", f"{n_tokens:,}", different])
        print(rows[-1], flush=True)
    if arguments.bytes:
        different = random_bytes(ours, plain, arguments.bytes)
        rows.append(["random byte strings come back", f"{arguments.bytes:,}", "", different])
        print(rows[-1], flush=True)
    for path in arguments.train:
        texts = documents(path)
        trained = Tokenizer.train(texts, n_vocab=50257, min_frequency=1)
        merges = huggingface_merges(texts, 50257)
        unequal = sum(a != tuple(b) for a, b in zip(merges, trained.vocabulary.merges)) + abs(
            len(merges) - len(trained.vocabulary.merges)
        )
        rows.append([f"merges learned from {path.name}", f"{len(merges):,}", "", unequal])
        print(rows[-1], flush=True)
    versions = [
        f"{name} {importlib.metadata.version(name)}" for name in ("tiktoken", "tokenizers", "llvmlite")
    ]
    notes = [f"Compared with {', '.join(versions)}."]
    write_table(
        __file__,
        "Equality with tiktoken and Hugging Face",
        ["what", "how much", "tokens", "different"],
        rows,
        notes,
    )


def _batched(texts: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(itertools.islice(texts, 10_000)):
        yield batch


if __name__ == "__main__":
    main()
