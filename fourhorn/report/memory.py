"""§4 beyond Table 6: scores with and without the overlapping items, and the longest verbatim runs of samples.

In: the workspaces' `overlap/*.scores.json` and `overlap/*recitation.json`. Out: tables; none where nothing was
measured.
"""

from collections.abc import Sequence
from typing import Any

from fourhorn.report import digits
from fourhorn.report.blocks import Cell, Column, Table
from fourhorn.report.paper import paper
from fourhorn.report.results import Value, Workspace, clean, number
from fourhorn.report.tables import TITLES, measured

MAX_RUN_CHARACTERS = 220


def with_and_without(works: Sequence[Workspace]) -> list[Table]:
    """Scores on all items, on those without overlap and on those with it."""
    columns = [Column("test set"), Column("model"), Column("metric"), Column("overlap above", numeric=True)]
    columns += [Column(t, kind="ours", numeric=True) for t in ("all items", "without", "with", "difference")]
    columns += [Column("items with", kind="ours", numeric=True)]
    rows = []
    for work in works:
        for score in work.scores:
            task = clean(score.get("task", ""))
            found = score.get("rows")
            for row in found if isinstance(found, list) else []:
                if isinstance(row, dict):
                    title = TITLES.get(task, task)
                    label = title if len(works) == 1 else f"{work.label}: {title}"
                    rows.append(_score_row(label, clean(score.get("model", "")), row))
    if not rows:
        return []
    lambada, coqa = paper()["text"]["lambada"], paper()["text"]["coqa"]
    notes = [
        f"Paper: LAMBADA perplexity {lambada['perplexity']} on all items, {lambada['perplexity_without_overlap']} "
        f"without those that overlap; accuracy {lambada['accuracy']} and {lambada['accuracy_without_overlap']}; CoQA "
        f"about {coqa['f1_gain'][0]} to {coqa['f1_gain'][1]} F1 better through overlap.",
        "Difference: all items less those without overlap; its interval is over items (conversations of CoQA). "
        "No interval: every draw of items comes out alike.",
    ]
    caption = "What the overlapping items are worth: the same scores without those above a share of 8-grams."
    return [
        Table("With and without overlap", caption, columns, rows, notes, id="with-and-without", wide=True)
    ]


def _score_row(label: str, model: str, row: dict[str, Any]) -> list[Cell]:
    cells = [Cell(label, "head"), Cell(model), Cell(clean(row.get("metric", "")))]
    cells.append(Cell(digits.percent(number(row.get("threshold"))), numeric=True))
    cells += [measured(_value(row.get(key))) for key in ("all", "without", "with", "difference")]
    counted = f"{digits.count(number(row.get('n_with')))} of {digits.count(number(row.get('n')))}"
    return [*cells, Cell(counted, "ours", numeric=True)]


def _value(row: Any) -> Value | None:
    found = number(row.get("value")) if isinstance(row, dict) else None
    if found is None:
        return None
    return Value(found, number(row.get("low")), number(row.get("high")))


def recitations(works: Sequence[Workspace]) -> list[Table]:
    """The longest verbatim runs of samples in the training text."""
    columns = [
        Column("texts"),
        Column("sample"),
        Column("longest run, characters", kind="ours", numeric=True),
    ]
    columns += [Column("run", kind="ours"), Column("found in", kind="ours")]
    rows, notes = [], []
    for work in works:
        for recitation in work.recitations:
            name = clean(recitation.get("samples", "samples"))
            longest = recitation.get("longest")
            for row in [r for r in longest if isinstance(r, dict)][:8] if isinstance(longest, list) else []:
                text = " ".join(clean(row.get("text", "")).split())
                text = text if len(text) <= MAX_RUN_CHARACTERS else f"{text[:MAX_RUN_CHARACTERS]}…"
                where = clean(row.get("url") or row.get("document") or "")
                cells = [
                    Cell(digits.count(number(row.get("n_characters"))), "ours", numeric=True),
                    Cell(text, "ours"),
                    Cell(where, "ours"),
                ]
                label = name if len(works) == 1 else f"{work.label}: {name}"
                rows.append([Cell(label, "head"), Cell(clean(row.get("id", ""))), *cells])
            notes += [sentence(recitation)] if number(recitation.get("median_characters")) is not None else []
            notes += [probe(row) for row in recitation.get("probes", []) if isinstance(row, dict)]
    if not rows and not notes:
        return []
    if not rows:
        rows = [[Cell("No sample shares a run of the length looked for.", "none"), *[Cell("")] * 4]]
    caption = "The longest passages that samples share, letter for letter, with the training text."
    return [Table("Recitation", caption, columns, rows, notes, id="recitation", wide=True)]


def sentence(recitation: dict[str, Any]) -> str:
    """Median and number of a set of samples."""
    n, median = number(recitation.get("n_samples")), number(recitation.get("median_characters"))
    name = clean(recitation.get("samples", "samples"))
    return f"{name}: {digits.count(n)} samples, median longest run {digits.count(median)} characters."


def probe(row: dict[str, Any]) -> str:
    """A passage's place in the training text, and how far it is recited."""
    occurrences, length = number(row.get("n_occurrences")), number(row.get("recited_characters"))
    said = (
        f"“{clean(row.get('name', 'passage'))}” begins {digits.count(occurrences)} times in the training text"
    )
    recited = (
        f"; the model recites {digits.count(length)} characters of its continuation"
        if length is not None
        else ""
    )
    n_cut = number(row.get("n_cut"))
    cut = f" (given without its first {digits.count(n_cut)} tokens: short context)" if n_cut else ""
    times = paper()["text"]["recitation"]["gettysburg_occurrences"]
    return f"{said}{recited}{cut}. (Paper: the Gettysburg Address, about {times} times, recited.)"
