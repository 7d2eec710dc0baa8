"""clean/ → unique/: one document of each, exact and near duplicates told apart, and optionally no test data.

§2.1: "de-duplication". Four passes, each over shards or over small columns of them:

    sketch   every document gets an exact key and a MinHash signature (`sketches`, `minhash`)
    match    documents of one exact key, then all pairs that `lsh` finds similar
    verify   pairs near the threshold are compared by their n-grams themselves, not by the estimate
    dedup    a document is dropped when a kept one, earlier in order, is its duplicate; shards are written

The earliest submission stays (then the smallest id hash), whatever shard it is in. Unlike joining all that is
connected, this never drops a document because of a chain of others: its own duplicate is in the result, and
`duplicates/` names it. In = kept + drops, in documents. Raises `UserError` for bands that do not fit the signature.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from fourhorn.errors import UserError
from fourhorn.files import Manifest, atomic_write, sha256_file
from fourhorn.records import iter_records, list_shards, shard_name, write_records
from fourhorn.webtext import sketches
from fourhorn.webtext.documents import document_of
from fourhorn.webtext.lsh import PAIR, similar_pairs
from fourhorn.webtext.minhash import jaccard, shingles
from fourhorn.webtext.stage import WORK, Counts, Source, Where, begin, finish, open_source, run_shards
from fourhorn.webtext.words import word_hashes

N_HASHES = 128
BORDER_ERRORS = 3.0  # pairs within so many standard errors of the threshold are compared exactly
KEEP, OVERLAPS, EXACT, NEAR = range(4)
REASONS = ("", "overlaps_evaluation", "exact_duplicate", "near_duplicate")
_VERDICT = np.dtype([("kind", np.uint8), ("similarity", np.float32), ("keeper", f"S{sketches.ID_BYTES}")])


def dedup(
    source: Path,
    destination: Path,
    *,
    similarity: float = 0.7,
    ngram: int = 5,
    bands: int = 14,
    rows: int = 8,
    evaluation: Path | None = None,
    evaluation_ngram: int = 13,
    workers: int | None = None,
    engine: str = "local",
) -> Manifest:
    """Drop exact and near duplicates, and documents that overlap evaluation sets.

    Args:
        source: folder of documents, or any .jsonl, .parquet or .txt with texts.
        destination: folder for shards of the kept documents, and `duplicates/` with what was dropped for which.
        similarity: Jaccard similarity of word n-grams, 0 to 1, from which two documents are duplicates; 1 for exact
            duplicates only. OpenWebText used 0.5 (then also give 20 bands of 5 rows), FineWeb about 0.72.
        ngram: words in an n-gram.
        bands: bands of a signature; more find more pairs below the threshold.
        rows: hashes in a band; more find fewer.
        evaluation: file or folder of test texts; documents that share an n-gram with them are dropped.
        evaluation_ngram: words in such an n-gram; 13 is GPT-3's (Brown et al. 2020, appendix C).
        workers: processes at a time, default one per CPU.
        engine: `local` or `ray`.
    """
    started = time.monotonic()
    _check(similarity, ngram, bands, rows, evaluation_ngram)
    options: dict[str, Any] = {"similarity": similarity, "ngram": ngram, "bands": bands, "rows": rows}
    documents = open_source(source)
    inputs = dict(documents.inputs)
    if evaluation is not None:
        options["evaluation_ngram"] = evaluation_ngram
        inputs |= {f"evaluation/{path.name}": sha256_file(path) for path in list_shards(evaluation)}
    if (done := begin(destination, "dedup", options, inputs)) is not None:
        return done
    work, where = Path(destination) / WORK, Where(workers, engine)
    tests = _write_tests(evaluation, evaluation_ngram, work)
    kwargs = {"ngram": ngram, "n_hashes": N_HASHES, "evaluation": tests, "evaluation_ngram": evaluation_ngram}
    _pass(sketches.write_sketches, documents, destination, "sketch", where, kwargs)
    files = [work / _hidden("sketch", index) for index in range(len(documents.paths))]
    corpus = sketches.gather(files, work, n_hashes=N_HASHES, bands=bands, rows=rows)
    kinds, keepers, similarities = _decide(corpus, similarity, ngram, documents, destination, where)
    _write_verdicts(corpus, kinds, keepers, similarities, work)
    results = run_shards(dedup_shard, documents, destination, phase="dedup", where=where, kwargs={})
    return finish(destination, "dedup", options, inputs, results, started)


def _check(similarity: float, ngram: int, bands: int, rows: int, evaluation_ngram: int) -> None:
    if not 0 < similarity <= 1:
        raise UserError(
            f"similarity is {similarity:g}; it is a Jaccard similarity above 0 and up to 1, such as 0.7."
        )
    if min(ngram, bands, rows, evaluation_ngram) < 1:
        raise UserError("ngram, bands, rows and evaluation_ngram must be at least 1.")
    if bands * rows > N_HASHES:
        raise UserError(
            f"{bands} bands of {rows} rows need {bands * rows} hashes; a signature has {N_HASHES}. "
            "Use 14 bands of 8 rows, or 20 of 5 for a similarity of 0.5."
        )


def _pass(
    function: Any, source: Source, destination: Path, phase: str, where: Where, kwargs: dict[str, Any]
) -> None:
    """A pass whose outputs are for this stage alone: they lie in the hidden folder, and none may be missing."""

    def name(index: int) -> str:
        return f"{WORK}/{_hidden(phase, index)}"

    for result in run_shards(
        function, source, destination, phase=phase, where=where, kwargs=kwargs, output_name=name
    ):
        if "error" in result:
            raise UserError(
                f"{result['shard']} cannot be read: {result['error']}. Mend or remove it and run dedup again."
            )


def _hidden(phase: str, index: int) -> str:
    return f"{phase}-{index:05d}.npz"


def _write_tests(evaluation: Path | None, ngram: int, work: Path) -> str | None:
    if evaluation is None:
        return None
    path = work / "evaluation.npy"
    with atomic_write(path) as file:
        np.save(file, sketches.evaluation_hashes(evaluation, ngram))
    return str(path)


# ------------------------------------------------------------------------------------------------ match and verify


def _decide(
    corpus: sketches.Corpus, similarity: float, ngram: int, source: Source, destination: Path, where: Where
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """For each document: its kind, the kept document it duplicates (or -1), and how similar the two are."""
    n = len(corpus.rank)
    kinds = np.where(corpus.overlaps, OVERLAPS, KEEP).astype(np.uint8)
    keepers, similarities = np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=np.float32)
    order = np.lexsort((corpus.rank, corpus.exact[:, 1], corpus.exact[:, 0]))
    _mark_exact(order, corpus.exact, kinds, keepers)
    similarities[kinds == EXACT] = 1.0
    if similarity < 1 and n:
        pairs = _verified_pairs(corpus, kinds, similarity, ngram, source, destination, where)
        by_rank = np.lexsort((corpus.rank[pairs["a"]], corpus.rank[pairs["b"]]))
        _mark_near(
            pairs["a"][by_rank],
            pairs["b"][by_rank],
            pairs["similarity"][by_rank],
            kinds,
            keepers,
            similarities,
        )
    return kinds, keepers, similarities


def _mark_exact(order: Any, exact: Any, kinds: Any, keepers: Any) -> None:
    """Of the documents with one key all but the first in order are duplicates; test data keeps none."""
    order = order[kinds[order] == KEEP]
    keys = exact[order]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    keeper = order[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))]
    kinds[order[~first]] = EXACT
    keepers[order[~first]] = keeper[~first]


@numba.njit(cache=True)
def _mark_near(a: Any, b: Any, similarity: Any, kinds: Any, keepers: Any, similarities: Any) -> None:
    """Pairs come by the order of the later document, so whether the earlier one stays is already known."""
    for k in range(len(a)):
        if kinds[a[k]] == KEEP and kinds[b[k]] == KEEP:
            kinds[b[k]] = NEAR
            keepers[b[k]] = a[k]
            similarities[b[k]] = similarity[k]


_VERIFIED = np.dtype([("a", np.int64), ("b", np.int64), ("similarity", np.float32)])


def _verified_pairs(
    corpus: sketches.Corpus,
    kinds: npt.NDArray[np.uint8],
    similarity: float,
    ngram: int,
    source: Source,
    destination: Path,
    where: Where,
) -> Any:
    """All pairs at least so similar: by estimate where that is certain, by their n-grams near the threshold."""
    border = BORDER_ERRORS * np.sqrt(similarity * (1 - similarity) / N_HASHES)
    least = max(1, int(np.ceil((similarity - border) * N_HASHES)))
    found = [np.empty(0, dtype=PAIR)]
    for part in similar_pairs(corpus.keys, corpus.signatures, corpus.rank, least):
        found.append(part[(kinds[part["a"]] == KEEP) & (kinds[part["b"]] == KEEP)])
    pairs = np.concatenate(found)
    verified = np.empty(len(pairs), dtype=_VERIFIED)
    verified["a"], verified["b"] = pairs["a"], pairs["b"]
    verified["similarity"] = pairs["agreement"] / N_HASHES
    doubtful = np.flatnonzero(verified["similarity"] < similarity + border)
    if len(doubtful):
        _compare_exactly(corpus, verified, doubtful, ngram, source, destination, where)
    return verified[verified["similarity"] >= similarity]


def _compare_exactly(
    corpus: sketches.Corpus,
    pairs: Any,
    doubtful: npt.NDArray[np.int64],
    ngram: int,
    source: Source,
    destination: Path,
    where: Where,
) -> None:
    """Replace the estimates of doubtful pairs by the similarity of the n-grams, read once more from the shards."""
    work = Path(destination) / WORK
    wanted = np.unique(np.concatenate([pairs["a"][doubtful], pairs["b"][doubtful]]))
    for shard in range(len(source.paths)):
        inside = wanted[(wanted >= corpus.starts[shard]) & (wanted < corpus.starts[shard + 1])]
        with atomic_write(work / f"wanted-{shard:05d}.npy") as file:
            np.save(file, inside - corpus.starts[shard])
    _pass(write_shingles, source, destination, "verify", where, {"ngram": ngram})
    sizes = [np.load(work / f"sizes-{shard:05d}.npy") for shard in range(len(source.paths))]
    parts = [np.load(work / _hidden("verify", shard), mmap_mode="r") for shard in range(len(source.paths))]
    first = np.concatenate([[0], np.cumsum([len(size) for size in sizes])])
    offsets = [np.concatenate([[0], np.cumsum(size)]) for size in sizes]

    def hashes(document: int) -> Any:
        k = int(np.searchsorted(wanted, document))
        shard = int(np.searchsorted(first, k, side="right")) - 1
        start, end = offsets[shard][k - first[shard] : k - first[shard] + 2]
        return parts[shard][start:end]

    for k in doubtful:
        pairs["similarity"][k] = jaccard(hashes(int(pairs["a"][k])), hashes(int(pairs["b"][k])))


def write_shingles(shard: str, output: Path, *, ngram: int) -> Counts:
    """The distinct n-gram hashes of the documents of a shard that are in doubtful pairs."""
    index = int(output.stem.split("-")[-1])
    wanted = set(np.load(output.parent / f"wanted-{index:05d}.npy").tolist())
    found = []
    for number, record in enumerate(iter_records(shard) if wanted else ()):
        if number in wanted:
            text = document_of(record)["text"]
            found.append(np.unique(shingles(text, word_hashes(text), ngram)))
    with atomic_write(output.parent / f"sizes-{index:05d}.npy") as file:
        np.save(file, np.array([len(hashes) for hashes in found], dtype=np.int64))
    with atomic_write(output) as file:
        np.save(file, np.concatenate([np.empty(0, dtype=np.uint64), *found]))
    return {"n_in": len(found), "n_kept": len(found), "drops": {}}


# -------------------------------------------------------------------------------------------------- write shards


def _write_verdicts(corpus: sketches.Corpus, kinds: Any, keepers: Any, similarities: Any, work: Path) -> None:
    """One small file per shard that says for each document what becomes of it and because of which other one."""
    named = np.unique(keepers[keepers >= 0])
    ids = np.zeros(len(named), dtype=f"S{sketches.ID_BYTES}")
    parts = [slice(*corpus.starts[shard : shard + 2]) for shard in range(len(corpus.files))]
    for shard, part in enumerate(parts):
        inside = (named >= part.start) & (named < part.stop)
        if inside.any():
            ids[inside] = corpus.ids(shard)[named[inside] - part.start]
    for shard, part in enumerate(parts):
        verdicts = np.zeros(part.stop - part.start, dtype=_VERDICT)
        verdicts["kind"], verdicts["similarity"] = kinds[part], similarities[part]
        dropped = np.flatnonzero(keepers[part] >= 0)
        verdicts["keeper"][dropped] = ids[np.searchsorted(named, keepers[part][dropped])]
        with atomic_write(work / f"verdicts-{shard:05d}.npy") as file:
            np.save(file, verdicts)


def dedup_shard(shard: str, output: Path) -> Counts:
    """Write the kept documents of one shard, and beside them which were dropped for which."""
    index = int(output.name.split(".")[0].split("-")[-1])
    verdicts = np.load(output.parent / WORK / f"verdicts-{index:05d}.npy")
    drops: Counter[str] = Counter()
    duplicates: list[dict[str, Any]] = []
    n_bytes = 0

    def documents() -> Iterator[dict[str, Any]]:
        nonlocal n_bytes
        for record, verdict in zip(iter_records(shard), verdicts, strict=True):
            document = document_of(record)
            if verdict["kind"] == KEEP:
                n_bytes += len(document["text"].encode())
                yield document
                continue
            reason = REASONS[verdict["kind"]]
            drops[reason] += 1
            line = {"id": document["id"], "url": document["url"], "reason": reason}
            line["kept"] = verdict["keeper"].decode() or None
            line["similarity"] = round(float(verdict["similarity"]), 4) if line["kept"] else None
            duplicates.append(line)

    n_kept = write_records(output, documents())
    write_records(output.parent / "duplicates" / shard_name(index), duplicates)
    n_in = n_kept + sum(drops.values())
    return {"n_in": n_in, "n_kept": n_kept, "drops": drops, "details": {"n_bytes_text": n_bytes}}
