"""What overlapping items are worth: a model's scores with and without them.

§4: without the LAMBADA passages that share any 8-gram with WebText, perplexity goes from 8.6 to 8.7 and accuracy from
63.2 to 62.9; CoQA gains 0.5 to 1.0 F1 from documents already in WebText; of the Winograd schemata 10 overlap at all.

In: `results/NAME/<task>.items.jsonl` of the evaluation and `overlap/<task>.items.jsonl` of `overlap`, joined by id (a
CoQA turn belongs to its passage). Out: `overlap/<task>.NAME.scores.json` with, per metric and threshold, the score over
all items, over those at or below the threshold, over those above, and the difference of the first two; 95 % intervals
by drawing items (all turns of a conversation together) anew, for the difference from the same draws, and none where
every draw comes out alike. Raises `UserError` when no id of the two agrees.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fourhorn.errors import UserError
from fourhorn.files import version, write_json
from fourhorn.records import iter_records

N_BOOTSTRAP = 1000
THRESHOLDS = (0.0, 0.15, 0.5)
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """How a task's items make a score: the item's field, and what is done to its mean."""

    name: str
    field: str
    of: Callable[[float], float]


def _percent(mean: float) -> float:
    return 100 * mean


def _same(mean: float) -> float:
    return mean


METRICS = {
    "lambada": (Metric("accuracy, %", "correct", _percent), Metric("word perplexity", "nats", math.exp)),
    "cbt_cn": (Metric("accuracy, %", "correct", _percent),),
    "cbt_ne": (Metric("accuracy, %", "correct", _percent),),
    "winograd": (Metric("accuracy, %", "correct", _percent),),
    "coqa": (Metric("F1", "f1", _percent),),
    "natural_questions": (Metric("exact match, %", "correct", _percent),),
}


def scores(
    results: str | Path, overlaps: str | Path, *, thresholds: Sequence[float] = THRESHOLDS
) -> dict[str, dict[str, Any]]:
    """Write the scores with and without overlapping items of every task that has both files.

    Args:
        results: a model's result folder, `results/NAME`.
        overlaps: the folder that `overlap` wrote; the new files go there too.
        thresholds: shares of an item's 8-grams in [0, 1); an item above is an overlapping one.
    """
    results, overlaps = Path(results), Path(overlaps)
    written = {}
    for task, metrics in METRICS.items():
        items, shares = results / f"{task}.items.jsonl", overlaps / f"{task}.items.jsonl"
        if not items.is_file() or not shares.is_file():
            continue
        table = joined(items, shares, metrics)
        rows = [
            row for metric in metrics for t in thresholds if (row := compare(table, metric, t)) is not None
        ]
        written[task] = {"task": task, "model": results.name, "rows": rows, "version": version()}
        write_json(overlaps / f"{task}.{results.name}.scores.json", written[task])
    return written


def joined(items: Path, shares: Path, metrics: Sequence[Metric]) -> dict[str, Values]:
    """Of every scored item the overlap, under `share`, whose it is, under `document`, and each metric's field."""
    of_item = {str(row["id"]): row for row in iter_records(shares) if row.get("n_ngrams")}
    columns: dict[str, list[float]] = {"share": [], "document": [], **{m.field: [] for m in metrics}}
    numbers = {id: number for number, id in enumerate(of_item)}
    n_scored = 0
    for row in iter_records(items):
        if "skipped" in row:
            continue
        n_scored += 1
        found = of_item.get(str(row.get("id"))) or of_item.get(str(row.get("id")).rpartition("/")[0])
        if found is not None and all(metric.field in row for metric in metrics):
            columns["share"].append(found["n_hits"] / found["n_ngrams"])
            columns["document"].append(numbers[str(found["id"])])
            for metric in metrics:
                columns[metric.field].append(float(row[metric.field]))
    if n_scored and not columns["share"]:
        raise UserError(f"No id of {items} is in {shares}: measure the overlap of the same test set.")
    return {name: np.array(values, dtype=np.float64) for name, values in columns.items()}


def compare(table: dict[str, Values], metric: Metric, threshold: float) -> dict[str, Any] | None:
    """One metric with and without the items above a threshold; None when no item is above or none is left."""
    values, above = table[metric.field], table["share"] > threshold
    n, n_with = len(values), int(above.sum())
    if n_with == 0 or n_with == n:
        return None

    owners = np.unique(table["document"], return_inverse=True)[1]
    parts = [np.ones(n), (~above).astype(np.float64), above.astype(np.float64)]
    sums, sizes = (
        np.stack([np.bincount(owners, column * part) for part in parts], axis=1)
        for column in (values, np.ones(n))
    )  # (documents, 3)

    def score(rows: npt.NDArray[np.int64]) -> list[float]:
        totals = zip(sums[rows].sum(0).tolist(), sizes[rows].sum(0).tolist(), strict=True)
        return [metric.of(total / size) if size else math.nan for total, size in totals]

    generator = np.random.default_rng(0)
    draws = np.array([score(generator.integers(0, len(sums), len(sums))) for _ in range(N_BOOTSTRAP)])
    exact = score(np.arange(len(sums)))
    row: dict[str, Any] = {"metric": metric.name, "threshold": threshold, "n": n, "n_with": n_with}
    for name, value, column in zip(("all", "without", "with"), exact, draws.T, strict=True):
        row[name] = _interval(value, column)
    row["difference"] = _interval(exact[0] - exact[1], draws[:, 0] - draws[:, 1])
    return row


def _interval(value: float, draws: Values) -> dict[str, float | None]:
    if np.nanmin(draws) == np.nanmax(draws):
        return {"value": value, "low": None, "high": None}
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return {"value": value, "low": float(low), "high": float(high)}
