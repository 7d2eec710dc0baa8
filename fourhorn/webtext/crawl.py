"""Fetch the linked pages politely into WARC files, going on where a killed crawl stopped.

§2.1: "we scraped all outbound links". In: the link shards. Out: for every shard of hosts `part-NNNNN.warc.gz`
(standard WARC: response, request and metadata records, the link's row in the latter) and
`part-NNNNN.index.jsonl`, one row for every link with its outcome. All links of one registered domain are in one
shard and one process, so that politeness needs no coordination. Every link is kept or dropped for a counted
reason: see `fetch`, `robots`, `crawler`, and `sites` for redirects that lead where links may not.

A local web server can be crawled under real host names without DNS: write `example.com 127.0.0.1:8080` lines into
a file and give `resolve=FILE, allow_private=("127.0.0.0/8",), delay_seconds=0`.
"""

import asyncio
import contextlib
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from fourhorn.engine import map_shards
from fourhorn.errors import UserError
from fourhorn.files import Manifest, finished, sha256_file, write_manifest
from fourhorn.progress import progress
from fourhorn.records import iter_records, list_shards
from fourhorn.webtext import urls
from fourhorn.webtext.archive import KEPT, Archive, read_outcomes
from fourhorn.webtext.crawler import Crawler, Shard
from fourhorn.webtext.fetch import open_fetcher, user_agent
from fourhorn.webtext.manners import Manners
from fourhorn.webtext.spill import N_BUCKETS, SpillReader, SpillWriter, read_summary
from fourhorn.webtext.watch import watching
from fourhorn.webtext.work import check_finished, clear_work, open_work

LINKS_PER_SHARD = 50_000
SPILL = "links.spill"


def crawl(
    source: Path,
    destination: Path,
    *,
    connections: int = 256,
    workers: int = 1,
    delay_seconds: float = 5.0,
    max_delay_seconds: float = 30.0,
    timeout_seconds: float = 30.0,
    max_page_bytes: int = 10 << 20,
    max_attempts: int = 3,
    retry_seconds: float | None = None,
    max_wait_seconds: float = 300.0,
    max_pages_per_host: int = 0,
    contact: str | None = None,
    allow_private: tuple[str, ...] = (),
    resolve: Path | None = None,
    blocklist: Path | None = None,
    verify_tls: bool = True,
    links_per_shard: int = LINKS_PER_SHARD,
    engine: str = "local",
) -> Manifest:
    """Fetch the linked pages politely into WARC files.

    Args:
        source: folder of link shards, as written by `webtext links`.
        destination: folder for the WARC files and their indexes.
        connections: exchanges at a time in each worker, never more than one for a host.
        workers: processes that share the hosts between them.
        delay_seconds: pause between two requests to a host; a longer Crawl-delay in robots.txt is honored.
        max_delay_seconds: longest Crawl-delay to put up with; a host that asks for more is left alone.
        timeout_seconds: longest time for one exchange, in seconds.
        max_page_bytes: most bytes of a page, as sent and decompressed; a larger one is dropped.
        max_attempts: how often a page is asked for when the failure may pass.
        retry_seconds: pause before the second attempt, doubling after it; default twice the delay.
        max_wait_seconds: longest Retry-After, in seconds, to wait for; a longer one ends the attempts.
        max_pages_per_host: most pages kept from one host, 0 for all.
        contact: address of a page or mailbox about this crawl, for the user agent.
        allow_private: networks that may be reached although not public, as 127.0.0.0/8.
        resolve: hosts file, `example.com 127.0.0.1:8080` a line, asked before DNS.
        blocklist: file of further domains where redirects may not lead, one a line.
        verify_tls: whether a page with a bad certificate is dropped.
        links_per_shard: links in one WARC file on average; what later stages work on at a time.
        engine: `local` for processes of this machine, `ray` for a Ray cluster.
    """
    manners = Manners(
        connections=connections,
        delay_seconds=delay_seconds,
        max_delay_seconds=max_delay_seconds,
        timeout_seconds=timeout_seconds,
        max_page_bytes=max_page_bytes,
        max_attempts=max_attempts,
        retry_seconds=2 * delay_seconds if retry_seconds is None else retry_seconds,
        max_wait_seconds=max_wait_seconds,
        max_pages_per_host=max_pages_per_host,
        contact=contact,
        allow_private=tuple(allow_private),
        resolve=str(resolve) if resolve else None,
        blocklist=str(blocklist) if blocklist else None,
        verify_tls=verify_tls,
    )
    return run_crawl(
        Path(source),
        Path(destination),
        manners,
        links_per_shard=links_per_shard,
        workers=workers,
        engine=engine,
    )


def run_crawl(
    source: Path, destination: Path, manners: Manners, links_per_shard: int, workers: int, engine: str
) -> Manifest:
    """The crawl of `source`, from where it stands to its manifest."""
    started = time.monotonic()
    manners.check()
    for name, value in (("workers", workers), ("links_per_shard", links_per_shard)):
        if value < 1:
            raise UserError(f"{name} is {value}; give at least 1.")
    check_finished(source)
    options = {**manners.recorded(), "links_per_shard": links_per_shard}
    inputs = {shard.name: sha256_file(shard) for shard in list_shards(source)}
    if done := finished(destination, "webtext.crawl", options, inputs):
        clear_work(destination)
        return done
    work = open_work(destination, options, inputs)
    n_links, n_distinct = _partition(source, work)
    n_shards = max(1, min(N_BUCKETS, -(-n_distinct // links_per_shard)))
    job: dict[str, Any] = {"folder": str(destination), "work": str(work), "n_shards": n_shards}
    numbers = list(range(n_shards))
    if workers == 1 and engine == "local":
        with progress("crawl", total=n_distinct, unit="links") as bar:
            crawl_shards(
                **job, numbers=numbers, manners=manners, show=lambda n, figures: bar.update(n, **figures)
            )
    else:
        tasks = [
            (f"hosts {i}", {**job, "numbers": numbers[i::workers], "manners": manners})
            for i in range(workers)
        ]
        with watching([work, destination], n_distinct):
            outcomes = map_shards(
                crawl_shards, tasks, workers=workers, engine=engine, name="hosts", unit="parts"
            )
        for outcome in outcomes:
            if outcome.value is None:
                raise UserError(
                    f"{outcome.name} failed ({outcome.error}). Run the same command again to go on."
                )
    return _finish(destination, options, inputs, n_links, n_distinct, n_shards, started)


def crawl_shards(
    folder: str,
    work: str,
    n_shards: int,
    numbers: list[int],
    manners: Manners,
    show: Callable[[int, dict[str, Any]], None] = lambda n, figures: None,
) -> dict[str, Any]:
    """Crawl some shards in this process, from where they stand to their end."""
    _allow_many_files()
    n_kept = 0

    def shards() -> Iterator[Shard]:
        for number in numbers:
            if (Path(folder) / f"part-{number:05d}.index.jsonl").exists():
                continue
            archive = Archive(Path(work), number, user_agent(manners.contact))
            if archive.done:
                show(len(archive.done), {})
            yield Shard(archive, _shard_lines(Path(work) / SPILL, number, n_shards))

    def finish(shard: Shard) -> None:
        nonlocal n_kept
        shard.archive.close()
        n_kept += shard.archive.counts[KEPT]
        for path in (
            shard.archive.warc_path,
            shard.archive.index_path,
        ):  # the index last: it marks the shard as done
            if path.exists():
                os.replace(path, Path(folder) / path.name)

    async def run() -> None:
        async with open_fetcher(manners) as fetcher:
            await Crawler(fetcher, manners, finish=finish, show=show).run(shards())

    asyncio.run(run())
    return {"n_kept": n_kept}


def _shard_lines(spill: Path, number: int, n_shards: int) -> list[bytes]:
    """The link rows of one shard, all links of a domain together."""
    lines: list[bytes] = []
    reader = SpillReader([spill])
    for bucket in range(number * N_BUCKETS // n_shards, (number + 1) * N_BUCKETS // n_shards):
        lines += reader.best_rows(bucket)[0]
    return lines


def _partition(source: Path, work: Path) -> tuple[int, int]:
    """Spill all links by the hash of their registered domain; how many there are, and how many distinct ones."""
    spill = work / SPILL
    summary = read_summary(spill)
    if summary is None:
        writer = SpillWriter(spill)
        for number, row in enumerate(iter_records(source)):
            url = row.get("url")
            if not isinstance(url, str):
                raise UserError(
                    f"{source} has a row without `url`. Run: fourhorn webtext links {source} links"
                )
            row["id"] = row["id"] if _is_id(row.get("id")) else urls.url_id(url)
            domain = row.get("domain") or urls.domain_of(url) or ""
            by_domain = hashlib.blake2b(str(domain).encode(), digest_size=8).digest()
            writer.add(by_domain + bytes.fromhex(row["id"])[:8], None, number, orjson.dumps(row) + b"\n")
        writer.close({"n_links": writer.n_rows})
        summary = {"n_links": writer.n_rows}
    reader = SpillReader([spill])
    return summary["n_links"], sum(len(reader.best_rows(bucket)[0]) for bucket in range(N_BUCKETS))


def _finish(
    destination: Path,
    options: dict[str, Any],
    inputs: dict[str, str],
    n_links: int,
    n_distinct: int,
    n_shards: int,
    started: float,
) -> Manifest:
    counts: Counter[str] = Counter()
    outputs: dict[str, dict[str, Any]] = {}
    for number in range(n_shards):
        name = f"part-{number:05d}"
        found = read_outcomes(destination / f"{name}.index.jsonl")
        counts.update(found)
        n_items = {f"{name}.warc.gz": found[KEPT], f"{name}.index.jsonl": found.total()}
        for file, n in n_items.items():
            path = destination / file
            outputs[file] = {"sha256": sha256_file(path), "n_bytes": path.stat().st_size, "n_items": n}
    n_kept = counts.pop(KEPT, 0)
    counts["duplicate"] += n_links - n_distinct
    manifest = Manifest(
        stage="webtext.crawl",
        options=options,
        inputs=inputs,
        n_in=n_links,
        n_kept=n_kept,
        drops={reason: n for reason, n in sorted(counts.items()) if n},
        outputs=outputs,
        seconds=round(time.monotonic() - started, 3),
        details={"user_agent": user_agent(options["contact"])},
    )
    write_manifest(destination, manifest)
    clear_work(destination)
    return manifest


def _allow_many_files() -> None:
    """Raise the soft limit of open files, for every connection is one."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if soft < hard else soft, hard))


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 32 and all(c in "0123456789abcdef" for c in value)
