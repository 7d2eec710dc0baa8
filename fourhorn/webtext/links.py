"""Outbound links with enough karma, one entry per page: the first stage of WebText.

§2.1: "we scraped all outbound links from Reddit, a social media platform, which received at least 3 karma",
created up to December 2017, without Wikipedia. In: Reddit dumps, URL lists, Common Crawl indexes, or a folder of
them, any compression. Out: `part-NNNNN.jsonl.zst`, rows `{id, domain, url, key, karma, date, title, subreddit}`
in the order of `id` (the hash of `key`, which is the same for all spellings of a page; `url` is the original, for
fetching). A page posted several times is kept if any submission reached the karma, and counts once, with the
best.

Every line is kept or dropped for a counted reason: `malformed_line`, `self_post`, `deleted` (URL or title gone,
or taken down), `no_karma` (a Reddit row without a score), `low_karma`, `after_cutoff`, `invalid_url`, `reddit`,
`wikipedia`, `media`, `blocked_domain`, `bad_status` (Common Crawl indexes), `duplicate`.
"""

import contextlib
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from fourhorn.engine import ShardFunction, Task, map_shards
from fourhorn.errors import UserError
from fourhorn.files import (
    Manifest,
    finished,
    iter_lines,
    read_json,
    sha256_file,
    write_json,
    write_manifest,
)
from fourhorn.progress import progress
from fourhorn.records import shard_name
from fourhorn.webtext import dumps, urls
from fourhorn.webtext.sites import Sites
from fourhorn.webtext.spill import N_BUCKETS, SpillReader, SpillWriter, read_summary, write_lines
from fourhorn.webtext.work import clear_work, open_work

ROWS_PER_PART = 1 << 20
N_TOP_DOMAINS = 1000
_DOMAIN_START = len('{"id":"","domain":"') + 32


def links(
    source: Path,
    destination: Path,
    *,
    min_karma: int = 3,
    until: str = "2017-12-31",
    blocklist: Path | None = None,
    workers: int | None = None,
    engine: str = "local",
) -> Manifest:
    """Collect outbound links with enough karma from Reddit dumps, URL lists or Common Crawl indexes.

    Args:
        source: a file or a folder of RS_*.zst dumps, lists of URLs, JSON lines with `url`, or CDXJ indexes.
        destination: folder for the link shards.
        min_karma: least score of at least one submission of a page (paper: 3).
        until: last day, UTC, on which a link may have been posted (paper: December 2017).
        blocklist: file of further domains to leave out, one a line.
        workers: source files read at a time, default one per CPU; each may take the 2 GiB of a dump's zstd window.
        engine: `local` for processes of this machine, `ray` for a Ray cluster.
    """
    started = time.monotonic()
    source, destination = Path(source), Path(destination)
    files = _source_files(source)
    last_second = dumps.end_of_day(until)
    Sites(blocklist)  # a bad blocklist stops the run before any work
    options = {
        "min_karma": min_karma,
        "until": until,
        "blocklist": sha256_file(blocklist) if blocklist else None,
    }
    inputs = {
        str(file.relative_to(source)) if file != source else file.name: sha256_file(file) for file in files
    }
    if done := finished(destination, "webtext.links", options, inputs):
        clear_work(destination)
        return done
    work = open_work(destination, options, inputs)

    limits: dict[str, Any] = {
        "min_karma": min_karma,
        "last_second": last_second,
        "blocklist": str(blocklist) if blocklist else None,
    }
    spills = [work / f"source-{i:05d}.spill" for i in range(len(files))]
    tasks: list[Task] = [(f.name, {"path": str(f), "spill": str(s), **limits}) for f, s in zip(files, spills)]
    counts: Counter[str] = Counter()
    strange = []
    found = _run(read_source, tasks, workers=workers, engine=engine, name="links", unit="files")
    for file, value in zip(files, found, strict=True):
        counts.update(value)
        if 0 < value.get("malformed_line", 0) == sum(value.values()):
            strange.append(file.name)
    if 0 < counts["malformed_line"] == counts.total():
        clear_work(destination)
        with contextlib.suppress(OSError):  # it held something else before
            destination.rmdir()
        raise UserError(
            f"{source} holds no link: none of its {counts.total():,} lines is a URL, a submission or another JSON row "
            "with `url`, or a line of a Common Crawl index. Is it damaged, or another file?"
        )
    if strange:
        names = ", ".join(strange[:3]) + (", …" if len(strange) > 3 else "")
        print(
            f"links: {len(strange)} of {len(files)} files hold no link at all, and their lines count as malformed: "
            f"{names}",
            file=sys.stderr,
        )

    n_parts = max(1, min(N_BUCKETS, -(-counts["kept"] // ROWS_PER_PART)))
    tasks = [
        (
            shard_name(i),
            {"spills": [str(s) for s in spills], "part": i, "n_parts": n_parts, "folder": str(destination)},
        )
        for i in range(n_parts)
    ]
    parts = _run(write_part, tasks, workers=workers, engine=engine, name="links by page", unit="parts")
    return _finish(destination, options, inputs, counts, parts, started)


def read_source(
    path: str, spill: str, min_karma: int, last_second: int, blocklist: str | None
) -> dict[str, Any]:
    """Judge every line of one source file and spill the links that stay; counts by reason, and `kept`."""
    if (summary := read_summary(Path(spill))) is not None:
        return summary
    counts: Counter[str] = Counter()
    judge = partial(judged, min_karma=min_karma, last_second=last_second, sites=Sites(blocklist))
    writer = SpillWriter(Path(spill))
    for line in iter_lines(path):
        found = dumps.read_line(line)
        if isinstance(found, str):
            counts[found] += 1
            continue
        refusal, row = judge(found)
        if row is None:
            counts[refusal] += 1
            continue
        writer.add(bytes.fromhex(row["id"]), found.karma, found.created, orjson.dumps(row) + b"\n")
    counts.pop(dumps.SKIP, None)
    result = {**counts, "kept": writer.n_rows}
    writer.close(result)
    return result


def judged(
    found: dumps.Submission, *, min_karma: int, last_second: int, sites: Sites
) -> tuple[str, dict[str, Any] | None]:
    """Why a submission's link is dropped, or its row."""
    if found.karma is not None and found.karma < min_karma:
        return "low_karma", None
    if found.created is not None and found.created > last_second:
        return "after_cutoff", None
    url = urls.parse(found.url)
    if url is None:
        return "invalid_url", None
    if refusal := sites.refusal(url):
        return refusal, None
    key = urls.page_key(url)
    return "", {
        "id": urls.key_id(key),
        "domain": urls.registered_domain(url.hostname),  # second, where `write_part` finds it without parsing
        "url": found.url,
        "key": key,
        "karma": found.karma,
        "date": None if found.created is None else dumps.iso_date(found.created),
        "title": found.title,
        "subreddit": found.subreddit,
    }


def write_part(spills: list[str], part: int, n_parts: int, folder: str) -> dict[str, Any]:
    """Write one part: the best row of each key in its share of the buckets; what it holds, and its top domains."""
    path = Path(folder) / shard_name(part)
    note = Path(spills[0]).with_name(f"{path.name}.json")
    if note.exists() and path.exists():
        return dict(read_json(note))
    reader = SpillReader(list(map(Path, spills)))
    n_in = 0
    domains: Counter[bytes] = Counter()

    def groups() -> Any:
        nonlocal n_in
        for bucket in range(part * N_BUCKETS // n_parts, (part + 1) * N_BUCKETS // n_parts):
            lines, n_rows = reader.best_rows(bucket)
            n_in += n_rows
            domains.update([line[_DOMAIN_START : line.index(b'"', _DOMAIN_START)] for line in lines])
            yield lines

    n_kept = write_lines(path, groups())
    output = {"sha256": sha256_file(path), "n_bytes": path.stat().st_size, "n_items": n_kept}
    value = {"name": path.name, "output": output, "n_in": n_in, "domains": _names(domains)}
    write_json(note, value)
    return value


def _finish(
    destination: Path,
    options: dict[str, Any],
    inputs: dict[str, str],
    counts: Counter[str],
    parts: list[dict[str, Any]],
    started: float,
) -> Manifest:
    n_in = sum(counts.values())
    n_before = counts.pop("kept", 0)
    n_kept = sum(part["output"]["n_items"] for part in parts)
    drops = dict(counts)
    drops["duplicate"] = n_before - n_kept
    domains: Counter[str] = Counter()
    for part in parts:
        domains.update(part["domains"])
    names = {part["name"] for part in parts}
    for stale in destination.glob("part-*"):
        if stale.name not in names:
            stale.unlink()
    manifest = Manifest(
        stage="webtext.links",
        options=options,
        inputs=inputs,
        n_in=n_in,
        n_kept=n_kept,
        drops={reason: n for reason, n in sorted(drops.items()) if n},
        outputs={part["name"]: part["output"] for part in parts},
        seconds=round(time.monotonic() - started, 3),
        details={
            "top_domains": dict(sorted(domains.items(), key=lambda item: (-item[1], item[0]))[:N_TOP_DOMAINS])
        },
    )
    write_manifest(destination, manifest)
    clear_work(destination)
    return manifest


def _names(domains: Counter[bytes]) -> dict[str, int]:
    # Enough of a part to find the top thousand of all; pages are spread over parts by hash, so domains are as well.
    top = sorted(domains.items(), key=lambda item: (-item[1], item[0]))[: 20 * N_TOP_DOMAINS]
    return {name.decode(): n for name, n in top}


def _source_files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"{source} does not exist. Give a Reddit dump, a list of URLs, or a folder of them.")
    files = sorted(
        p
        for p in source.rglob("*")
        if p.is_file() and not p.name.startswith(".") and p.name != "manifest.json"
    )
    if not files:
        raise UserError(f"{source} is an empty folder. Put RS_*.zst dumps or lists of URLs into it.")
    return files


def _run(
    function: ShardFunction, tasks: list[Task], *, workers: int | None, engine: str, name: str, unit: str
) -> list[dict[str, Any]]:
    """The values of all tasks, in order; in this process when there is nothing to share out."""
    if engine == "local" and (workers == 1 or len(tasks) == 1):
        with progress(name, total=len(tasks), unit=unit) as bar:
            values = []
            for task_name, kwargs in tasks:
                values.append(function(**kwargs))
                bar.update(1, last=task_name)
            return values
    outcomes = map_shards(function, tasks, workers=workers, engine=engine, name=name, unit=unit)
    for outcome in outcomes:
        if outcome.value is None:
            raise UserError(
                f"{outcome.name} failed {outcome.attempts} times ({outcome.error}). Run the same command again."
            )
    return [outcome.value for outcome in outcomes if outcome.value is not None]
