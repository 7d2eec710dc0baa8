"""What a workspace folder holds, read with suspicion: manifests, runs, results, samples, overlaps.

In: the root folder of a run (`links/ … webtext/ tokenizer/ tokens/ runs/ results/ overlap/ samples/`). Out: a
`Workspace` of plain values. A file that is missing, cut off or of another shape never stops the report: what could not
be read becomes a `Gap` with its path and the reason, and nothing is put in its place. Text from files is cleaned of
control characters and lone surrogates here, and only escaped where it is written.

Raises `UserError` when the root itself is no folder.
"""

import itertools
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from fourhorn.errors import UserError
from fourhorn.records import iter_records

STAGES = (
    ("links", "links", "submissions", "links"),
    ("pages", "crawl", "links", "pages"),
    ("raw", "extract", "pages", "documents"),
    ("clean", "clean", "documents", "documents"),
    ("unique", "dedup", "documents", "documents"),
    ("webtext", "split", "documents", "documents"),
)
MAX_JSON_BYTES = 64 << 20
MAX_CURVE_POINTS = 300
N_SAMPLES = 4
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)


@dataclass(frozen=True)
class Gap:
    """Something that is not in the report, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Value:
    """A measured number with its 95 % interval and what it rests on."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    chance: float | None = None
    scale: str = ""  # of the set: official, pocket, or other

    def scaled(self, factor: float) -> "Value":
        """The same in another unit, for shares as percentages."""
        low, high, chance = (None if v is None else v * factor for v in (self.low, self.high, self.chance))
        return Value(self.value * factor, low, high, self.n, chance, self.scale)


@dataclass
class Model:
    """A training run."""

    name: str
    options: dict[str, Any]
    summary: dict[str, Any]
    config: dict[str, Any]
    losses: list[tuple[float, float]]
    val_losses: list[tuple[float, float]]
    sweep: list[tuple[float, float]]

    @property
    def n_params(self) -> float | None:
        """Weights of the model."""
        return number(self.summary.get("n_params"))

    def shape(self, name: str) -> float | None:
        """`n_layer`, `n_embd` … from the checkpoint's config, else from the options."""
        return number(self.config.get(name)) or number(self.options.get(name)) or None


@dataclass
class Workspace:
    """All that one root folder holds."""

    label: str
    root: Path
    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    statistics: dict[str, Any] = field(default_factory=dict)
    demonstrations: dict[str, Any] | None = None
    models: list[Model] = field(default_factory=list)
    results: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    overlaps: list[dict[str, Any]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    recitations: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Evaluated models, smallest first."""
        return sorted(self.results, key=lambda name: (self.n_params(name) or 0.0, name))

    def n_params(self, name: str) -> float | None:
        """Weights of an evaluated model: as its results say, else as its run says."""
        for result in self.results.get(name, {}).values():
            model = result.get("model")
            found = number(model.get("n_params")) if isinstance(model, dict) else None
            if found:
                return found
        return next((model.n_params for model in self.models if model.name == name), None)

    def value(self, name: str, task: str, metric: str, scale: float = 1.0) -> Value | None:
        """One metric of one model, or None where there is none."""
        result = self.results.get(name, {}).get(task)
        metrics = result.get("metrics") if result else None
        row = metrics.get(metric) if isinstance(metrics, dict) else None
        if result is None or not isinstance(row, dict):
            return None
        found = number(row.get("value"))
        if found is None:
            return None
        n, of = number(row.get("n")), clean(result.get("scale", ""))
        low, high, chance = (number(row.get(key)) for key in ("low", "high", "chance"))
        return Value(found, low, high, None if n is None else int(n), chance, of).scaled(scale)

    @property
    def has_official(self) -> bool:
        """Whether any result rests on one of the paper's own files."""
        return any(r.get("scale") == "official" for tasks in self.results.values() for r in tasks.values())

    @property
    def is_pocket(self) -> bool:
        """Whether anything here is at pocket scale: sets cut for the purpose, or models below the paper's smallest."""
        largest = max((m.n_params or 0 for m in self.models), default=0)
        small = bool(self.models) and largest < 100e6
        return small or any(
            r.get("scale") == "pocket" for tasks in self.results.values() for r in tasks.values()
        )


def number(value: Any) -> float | None:
    """A finite number as float; None for anything else, truth values included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def record(value: Any) -> dict[str, Any]:
    """A JSON object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def clean(value: Any) -> str:
    """Any value as text for a page: no control characters, lone surrogates or changes of text direction."""
    return _CONTROL.sub("\ufffd", value if isinstance(value, str) else str(value))


def read_workspace(root: Path, label: str | None = None) -> Workspace:
    """Read everything the report shows from a root folder."""
    if not root.is_dir():
        raise UserError(f"{root} is no folder. Give the folder of a run: fourhorn report FOLDER.")
    work = Workspace(clean(label or root.resolve().name or "run"), root)
    read = _Reader(work)
    for name, *_ in STAGES:
        read.keep(work.manifests, name, f"{name}/manifest.json", needed=f"{name}/ is not there")
    read.keep(work.manifests, "tokenizer", "tokenizer/manifest.json")
    for split in ("train", "val", "test"):
        read.keep(work.tokens, split, f"tokens/{split}/index.json")
    for path in ("stats/stats.json", "webtext/stats.json", "stats/manifest.json"):
        work.statistics = work.statistics or read.json(path) or {}
    work.models = sorted(
        (read.model(folder) for folder in read.folders("runs", "no run is there: fourhorn train")),
        key=lambda model: (model.n_params or 0.0, model.name),
    )
    for folder in read.folders("results", "nothing is evaluated: fourhorn evaluate"):
        work.results[folder.name] = dict(read.results(folder))
    for folder in read.folders("samples", "no samples are drawn: fourhorn sample"):
        work.samples[folder.name] = read.samples(folder)
    read.overlaps()
    return work


class _Reader:
    """Reads files below one root and notes what cannot be read."""

    def __init__(self, work: Workspace) -> None:
        self.work = work

    def gap(self, path: Path | str, reason: str) -> None:
        shown = os.path.relpath(path, self.work.root) if isinstance(path, Path) else path
        self.work.gaps.append(Gap(clean(shown), clean(reason)))

    def json(self, path: Path | str, *, needed: str = "") -> dict[str, Any] | None:
        """A JSON object; None, and a gap unless it is merely absent and not needed, where there is none."""
        path = Path(path) if Path(path).is_relative_to(self.work.root) else self.work.root / path
        try:
            if not path.is_file():
                if needed:
                    self.gap(path, needed)
                return None
            if path.stat().st_size > MAX_JSON_BYTES:
                raise ValueError(f"larger than {MAX_JSON_BYTES >> 20} MiB")
            value = orjson.loads(path.read_bytes())
            if not isinstance(value, dict):
                raise ValueError("not a JSON object")
        except (ValueError, OSError, RecursionError) as error:
            self.gap(path, f"damaged: {error}")
            return None
        return value

    def keep(self, into: dict[str, dict[str, Any]], key: str, path: str, *, needed: str = "") -> None:
        """Read a JSON object into a table, where there is one."""
        value = self.json(path, needed=needed)
        if value is not None:
            into[key] = value

    def folders(self, name: str, needed: str) -> list[Path]:
        """The folders in one of the root's folders."""
        try:
            found = sorted(
                p for p in (self.work.root / name).iterdir() if p.is_dir() and not p.name.startswith(".")
            )
        except OSError:
            found = []
        if not found:
            self.gap(f"{name}/", needed)
        return found

    def model(self, folder: Path) -> Model:
        """A training run."""
        options = self.json(folder / "options.json", needed="the run has no options") or {}
        summary = self.json(folder / "summary.json", needed="the run is not finished") or {}
        config = self.json(folder / "checkpoint" / "config.json") or {}
        sweep = (self.json(folder / "sweep.json") or {}).get("tried")
        tried = sweep if isinstance(sweep, list) else []
        rows = list(self.lines(folder / "metrics.jsonl"))
        return Model(
            folder.name,
            options,
            summary,
            record(config.get("config")) or config,
            thinned(pairs(rows, "step", "loss")),
            thinned(pairs(rows, "step", "val_loss")),
            sorted(pairs(tried, "learning_rate", "held_out_loss")),
        )

    def lines(self, path: Path) -> Iterator[dict[str, Any]]:
        """The objects of a JSON-lines file; what is damaged is counted in a gap."""
        n_damaged = 0
        try:
            with path.open("rb") as file:
                for line in file:
                    try:
                        row = orjson.loads(line)
                    except ValueError:
                        row = None
                    if isinstance(row, dict):
                        yield row
                    else:
                        n_damaged += bool(line.strip())
        except OSError as error:
            self.gap(path, f"cannot be read: {error.strerror}")
        if n_damaged:
            self.gap(path, f"damaged: {n_damaged} lines are no JSON objects")

    def results(self, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every task's result of one model."""
        for path in sorted(folder.glob("*.json")):
            result = self.json(path) if path.name not in ("manifest.json", "options.json") else None
            if result is None:
                continue
            if path.name == "missing.json":
                self.not_evaluated(result)
                continue
            if not isinstance(result.get("metrics"), dict):
                self.gap(path, "damaged: it has no metrics")
                continue
            bad = [
                k
                for k, row in result["metrics"].items()
                if not isinstance(row, dict) or number(row.get("value")) is None
            ]
            if bad:
                self.gap(path, f"damaged: no number in {', '.join(sorted(map(clean, bad)))}")
            yield path.name.removesuffix(".json"), result

    def not_evaluated(self, reasons: dict[str, Any]) -> None:
        """Tasks that had no data, each named once for all models."""
        for task, reason in reasons.items():
            gap = Gap(f"results/*/{clean(task)}.json", f"not evaluated: {clean(reason)}")
            if gap not in self.work.gaps:
                self.work.gaps.append(gap)

    def samples(self, folder: Path) -> list[dict[str, Any]]:
        """The first samples of a folder."""
        try:
            rows = [row for row in itertools.islice(iter_records(folder), 400) if isinstance(row, dict)]
            return sorted(rows, key=lambda row: len(str(row.get("completion", ""))) < 20)[:N_SAMPLES]
        except (UserError, OSError) as error:
            self.gap(folder, f"no samples: {error}")
            return []

    def overlaps(self) -> None:
        """Overlaps, scores with and without overlapping items, and recitations."""
        paths = sorted((self.work.root / "overlap").glob("*.json"))
        if not paths:
            self.gap("overlap/", "no overlap is measured: fourhorn overlap")
        for path in paths:
            value = self.json(path)
            if value is None:
                continue
            if path.name == "demonstrations.json":
                self.work.demonstrations = value
            elif path.name.endswith(".scores.json"):
                self.work.scores.append(value)
            elif path.name.endswith("recitation.json"):
                self.work.recitations.append(value)
            elif number(value.get("overlap")) is not None and isinstance(value.get("test"), str):
                self.work.overlaps.append(value)
            elif value.get("n_ngrams") == 0:
                self.gap(path, "the test set is shorter than one n-gram")
            else:
                self.gap(path, "damaged: it has no overlap")


def pairs(rows: list[Any], x: str, y: str) -> list[tuple[float, float]]:
    """The points (x, y) of rows that have both as numbers."""
    found = ((number(row.get(x)), number(row.get(y))) for row in rows if isinstance(row, dict))
    return [(a, b) for a, b in found if a is not None and b is not None]


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MAX_CURVE_POINTS points, each the mean of a run of neighbors."""
    step = -(-len(points) // MAX_CURVE_POINTS)
    if step <= 1:
        return points
    groups = [points[i : i + step] for i in range(0, len(points), step)]
    return [(g[-1][0], sum(y for _, y in g) / len(g)) for g in groups]
