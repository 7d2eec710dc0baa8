"""One stage over shards: skip what is done, count what is dropped, write the manifest last.

The document side of §2.1 (extract, clean, dedup, split) is a row of such stages. Each calls one function per input
shard, which writes one output shard and returns its counts. When a shard is written, a small record of its counts is
put beside it in a hidden folder; a stage that was killed finds these records, does the remaining shards, and adds
all counts up in the order of the shards, so a broken run and an unbroken one end in the same bytes.

A shard that fails for good is quarantined: it is named in the manifest with the reason and its items are dropped as
`quarantined`. Raises `UserError` when the folder holds other work.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fourhorn.engine import map_shards
from fourhorn.errors import UserError
from fourhorn.files import (
    Manifest,
    finished,
    read_json,
    read_manifest,
    sha256_file,
    write_json,
    write_manifest,
)
from fourhorn.records import list_shards, shard_name

WORK = ".work"  # hidden folder inside a destination that is not finished
Counts = dict[
    str, Any
]  # {"n_in", "n_kept", "drops": {reason: n}, "details": {name: number or {name: number}}}


@dataclass(frozen=True)
class Source:
    """The shards a stage reads, the hash of each, and how many items each is known to hold."""

    paths: list[str]
    inputs: dict[str, str]
    n_items: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Where:
    """Where the shards of a stage are worked on; none of it changes the result."""

    workers: int | None = None
    engine: str = "local"
    memory_limit_bytes: int | None = None
    deaths: int | None = None


def open_source(source: str | Path, shards: Sequence[str | Path] | None = None) -> Source:
    """The record shards of `source` (or the given ones) with their hashes, taken from its manifest where it has one."""
    paths = list_shards(source) if shards is None else list(shards)
    names = [Path(path).name for path in paths]
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    manifest = read_manifest(folder)
    known = manifest.outputs if manifest else {}
    if manifest is None and (folder / WORK).exists():
        raise UserError(f"{folder} is not finished. Run its stage again, then this one.")
    inputs = {}
    for name, path in zip(names, paths, strict=True):
        # An address of a listing stands for itself: Common Crawl's files never change.
        inputs[name] = known.get(name, {}).get("sha256") or (
            "remote" if "://" in str(path) else sha256_file(path)
        )
    n_items = {name: int(known[name].get("n_items") or 0) for name in names if name in known}
    return Source([str(p) for p in paths], inputs, n_items)


def begin(
    destination: str | Path, stage: str, options: dict[str, Any], inputs: dict[str, str]
) -> Manifest | None:
    """The manifest when all is done already; otherwise mark the folder as this work's and return None."""
    destination = Path(destination)
    done = finished(destination, stage, options, inputs)
    if done is not None:
        shutil.rmtree(destination / WORK, ignore_errors=True)
        return done
    mark = {"stage": stage, "options": options, "inputs": inputs}
    path = destination / WORK / "stage.json"
    if not path.exists():
        write_json(path, mark)
    elif read_json(path) != _plain(mark):
        raise UserError(
            f"{destination} holds unfinished work with other options or other input. "
            f"Choose another folder, or delete this one and run {stage} again."
        )
    return None


def run_shards(
    function: Callable[..., Counts],
    source: Source,
    destination: str | Path,
    *,
    phase: str,
    where: Where,
    kwargs: dict[str, Any],
    output_name: Callable[[int], str] = shard_name,
    unit: str = "shards",
) -> list[Counts]:
    """Call `function(shard=…, output=…, **kwargs)` for each shard not done yet; the counts of all, in order.

    Each result also has `output` (name, sha256, n_bytes, n_items) and, for a quarantined shard, `error`.
    """
    destination = Path(destination)
    records = [destination / WORK / phase / f"{index:05d}.json" for index in range(len(source.paths))]
    tasks = []
    for index, (shard, record) in enumerate(zip(source.paths, records, strict=True)):
        if not record.exists():
            output = destination / output_name(index)
            task = {"function": function, "shard": shard, "output": str(output), "record": str(record)}
            tasks.append((Path(shard).name, {**task, "kwargs": kwargs}))
    outcomes = map_shards(
        do_shard,
        tasks,
        workers=where.workers,
        engine=where.engine,
        memory_limit_bytes=where.memory_limit_bytes,
        deaths=where.deaths,
        unit=unit,
        name=phase,
    )
    errors = {outcome.name: outcome.error for outcome in outcomes if outcome.error is not None}
    results = []
    for shard, record in zip(source.paths, records, strict=True):
        name = Path(shard).name
        if name in errors:
            n = source.n_items.get(name, 0)
            results.append(
                {"n_in": n, "n_kept": 0, "drops": {"quarantined": n}, "error": errors[name], "shard": name}
            )
        else:
            results.append(read_json(record))
    return results


def do_shard(
    function: Callable[..., Counts], shard: str, output: str, record: str, kwargs: dict[str, Any]
) -> dict[str, Any]:
    """In a worker: write one output shard, then the record that it is done."""
    counts = function(shard=shard, output=Path(output), **kwargs)
    write_json(record, {**counts, "output": describe(Path(output), int(counts["n_kept"]))})
    return {"n_in": counts["n_in"], "n_kept": counts["n_kept"]}


def describe(path: Path, n_items: int) -> dict[str, Any]:
    """A manifest's line on one output file."""
    return {
        "name": path.name,
        "sha256": sha256_file(path),
        "n_bytes": path.stat().st_size,
        "n_items": n_items,
    }


def finish(
    destination: str | Path,
    stage: str,
    options: dict[str, Any],
    inputs: dict[str, str],
    results: list[Counts],
    started: float,
    details: dict[str, Any] | None = None,
    outputs: dict[str, dict[str, Any]] | None = None,
) -> Manifest:
    """Add the shards' counts up, write the manifest and remove everything hidden."""
    destination = Path(destination)
    total, summed = add_up(results)
    quarantined = {result["shard"]: result["error"] for result in results if "error" in result}
    if outputs is None:
        lines = [dict(result["output"]) for result in results if "output" in result]
        outputs = {line.pop("name"): line for line in lines}
    manifest = Manifest(
        stage=stage,
        options=_plain(options),
        inputs=inputs,
        n_in=total["n_in"],
        n_kept=total["n_kept"],
        drops=total["drops"],
        outputs=outputs,
        seconds=round(time.monotonic() - started, 3),
        details={**summed, **(details or {}), **({"quarantined": quarantined} if quarantined else {})},
    )
    write_manifest(destination, manifest)
    shutil.rmtree(destination / WORK, ignore_errors=True)
    for leftover in destination.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
    return manifest


def add_up(results: list[Counts]) -> tuple[Counts, dict[str, Any]]:
    """The sums of all shards' counts, and of their details by name."""
    drops: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    tables: dict[str, Counter[str]] = {}
    for result in results:
        drops.update(result["drops"])
        for name, value in result.get("details", {}).items():
            if isinstance(value, dict):
                tables.setdefault(name, Counter()).update(value)
            else:
                numbers[name] += value
    n_in, n_kept = (sum(int(result[key]) for result in results) for key in ("n_in", "n_kept"))
    details = {**numbers, **{name: dict(table.most_common()) for name, table in tables.items()}}
    return {"n_in": n_in, "n_kept": n_kept, "drops": dict(sorted(drops.items()))}, details


def _plain(value: Any) -> Any:
    """What JSON makes of a value: tuples become lists."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
