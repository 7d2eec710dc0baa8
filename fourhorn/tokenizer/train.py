"""Learn a vocabulary from text: `fourhorn tokenizer train`.

Section 2.2: 50,257 tokens are the 256 bytes, 50,000 merges and `<|endoftext|>`. Pieces are counted over all documents,
then pairs are merged by frequency; ties by smaller left id, then smaller right id, which is the order of Hugging Face's
trainer (the release's own is not known). Counts are 64-bit. Memory grows with distinct pieces, not with text.
In: text records. Out: encoder.json, vocab.bpe, manifest.json. Raises `UserError` for input without text.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from fourhorn.errors import UserError
from fourhorn.files import Manifest, finished, sha256_file, write_manifest
from fourhorn.progress import progress
from fourhorn.tokenizer import formats
from fourhorn.tokenizer.counter import make_counter
from fourhorn.tokenizer.source import Batch, InputHashes, batches, read_batches
from fourhorn.tokenizer.threads import at_least_one
from fourhorn.tokenizer.vocabulary import MAX_TOKENS, Vocabulary

N_SPECIAL = 1  # <|endoftext|>


def train(
    source: str | Path,
    destination: str | Path,
    *,
    n_vocab: int = 50257,
    min_frequency: int = 2,
    n_threads: int = 2,
    text_column: str = "text",
) -> Manifest:
    """Train a byte-level BPE vocabulary on the texts of a record file or a folder of shards.

    Args:
        source: a .jsonl[.zst], .parquet or .txt file, or a folder of such shards.
        destination: the folder that gets encoder.json, vocab.bpe and manifest.json.
        n_vocab: tokens of the vocabulary: 256 bytes, merges, and <|endoftext|> (the paper's: 50257).
        min_frequency: merge only pairs that occur at least this often; fewer tokens result if such pairs run out.
        n_threads: threads that count pieces.
        text_column: the field of a record that holds its text.
    """
    check_n_vocab(n_vocab)
    at_least_one(min_frequency=min_frequency, n_threads=n_threads)
    started = time.monotonic()
    destination = Path(destination)
    options = {"n_vocab": n_vocab, "min_frequency": min_frequency, "text_column": text_column}
    hashes = InputHashes(source)
    done = (destination / "manifest.json").exists() and finished(
        destination, "tokenizer train", options, hashes.result()
    )
    if done:
        return done
    n_documents = n_bytes = 0

    def counted() -> Iterator[Batch]:
        nonlocal n_documents, n_bytes
        with progress("count pieces", unit="MB") as bar:
            for batch in read_batches(source, text_column=text_column):
                n_documents += batch.n_documents
                n = batch.n_bytes
                n_bytes += n
                yield batch
                bar.update(n / 1e6, documents=n_documents)

    vocabulary, n_pieces = _learn(counted(), n_vocab, min_frequency, n_threads)
    formats.save_pair(vocabulary, destination)
    outputs = {
        name: {"sha256": sha256_file(path), "n_bytes": path.stat().st_size, "n_items": n_items}
        for name, n_items in (("encoder.json", vocabulary.n_vocab), ("vocab.bpe", len(vocabulary.merges)))
        for path in [destination / name]
    }
    manifest = Manifest(
        "tokenizer train",
        options,
        hashes.result(),
        n_documents,
        n_documents,
        {},
        outputs,
        time.monotonic() - started,
    )
    manifest.details = {
        "n_bytes_text": n_bytes,
        "n_distinct_pieces": n_pieces,
        "n_merges": len(vocabulary.merges),
        "n_vocab": vocabulary.n_vocab,
    }
    write_manifest(destination, manifest)
    return manifest


def learn(
    texts: Iterable[str] | str | Path, *, n_vocab: int = 50257, min_frequency: int = 2, n_threads: int = 2
) -> Vocabulary:
    """The vocabulary of texts, or of a record file or a folder of shards."""
    check_n_vocab(n_vocab)
    if isinstance(texts, str | Path):
        source = read_batches(texts)
    else:
        source = batches(text.encode("utf-8", "replace") for text in texts)
    return _learn(source, n_vocab, min_frequency, n_threads)[0]


def check_n_vocab(n_vocab: int) -> None:
    """Refuse a size that no byte-level vocabulary can have."""
    if not 256 + N_SPECIAL <= n_vocab < MAX_TOKENS:
        raise UserError(
            f"n_vocab {n_vocab:,} is impossible: 256 bytes and <|endoftext|> need {256 + N_SPECIAL}, and "
            f"{MAX_TOKENS - 1:,} is the most. The paper's is 50257."
        )


def _learn(
    source: Iterable[Batch], n_vocab: int, min_frequency: int, n_threads: int
) -> tuple[Vocabulary, int]:
    counter = make_counter(n_threads)
    counter.count(source)
    if not counter.n_pieces:
        raise UserError("The input holds no text, so there is nothing to learn from.")
    with progress("merge pairs", total=n_vocab - 256 - N_SPECIAL, unit="merges") as bar:
        merges = counter.merge(n_vocab - 256 - N_SPECIAL, min_frequency, bar.update)
    return Vocabulary.of(merges), counter.n_pieces
