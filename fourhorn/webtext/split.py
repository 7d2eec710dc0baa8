"""unique/ → webtext/{train,val,test}: every document on the side that its id says, for ever.

§2.3 holds out 5 % of WebText to choose the learning rate, and the released test set is another few per cent. Which
side a document is on depends on its id alone (BLAKE2 of the id as a number from 0 to 1), so it never changes side as
the set grows, is cut into other shards or is built again. Each input shard gives one shard per side, with where each
text came from, and `README.md` is a data card. In = kept, in documents; documents without text are dropped.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fourhorn.errors import UserError
from fourhorn.files import Manifest, atomic_write
from fourhorn.records import iter_records, shard_name, write_records
from fourhorn.webtext.documents import document_of
from fourhorn.webtext.stage import WORK, Counts, Where, begin, describe, finish, open_source, run_shards

SIDES = ("train", "val", "test")
FORMATS = {"jsonl": ".jsonl.zst", "parquet": ".parquet"}


def split(
    source: Path,
    destination: Path,
    *,
    val: float = 0.05,
    test: float = 0.05,
    format: str = "jsonl",
    workers: int | None = None,
    engine: str = "local",
) -> Manifest:
    """Split documents into train, val and test by a stable hash of their ids.

    Args:
        source: folder of documents.
        destination: folder for `train/`, `val/` and `test/`, each with its shards and manifest, and a data card.
        val: share of documents held out for choosing options, 0 to 1; the paper's is 0.05.
        test: share of documents held out for the final measure, 0 to 1.
        format: `jsonl` (zstd-compressed) or `parquet`.
        workers: processes at a time, default one per CPU.
        engine: `local` or `ray`.
    """
    started = time.monotonic()
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise UserError(
            f"val {val:g} and test {test:g} are shares of all documents; together they must be below 1."
        )
    if format not in FORMATS:
        raise UserError(f"format {format!r} is not one of {', '.join(FORMATS)}.")
    options: dict[str, Any] = {"val": val, "test": test, "format": format}
    documents = open_source(source)
    if (done := begin(destination, "split", options, documents.inputs)) is not None:
        return done
    destination = Path(destination)
    results = run_shards(
        split_shard,
        documents,
        destination,
        phase="split",
        where=Where(workers, engine),
        kwargs={"val": val, "test": test, "suffix": FORMATS[format]},
        output_name=lambda index: f"{WORK}/split-{index:05d}",
    )
    for side in SIDES:
        _finish_side(destination, side, results, options, documents.inputs, started)
    outputs = {
        f"{side}/{name}": value
        for result in results
        for side in SIDES
        for name, value in _output(result, side)
    }
    details = {"documents": {side: sum(r.get("sides", {}).get(side, 0) for r in results) for side in SIDES}}
    _write_card(destination, source, options, results, details["documents"])
    plain = [{key: value for key, value in result.items() if key != "output"} for result in results]
    return finish(destination, "split", options, documents.inputs, plain, started, details, outputs)


def side_of(id: str, val: float, test: float) -> str:
    """`train`, `val` or `test` for a document's id."""
    digest = hashlib.blake2b(
        id.encode("utf-8", "surrogatepass"), digest_size=8, person=b"fourhorn split"
    ).digest()
    place = int.from_bytes(digest, "big") / 2**64
    # From the two ends, so that changing one share moves no document between the other two sides.
    if place < val:
        return "val"
    return "test" if place >= 1 - test else "train"


def split_shard(shard: str, output: Path, *, val: float, test: float, suffix: str) -> Counts:
    """Write one shard of each side."""
    name = shard_name(int(output.name.split("-")[-1]), suffix)
    root = output.parent.parent
    sides: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    drops: Counter[str] = Counter()
    n_in, n_bytes = 0, Counter[str]()
    for record in iter_records(shard):
        n_in += 1
        document = document_of(record)
        if not document["text"].strip():
            drops["empty"] += 1
            continue
        side = side_of(document["id"], val, test)
        n_bytes[side] += len(document["text"].encode())
        sides[side].append(document)
    written = {}
    for side, documents in sides.items():
        write_records(root / side / name, documents)
        written[side] = describe(root / side / name, len(documents))
    output.touch()
    counts = {side: len(documents) for side, documents in sides.items()}
    details = {f"n_bytes_text_{side}": n_bytes[side] for side in SIDES}
    return {
        "n_in": n_in,
        "n_kept": sum(counts.values()),
        "drops": drops,
        "details": details,
        "sides": counts,
        "written": written,
    }


def _output(result: Counts, side: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if "written" in result:
        line = dict(result["written"][side])
        yield line.pop("name"), line


def _finish_side(
    destination: Path,
    side: str,
    results: list[Counts],
    options: dict[str, Any],
    inputs: dict[str, str],
    started: float,
) -> None:
    """A manifest of its own for each side, so that it can be moved and read alone."""
    counts = [
        {
            "n_in": result["sides"][side],
            "n_kept": result["sides"][side],
            "drops": {},
            "details": {"n_bytes_text": result["details"][f"n_bytes_text_{side}"]},
            "output": result["written"][side],
        }
        for result in results
        if "sides" in result
    ]
    finish(destination / side, "split", {**options, "side": side}, inputs, counts, started)


def _write_card(
    destination: Path, source: Path, options: dict[str, Any], results: list[Counts], documents: dict[str, int]
) -> None:
    n_bytes = {
        side: sum(r.get("details", {}).get(f"n_bytes_text_{side}", 0) for r in results) for side in SIDES
    }
    rows = "\n".join(f"| {side} | {documents[side]:,} | {n_bytes[side]:,} |" for side in SIDES)
    with atomic_write(destination / "README.md", "w") as file:
        file.write(
            f"""# Data card

Text of web pages that people linked to and others voted for, made by fourhorn as section 2.1 of *Language Models are
Unsupervised Multitask Learners* (Radford et al. 2019) describes WebText. Every stage's folder has a `manifest.json`
with its options, versions, hashes and what it dropped for which reason.

| side | documents | bytes of text |
| --- | --- | --- |
{rows}

- A document's side depends on the BLAKE2 hash of its id alone: val {options["val"]:.1%}, test {options["test"]:.1%}.
- Each row: `id`, `url`, `domain`, `date` and `karma` of the submission, `title`, `text`, `extractor`, `language`,
  `text_sha256`. What is unknown is null.
- The texts belong to those who wrote them. They were chosen by votes, not by reading: expect errors, opinions and
  offensive passages, more of some places and languages than of others, and personal data that was public.
- Written from the folder `{Path(source).name}`.
"""
        )
