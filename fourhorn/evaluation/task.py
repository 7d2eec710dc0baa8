"""What every experiment of §3 is: examples in, one record per item out, metrics from the records.

A `Task` knows its items, cuts them into batches by a fixed plan (so that a run that was killed goes on in the same
batches and ends in the same numbers), scores one batch at a time into JSON-able records, and computes its metrics
from all records. `Result` is what is written to `results/NAME/<task>.json`.

Metrics carry a 95 % interval and the number of items they rest on, accuracies also the level of chance.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fourhorn.evaluation.scoring import Scorer
from fourhorn.files import version

Record = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """One item of a task; subclasses add its fields."""

    id: str


@dataclass(frozen=True)
class Metric:
    """A value with its 95 % interval [low, high], the number of items behind it, and what guessing would reach."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    chance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields; `chance` only where there is one."""
        return {key: value for key, value in asdict(self).items() if key != "chance" or value is not None}


@dataclass
class Result:
    """One experiment's outcome with all that is needed to understand it."""

    task: str
    section: str
    dataset: str
    scale: str
    n: int
    skipped: dict[str, int]
    protocol: dict[str, Any]
    metrics: dict[str, Metric]
    data_sha256: str
    model: dict[str, Any]
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)
    version: str = field(default_factory=version)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `results/NAME/<task>.json`."""
        return {**asdict(self), "metrics": {name: metric.to_dict() for name, metric in self.metrics.items()}}

    def __str__(self) -> str:
        rows = [f"{self.task} (§{self.section}, {self.dataset}, {self.scale}, n = {self.n:,})"]
        for name, metric in self.metrics.items():
            interval = f" [{metric.low:.4g}, {metric.high:.4g}]" if metric.low is not None else ""
            chance = f", chance {metric.chance:.4g}" if metric.chance is not None else ""
            rows.append(f"  {name} {metric.value:.4g}{interval}{chance}")
        return "\n".join(rows)


@dataclass
class Source:
    """Where a task's items come from: files, what they are called in a result, and their hash."""

    dataset: str
    scale: str
    data_sha256: str
    skipped: dict[str, int] = field(default_factory=dict)


class Task(ABC):
    """One experiment bound to its data."""

    name: str
    section: str
    needs: tuple[str, ...] = ()  # libraries of the extra `eval` that the metrics are computed with

    def __init__(self, source: Source) -> None:
        self.source = source
        self.skipped: dict[str, int] = dict(source.skipped)

    @property
    @abstractmethod
    def n_items(self) -> int:
        """How many items there are before scoring."""

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """Every choice that decides the score, in words and numbers."""

    @abstractmethod
    def batches(self, scorer: Scorer) -> list[list[int]]:
        """The fixed plan: item numbers per batch."""

    @abstractmethod
    def score(self, scorer: Scorer, batch: Sequence[int]) -> list[Record]:
        """One record per item of the batch, in any order; each holds `id`, or `id` and `skipped` with a reason."""

    @abstractmethod
    def metrics(self, records: Sequence[Record]) -> dict[str, Metric]:
        """All metrics, from the records of all items that were not skipped."""

    def details(self, records: Sequence[Record]) -> dict[str, Any]:
        """Further figures for the report, JSON-able."""
        return {}


def by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Item numbers sorted by length, longest first, in batches: little padding, and the largest batch comes first."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


TaskFactory = Callable[..., Task]
