"""What is in a set of documents: domains, lengths, languages, dates, and the funnel that led to it.

The release of GPT-2 came with WebText's thousand most frequent domains; `stats` writes the same list for any folder
of documents, with the share of each of the release's top domains beside ours when their list is given, and adds up the
manifests of the stages before: how many links, pages, documents, and why the others are gone.

Writes `stats.json` (all numbers) and `domains.txt` (count and domain, the release's format). Lengths are in bytes and
white-space words.
"""

import time
from collections import Counter
from pathlib import Path
from typing import Any

from fourhorn.errors import UserError
from fourhorn.files import Manifest, atomic_write, read_manifest, write_json
from fourhorn.records import iter_records
from fourhorn.webtext.documents import document_of
from fourhorn.webtext.stage import WORK, Counts, Where, begin, describe, finish, open_source, run_shards

STAGES = ("links", "pages", "raw", "clean", "unique", "webtext")
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


def stats(
    source: Path,
    destination: Path,
    *,
    domains: Path | None = None,
    top: int = 1000,
    workers: int | None = None,
    engine: str = "local",
) -> Manifest:
    """Describe a set of documents.

    Args:
        source: folder of documents; the folders of earlier stages beside it give the funnel.
        destination: folder for `stats.json` and `domains.txt`.
        domains: list to compare with, such as the release's `domains.txt`: a count and a domain on each line.
        top: how many domains to list.
        workers: processes at a time, default one per CPU.
        engine: `local` or `ray`.
    """
    started = time.monotonic()
    if top < 1:
        raise UserError(f"top is {top}; give at least 1.")
    options: dict[str, Any] = {"top": top, "domains": domains.name if domains else None}
    reference = read_domains(domains) if domains else {}
    documents = open_source(source)
    if (done := begin(destination, "stats", options, documents.inputs)) is not None:
        return done
    destination = Path(destination)
    results = run_shards(
        stats_shard,
        documents,
        destination,
        phase="stats",
        where=Where(workers, engine),
        kwargs={},
        output_name=lambda index: f"{WORK}/stats-{index:05d}",
    )
    value = _summary(results, reference, top)
    value["funnel"] = funnel(Path(source))
    write_json(destination / "stats.json", value)
    with atomic_write(destination / "domains.txt", "w") as file:
        file.writelines(f"{line['n']} {line['domain']}\n" for line in value["domains"])
    outputs = {}
    for name in ("stats.json", "domains.txt"):
        line = describe(destination / name, value["n_documents"])
        outputs[line.pop("name")] = line
    kept = ("n_in", "n_kept", "drops", "error", "shard")
    plain: list[Counts] = [{key: result[key] for key in kept if key in result} for result in results]
    return finish(destination, "stats", options, documents.inputs, plain, started, outputs=outputs)


def stats_shard(shard: str, output: Path) -> Counts:
    """Count one shard."""
    domains: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    years: Counter[str] = Counter()
    byte_lengths: Counter[int] = Counter()
    n = n_bytes = n_words = 0
    for record in iter_records(shard):
        document = document_of(record)
        size = len(document["text"].encode())
        n, n_bytes, n_words = n + 1, n_bytes + size, n_words + len(document["text"].split())
        domains[document["domain"] or "unknown"] += 1
        languages[document["language"] or "unknown"] += 1
        years[document["date"][:4] if document["date"] else "unknown"] += 1
        byte_lengths[_rounded(size)] += 1
    output.touch()
    tables = {"domains": domains, "languages": languages, "years": years}
    counts = {
        "n_bytes": n_bytes,
        "n_words": n_words,
        "byte_lengths": {str(k): v for k, v in byte_lengths.items()},
    }
    return {"n_in": n, "n_kept": n, "drops": {}, "tables": tables, **counts}


def _rounded(size: int) -> int:
    """Two significant digits, which keeps the table small and each length within 5 %."""
    step = 10 ** max(0, len(str(size)) - 2)
    return size // step * step


def _summary(results: list[Counts], reference: dict[str, int], top: int) -> dict[str, Any]:
    good = [result for result in results if "tables" in result]
    n, n_bytes, n_words = (sum(result[key] for result in good) for key in ("n_in", "n_bytes", "n_words"))
    domains, languages, years = (
        _merged(r["tables"][name] for r in good) for name in ("domains", "languages", "years")
    )
    lengths = _merged(result["byte_lengths"] for result in good)
    listed = [
        {"domain": domain, "n": count, "share": _share(count, n), **_beside(domain, reference)}
        for domain, count in sorted(domains.items(), key=lambda item: (-item[1], item[0]))[:top]
    ]
    names = set(domains) | {domain.split(".")[0] for domain in domains}
    absent = [domain for domain in list(reference)[:top] if domain not in names]
    return {
        "n_documents": n,
        "n_bytes_text": n_bytes,
        "n_words": n_words,
        "mean_bytes": round(n_bytes / n, 1) if n else 0,
        "percentiles_bytes": percentiles({int(k): v for k, v in lengths.items()}),
        "languages": dict(languages.most_common()),
        "years": dict(sorted(years.items())),
        "n_domains": len(domains),
        "domains": listed,
        "reference_absent": absent,
    }


def _merged(tables: Any) -> Counter[str]:
    total: Counter[str] = Counter()
    for table in tables:
        total.update(table)
    return total


def _share(count: int, n: int) -> float:
    return round(count / n, 6) if n else 0.0


def _beside(domain: str, reference: dict[str, int]) -> dict[str, Any]:
    if not reference:
        return {}
    count = reference.get(
        domain, reference.get(domain.split(".")[0])
    )  # the release's list has names without suffix
    return {"reference_share": None if count is None else _share(count, sum(reference.values()))}


def percentiles(lengths: dict[int, int]) -> dict[str, int]:
    """The lengths below which so many per cent of the documents are."""
    total, found, below = sum(lengths.values()), {}, 0
    waiting = list(PERCENTILES)
    for length, count in sorted(lengths.items()):
        below += count
        while waiting and below * 100 >= waiting[0] * total:
            found[str(waiting.pop(0))] = length
    return found


def read_domains(path: Path) -> dict[str, int]:
    """A list of counts and domains, most frequent first, as the release of GPT-2 had it."""
    found: dict[str, int] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    for line in lines:
        parts = line.split()
        if len(parts) == 2 and parts[0].isdigit():
            found[parts[1].lower()] = int(parts[0])
    if not found:
        raise UserError(
            f"{path} is no list of domains. Each line is a count and a domain, such as `62041 example.com`."
        )
    return found


def funnel(source: Path) -> list[dict[str, Any]]:
    """In, kept and dropped by reason of every finished stage in the folders beside `source`, in their order."""
    roots = [source.resolve().parent, source.resolve().parent.parent]
    root = next((r for r in roots if any((r / name / "manifest.json").exists() for name in STAGES)), roots[0])
    rows = []
    for name in STAGES:
        manifest = read_manifest(root / name)
        if manifest is not None:
            rows.append(
                {
                    "stage": manifest.stage,
                    "n_in": manifest.n_in,
                    "n_kept": manifest.n_kept,
                    "drops": manifest.drops,
                }
            )
    return rows
