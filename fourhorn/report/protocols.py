"""What stands beneath a table: per number its set, scale, n, interval, chance and protocol.

In: the workspaces and the numbers that a table or figure shows. Out: a `blocks.Table` with a line per number, in the
words of its result; none where nothing was measured.
"""

from collections.abc import Sequence
from typing import Any

from fourhorn.report import digits
from fourhorn.report.blocks import Cell, Column, Table
from fourhorn.report.results import Workspace, clean, number

MAX_PROTOCOL_CHARACTERS = 600
# What a result says of its set, in words: only files known by their counts or hash are the paper's.
SCALES = {"official": "official", "pocket": "pocket scale", "other": "another file"}


def protocol(
    works: Sequence[Workspace], asked: Sequence[tuple[str, str, str, float]], *, last: bool = False
) -> Table | None:
    """What stands under a table: per number its set, scale, n, interval, chance and protocol.

    With `last` only the largest model's; else one line per task, for the largest model that has it.
    """
    columns = [Column("number"), Column("model"), Column("set"), Column("scale"), Column("n", numeric=True)]
    columns += [
        Column("value", numeric=True),
        Column("95 % interval", numeric=True),
        Column("chance", numeric=True),
        Column("protocol"),
    ]
    rows = []
    for work in works:
        for label, task, metric, scale in asked:
            names = work.names[-1:] if last else work.names[::-1]
            name = next((n for n in names if work.value(n, task, metric)), None)
            value = work.value(name, task, metric, scale) if name else None
            if name is None or value is None:
                continue
            result = work.results[name][task]
            rows.append(
                [
                    Cell(label if len(works) == 1 else f"{work.label}: {label}", "head"),
                    Cell(clean(name)),
                    Cell(clean(result.get("dataset", task))),
                    Cell(SCALES.get(value.scale, digits.ABSENT)),
                    Cell(digits.count(value.n), numeric=True),
                    Cell(digits.decimal(value.value), numeric=True),
                    Cell(digits.interval(value) or digits.ABSENT, numeric=True),
                    Cell(digits.decimal(value.chance), numeric=True),
                    Cell(words(result.get("protocol"), metric)),
                ]
            )
    return Table("How it was measured", "", columns, rows) if rows else None


def words(protocol: Any, metric: str) -> str:
    """A protocol's choices in one line: those of the metric, and those that hold for all."""
    if not isinstance(protocol, dict):
        return digits.ABSENT
    kinds = ("accuracy", "word_", "last_token_", "most_frequent_")
    metrics = {k for k in protocol if k.startswith(kinds) and k != metric}
    parts = [
        f"{k.replace('_', ' ')}: {text}"
        for k, v in protocol.items()
        if k not in metrics and (text := _choice(v)) is not None
    ]
    return clean("; ".join(parts))[:MAX_PROTOCOL_CHARACTERS] or digits.ABSENT


def _choice(value: Any) -> str | None:
    """A choice as text: also of a few numbers, in a list or by name; None for texts and what is nested deeper."""
    if isinstance(value, dict) and value and all(number(v) is not None for v in value.values()):
        return ", ".join(f"{digits.count(number(v))} {clean(k)}" for k, v in value.items())
    if isinstance(value, list) and value and all(number(v) is not None for v in value):
        return ", ".join(digits.count(number(v)) for v in value)
    return None if isinstance(value, dict | list) else str(value)
