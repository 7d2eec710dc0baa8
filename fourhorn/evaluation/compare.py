"""Compare two runs item by item: paired differences with intervals.

§3. Two models scored on the same items differ by less than their separate intervals suggest, because hard items are
hard for both. The difference of every item both runs share is bootstrapped over items (documents for language
modeling); for right-or-wrong items McNemar's counts stand beside it.

In: two folders of `results/NAME/`, whose data hashes must agree. Out: rows of task, metric, both values, difference
and its 95 % interval.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fourhorn.errors import UserError
from fourhorn.evaluation.metrics import bootstrap, mean_interval
from fourhorn.files import iter_lines, read_json


@dataclass(frozen=True)
class Difference:
    """One metric of one task in both runs, and b − a over the items both have."""

    task: str
    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    n: int
    only_a: int | None = None  # items only a has right
    only_b: int | None = None

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return {**asdict(self), "clear": self.clear}


# For each per-item field: the metric it makes, and its scale.
FLAGS = {
    "correct": ("accuracy", 1.0),
    "correct_full": ("accuracy_full", 1.0),
    "correct_no_filter": ("accuracy_no_filter", 1.0),
    "correct_last_token": ("accuracy_last_token", 1.0),
}
VALUES = {"f1": ("f1", 100.0), "exact_match": ("exact_match", 100.0)}


def compare(a: str | Path, b: str | Path) -> list[Difference]:
    """Paired differences of every task that both result folders hold."""
    first, second = Path(a), Path(b)
    for folder in (first, second):
        if not folder.is_dir():
            raise UserError(
                f"{folder} is no folder of results. Make one with: fourhorn evaluate MODEL {folder}"
            )
    tasks = sorted(
        {p.stem for p in first.glob("*.json")} & {p.stem for p in second.glob("*.json")} - {"missing"}
    )
    tasks = [task for task in tasks if (first / f"{task}.items.jsonl").exists()]
    if not tasks:
        raise UserError(
            f"{first} and {second} have no task in common. Run fourhorn evaluate with the same tasks."
        )
    rows: list[Difference] = []
    for task in tasks:
        rows += _compare_task(task, first, second)
    return rows


def _compare_task(task: str, first: Path, second: Path) -> list[Difference]:
    left, right = read_json(first / f"{task}.json"), read_json(second / f"{task}.json")
    if left["data_sha256"] != right["data_sha256"]:
        raise UserError(
            f"{task} was scored on different data: {left['data_sha256'][:12]} in {first}, "
            f"{right['data_sha256'][:12]} in {second}. Run both on the same files."
        )
    records = [_items(folder / f"{task}.items.jsonl") for folder in (first, second)]
    shared = [item for item in records[0] if item in records[1]]
    pairs = [(records[0][item], records[1][item]) for item in shared]
    rows = []
    for field, (metric, scale) in (FLAGS | VALUES).items():
        chosen = [(x, y) for x, y in pairs if field in x and field in y]
        if chosen:
            both = [(float(x[field]) * scale, float(y[field]) * scale) for x, y in chosen]
            documents = [x.get("conversation", x["id"]) for x, _ in chosen]
            rows.append(_paired(task, metric, both, documents, flags=field in FLAGS))
    if any("hint" in x for x, _ in pairs):
        both = [(100 * sum(x["hint"]) / 3, 100 * sum(y["hint"]) / 3) for x, y in pairs]
        rows.append(_paired(task, "rouge_avg", both, [x["id"] for x, _ in pairs], flags=False))
    if any("nats" in x and "n_bytes" in x for x, _ in pairs):
        rows.append(_bits_per_byte(task, pairs, left))
    if any("translation" in x for x, _ in pairs):
        rows.append(_bleu(task, pairs))
    return rows


def _items(path: Path) -> dict[str, dict[str, Any]]:
    records = (json.loads(line) for line in iter_lines(path) if line.strip())
    return {record["id"]: record for record in records if "skipped" not in record}


def _paired(
    task: str, metric: str, both: Sequence[tuple[float, float]], documents: Sequence[Any], *, flags: bool
) -> Difference:
    values = np.asarray(both, dtype=np.float64)  # (n, 2)
    gain = values[:, 1] - values[:, 0]
    low, high = mean_interval(gain, documents)
    counts = (int((gain < 0).sum()), int((gain > 0).sum())) if flags else (None, None)
    a, b = values.mean(0).tolist()
    return Difference(task, metric, a, b, b - a, low, high, len(gain), *counts)


def _bits_per_byte(
    task: str, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], result: dict[str, Any]
) -> Difference:
    """Total bits over total bytes; resampled by document, or by window where the text is one stream."""
    by_document = len({x["document"] for x, _ in pairs}) > 1
    stride = pairs[0][0]["stride"]
    blocks: dict[Any, list[float]] = {}
    for x, y in pairs:
        if x["stride"] == stride:
            block = blocks.setdefault(x["document"] if by_document else x["first"], [0.0, 0.0, 0.0])
            block[0] += x["nats"] / math.log(2)
            block[1] += y["nats"] / math.log(2)
            block[2] += x["n_bytes"]
    table = np.asarray(list(blocks.values()))  # (n, 3)

    def gain(rows: Any) -> float:
        total = table[rows].sum(0)
        return float((total[1] - total[0]) / total[2])

    whole = table.sum(0)
    low, high = bootstrap(len(table), gain)
    a, b = float(whole[0] / whole[2]), float(whole[1] / whole[2])
    return Difference(task, "bits_per_byte", a, b, b - a, low, high, len(table))


def _bleu(task: str, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> Difference:
    from sacrebleu.metrics.bleu import BLEU

    scorer = BLEU()
    references = [[x["reference"] for x, _ in pairs]]
    stats = [
        np.asarray(
            scorer._extract_corpus_statistics([pair[side]["translation"] for pair in pairs], references)
        )
        for side in (0, 1)
    ]

    def value(side: int, rows: Any) -> float:
        return float(scorer._compute_score_from_stats(stats[side][rows].sum(0).astype(int).tolist()).score)

    everything = np.arange(len(pairs))
    low, high = bootstrap(len(pairs), lambda rows: value(1, rows) - value(0, rows), n_samples=500)
    a, b = value(0, everything), value(1, everything)
    return Difference(task, "bleu", a, b, b - a, low, high, len(pairs))


def table(rows: Sequence[Difference]) -> str:
    """The differences as a Markdown table."""
    lines = [
        "| task | metric | a | b | b − a | 95 % interval | n | only a / only b right |",
        "|---|---|--:|--:|--:|---|--:|---|",
    ]
    for row in rows:
        wins = f"{row.only_a} / {row.only_b}" if row.only_a is not None else ""
        mark = " *" if row.clear else ""
        lines.append(
            f"| {row.task} | {row.metric} | {row.a:.4g} | {row.b:.4g} | {row.difference:+.4g}{mark} "
            f"| [{row.low:+.4g}, {row.high:+.4g}] | {row.n:,} | {wins} |"
        )
    return "\n".join([*lines, "", "\\* the interval leaves zero out"])
