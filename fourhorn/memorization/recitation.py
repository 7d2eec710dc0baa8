"""What samples recite: their longest verbatim runs in the training text, and how famous passages go on.

§4 and the appendix: the paper looks at how much its samples copy, and finds that the largest model recites the
Gettysburg Address, which is about 40 times in WebText, when it is given the beginning.

In: samples (records with `completion` or `text`) and training text. Out: `destination/<samples>.recitation.json` with
the longest runs, where in the training text they stand, the distribution of run lengths, and, per probe, how often the
passage's beginning occurs in the training text and how far a model goes on with it word for word; and
`<samples>.recitation.items.jsonl` with one run per sample. Runs are of bytes, letter for letter; lengths are given in
characters. Raises `UserError` for samples or passages that cannot be used.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from fourhorn.errors import UserError
from fourhorn.files import version, write_json
from fourhorn.memorization import testsets
from fourhorn.memorization.ngrams import NgramHasher, normalize_plain
from fourhorn.memorization.suffixes import LongestRuns, Run
from fourhorn.progress import progress
from fourhorn.records import iter_records, write_records

if TYPE_CHECKING:
    from fourhorn.model.transformer import GPT2

N_LONGEST = 20
BATCH_BYTES = 1 << 21
MAX_SAMPLE_BYTES = 64 << 20
PROBE_WORDS = 12  # a passage is counted where its first words stand in the training text
PERCENTILES = (5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class Passage:
    """A passage that may be recited: the model is given `prompt`, and `rest` is what follows."""

    name: str
    prompt: str
    rest: str


def recitation(
    samples: str | Path,
    train: str | Path | Sequence[str | Path],
    destination: str | Path,
    *,
    name: str = "",
    min_bytes: int = 24,
    passages: str | Path | None = None,
    model: str | Path | None = None,
    max_new_tokens: int = 256,
) -> dict[str, Any]:
    """Find the longest verbatim run of every sample in the training text.

    Args:
        samples: samples: a record file or folder with `completion` or `text`.
        train: training text: record files or folders of shards.
        destination: folder for the result.
        name: what the samples are called; default their file's or folder's name.
        min_bytes: shortest run that is looked for, in bytes.
        passages: records with `name`, `prompt` and `rest` to probe for; default the Gettysburg Address.
        model: a checkpoint or run folder that goes on with each passage greedily; default none.
        max_new_tokens: tokens it may write; a context too short for passage and tokens loses the passage's beginning.
    """
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens is {max_new_tokens}; it must be 1 or more.")
    if not 4 <= min_bytes <= 1024:
        raise UserError(f"min_bytes {min_bytes} is not between 4 and 1024.")
    started = time.monotonic()
    sources = [train] if isinstance(train, str | Path) else list(train)
    items = [item for found in testsets.read_sets(Path(samples)).values() for item in found]
    encoded = [text.encode("utf-8", errors="replace") for _, text in items]
    if sum(map(len, encoded)) > MAX_SAMPLE_BYTES:
        raise UserError(
            f"{samples} holds more than {MAX_SAMPLE_BYTES >> 20} MiB of samples; give a part of them."
        )
    probed = read_passages(passages)
    reader = _load(model)  # a model that is not there is refused before the text is read
    search = LongestRuns(encoded, min_bytes)
    seen, occurrences, n_bytes = stream(sources, search, probed)
    runs = search.runs()
    name = name or testsets.stem(Path(samples))
    rows = [row(item, data, run, seen) for item, data, run in zip(items, encoded, runs, strict=True)]
    rows_by_length = sorted(rows, key=lambda r: -r["n_characters"])
    lengths = [r["n_characters"] for r in rows]
    result = {
        "samples": name,
        "n_samples": len(rows),
        "min_bytes": min_bytes,
        "n_without_run": sum(length == 0 for length in lengths),
        "median_characters": median(lengths) if lengths else None,
        "percentiles": {str(p): float(np.percentile(lengths, p)) for p in PERCENTILES} if lengths else {},
        "longest": [r for r in rows_by_length[:N_LONGEST] if r["n_characters"]],
        "probes": probes(probed, occurrences, reader, max_new_tokens),
        "train_bytes": n_bytes,
        "seconds": round(time.monotonic() - started, 3),
        "version": version(),
    }
    write_records(Path(destination) / f"{name}.recitation.items.jsonl", rows)
    write_json(Path(destination) / f"{name}.recitation.json", result)
    return result


def stream(
    sources: Sequence[str | Path], search: LongestRuns, probed: Sequence[Passage]
) -> tuple[dict[int, dict[str, Any]], list[int], int]:
    """Read the training text once: the records that hold a run, how often each passage begins, and the bytes read."""
    hasher = NgramHasher(unit="words", n=PROBE_WORDS)
    wanted = [int(hasher([passage.prompt])[0][0]) for passage in probed]
    seen: dict[int, dict[str, Any]] = {}
    occurrences, n_bytes, number = [0] * len(probed), 0, 0
    with progress("recitation", unit="MB") as bar:
        for batch in record_batches(sources):
            texts = [record["text"].encode("utf-8", errors="replace") for record in batch]
            for found in search.stream(texts, number):
                seen[found] = {key: batch[found - number].get(key) for key in ("id", "url")}
            hashes, _ = (
                hasher([record["text"] for record in batch])
                if probed
                else (np.zeros(0, dtype=np.uint64), None)
            )
            for i, value in enumerate(wanted):
                occurrences[i] += int(np.count_nonzero(hashes == value))
            number += len(batch)
            size = sum(map(len, texts))
            n_bytes += size
            bar.update(size / 1e6)
    return seen, occurrences, n_bytes


def record_batches(sources: Sequence[str | Path]) -> Iterator[list[dict[str, Any]]]:
    """Training records in lists of about BATCH_BYTES of text."""
    batch: list[dict[str, Any]] = []
    size = 0
    columns = ["id", "url", "text"]
    for record in itertools.chain.from_iterable(iter_records(source, columns=columns) for source in sources):
        if not isinstance(record.get("text"), str):
            raise UserError(f"A training record has no text: {str(record)[:80]}.")
        batch.append(record)
        size += len(record["text"])
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def row(item: testsets.Item, data: bytes, run: Run, seen: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """A sample's longest run as text, with its place in the training text."""
    text = data[run.end - run.length : run.end].decode("utf-8", errors="ignore")
    place = seen.get(run.document, {})
    where = {
        "document": place.get("id") or (str(run.document) if run.length else None),
        "url": place.get("url"),
    }
    return {
        "id": item[0],
        "n_characters": len(text),
        "sample_characters": len(item[1]),
        "text": text,
        **where,
    }


# ---------------------------------------------------------------------------------------------------- passages


def read_passages(path: str | Path | None) -> list[Passage]:
    """The passages to probe for; without a file, the Gettysburg Address from its first sentence and a half on."""
    if path is None:
        text = (files("fourhorn.memorization") / "gettysburg.txt").read_text(encoding="utf-8").strip()
        cut = text.index(", testing whether")
        return [Passage("Gettysburg Address", text[:cut], text[cut:])]
    passages = []
    for record in iter_records(path):
        values = [str(record.get(key) or "") for key in ("name", "prompt", "rest")]
        if not all(values):
            raise UserError(f"{path}: a passage needs `name`, `prompt` and `rest`; one has {sorted(record)}.")
        passages.append(Passage(*values))
    for passage in passages:
        if len(normalize_plain(passage.prompt).split()) < PROBE_WORDS:
            raise UserError(f"The prompt of {passage.name!r} is shorter than {PROBE_WORDS} words.")
    return passages


def probes(
    passages: Sequence[Passage],
    occurrences: Sequence[int],
    model: "tuple[GPT2, Any] | None",
    max_new_tokens: int,
) -> list[dict[str, Any]]:
    """How often each passage begins in the training text and, with a model and its tokenizer, how far it is recited.

    A prompt that leaves the completion no room loses its oldest tokens; `n_cut` of `n_prompt` tokens says so.
    """
    found: list[dict[str, Any]] = [
        {"name": passage.name, "n_occurrences": n} for passage, n in zip(passages, occurrences, strict=True)
    ]
    if model is None:
        return found
    from fourhorn.sampling.generate import complete

    network, tokenizer = model
    n_ctx = network.config.n_ctx
    room = n_ctx - min(max_new_tokens, n_ctx // 2)
    for entry, passage in zip(found, passages, strict=True):
        tokens = tokenizer.encode_ordinary(passage.prompt)
        ((completion,),) = complete(
            network, tokenizer, [tokens[-room:]], max_new_tokens=max_new_tokens, temperature=0.0
        )
        entry |= {"n_prompt": len(tokens), "n_cut": max(0, len(tokens) - room)}
        entry |= {"completion": completion.text, **recited(completion.text, passage.rest)}
    return found


def _load(model: str | Path | None) -> "tuple[GPT2, Any] | None":
    from fourhorn.checkpoints.load import load

    return None if model is None else load(str(model))


def recited(completion: str, rest: str) -> dict[str, int]:
    """How far a completion goes on as the passage does, word for word, in words and characters of the passage."""
    n_words = 0
    said, expected = normalize_plain(completion).split(), normalize_plain(rest).split()
    for a, b in zip(said, expected):
        if a != b:
            break
        n_words += 1
    return {"recited_words": n_words, "recited_characters": len(" ".join(expected[:n_words]))}
