"""Figures 1 to 5 of the paper and the run's own curves, as panels with the numbers beneath.

In: the workspaces. Out: `blocks.Figure`s: one small chart per panel, so that a phone shows them one under another, and
a table with every point. The horizontal axis of Figures 1 to 4 is the number of weights, so that pocket models and the
paper's stand on one scale and cannot be mistaken for one another.
"""

from collections.abc import Sequence
from typing import Any

from fourhorn.report import digits
from fourhorn.report.blocks import Cell, Column, Figure, Table
from fourhorn.report.paper import n_params, paper, sizes
from fourhorn.report.protocols import protocol
from fourhorn.report.results import Model, Workspace, clean, number, record
from fourhorn.report.svg import OURS, PAPER, SOFT, Chart, Series, draw
from fourhorn.report.tables import TITLES, marks, measured, ours, printed


def by_size(works: Sequence[Workspace], number_of_figure: int) -> Figure:
    """Figure 1, 2, 3 or 4: one panel per task, the paper's points and ours against the number of weights."""
    source = paper()[f"figure_{number_of_figure}"]
    panels, rows, asked = [], [], []
    for panel in source["panels"]:
        series = []
        for k, printed_series in enumerate(panel["series"]):
            values = printed_series["values"]
            name = "paper" if len(panel["series"]) == 1 else f"paper, {printed_series['label'].lower()}"
            points = [(float(n_params(size)), y) for size, y in zip(sizes(), values, strict=True)]
            series.append(Series(name, points, PAPER, marker="os"[k], dashed=k == 1))
            series += _ours(works, printed_series, k, len(panel["series"]))
            rows += _rows(works, panel, printed_series)
            text = (
                panel["title"]
                if len(panel["series"]) == 1
                else f"{panel['title']}, {printed_series['label'].lower()}"
            )
            asked.append((text, printed_series["task"], printed_series["metric"], printed_series["scale"]))
        references = [(r["label"], r["value"]) for r in panel["references"]]
        chart = Chart(
            panel["title"], "weights", panel["unit"], series, references, x_scale="log", x_kind="sizes"
        )
        if number_of_figure == 4 and any(y > 100 for s in series for _, y in s.points):
            chart.y_scale = "log"
        panels.append(draw(chart, salt=f"figure-{number_of_figure}-{panel['key']}"))
    columns = [Column("panel"), *(Column(size, "paper", "paper", True) for size in sizes())]
    for work in works:
        columns += [
            Column(clean(name) or "–", ours(works, work), "ours", True) for name in work.names or [""]
        ]
    table = Table("Numbers", "", columns, rows, marks(works), protocol=protocol(works, asked), wide=True)
    notes = list(source.get("notes", []))
    if source["source"] == "digitized":
        notes.append("The paper's points were read off its figure.")
    title = f"Figure {number_of_figure}"
    return Figure(title, source["caption"], panels, table, notes, id=f"figure-{number_of_figure}")


def _ours(works: Sequence[Workspace], source: dict[str, Any], k: int, n_series: int) -> list[Series]:
    found = []
    for i, work in enumerate(works):
        points, lows, highs = [], [], []
        for name in work.names:
            weights, value = (
                work.n_params(name),
                work.value(name, source["task"], source["metric"], source["scale"]),
            )
            if weights and value:
                points.append((weights, value.value))
                lows.append(value.low)
                highs.append(value.high)
        if points:
            name = ours(works, work) if len(works) == 1 else work.label
            name += f", {source['label'].lower()}" if n_series > 1 else ""
            found.append(
                Series(name, points, OURS[i % len(OURS)], lows, highs, dashed=k == 1, marker="os"[k])
            )
    return found


def _rows(works: Sequence[Workspace], panel: dict[str, Any], source: dict[str, Any]) -> list[list[Cell]]:
    text = panel["title"] if len(panel["series"]) == 1 else f"{panel['title']}, {source['label'].lower()}"
    row = [Cell(f"{text} ({panel['unit']})", "head"), *(printed(v) for v in source["values"])]
    for work in works:
        for name in work.names or [""]:
            value = work.value(name, source["task"], source["metric"], source["scale"])
            row.append(measured(value, work))
    return [row]


def figure_5(works: Sequence[Workspace]) -> Figure:
    """Distribution of 8-gram overlap with the training text, for held-out documents and for samples."""
    source = paper()["figure_5"]
    chart = Chart("Overlap with training text", "8-gram overlap, %", "share of texts", [], x_scale="linear")
    chart.y_limits = (0, 1.02)
    points = (
        [(0.0, source["share_of_samples_without"])],
        [(0.0, source["share_of_test_without"]), (source["median_test"], 0.5)],
    )
    chart.series += [
        Series("paper, samples", points[0], PAPER),
        Series("paper, test", points[1], SOFT, dashed=True, marker="s"),
    ]
    columns = [Column("texts"), Column("without any, %", numeric=True), Column("median, %", numeric=True)]
    columns += [Column("mean, %", numeric=True), Column("texts counted", numeric=True)]
    rows = [
        [Cell("paper, samples", "paper"), printed(100 * source["share_of_samples_without"]), *_absent(3)],
        [
            Cell("paper, WebText test", "paper"),
            printed(100 * source["share_of_test_without"]),
            printed(source["median_test"]),
            *_absent(2),
        ],
    ]
    for i, work in enumerate(works):
        chosen = [o for o in work.overlaps if o.get("against") != "own" and _is_text_set(work, o)]
        for k, overlap in enumerate(chosen[:3]):
            items = record(overlap.get("items"))
            cdf = [
                p
                for p in items.get("cdf", [])
                if isinstance(p, list) and len(p) == 2 and all(number(v) is not None for v in p)
            ]
            test = clean(overlap["test"])
            name = TITLES.get(test, test) if len(works) == 1 else f"{work.label}, {TITLES.get(test, test)}"
            if cdf:
                line = Series(
                    f"ours, {name}",
                    [(float(x), float(y)) for x, y in cdf],
                    OURS[(i + k) % len(OURS)],
                    marker="",
                    dashed=k > 0,
                )
                chart.series.append(line)
            shares = [number(items.get(key)) for key in ("share_without_hits", "median", "mean")]
            cells = [measured_share(share) for share in shares]
            rows.append(
                [
                    Cell(f"ours, {name}", "ours"),
                    *cells,
                    Cell(digits.count(number(items.get("n_with_ngrams"))), "ours", numeric=True),
                ]
            )
    notes = [
        "The paper's curve is known at the points that its text and figure state.",
        "Pocket texts share more 8-grams than WebText's where one domain is large.",
    ]
    notes = notes[: 2 if any(work.is_pocket for work in works) else 1]
    table = Table("Numbers", "", columns, rows)
    return Figure("Figure 5", source["caption"], [draw(chart, salt="figure-5")], table, notes, id="figure-5")


def _is_text_set(work: Workspace, overlap: dict[str, Any]) -> bool:
    test = clean(overlap["test"])
    return test in ("webtext", "test", "webtext_test", "val") or test in work.samples or "sample" in test


def _absent(n: int) -> list[Cell]:
    return [Cell(digits.ABSENT, "none", numeric=True)] * n


def measured_share(share: float | None) -> Cell:
    """A share in [0, 1] in percent."""
    return (
        Cell(digits.ABSENT, "none", numeric=True)
        if share is None
        else Cell(digits.decimal(100 * share), "ours", numeric=True)
    )


def losses(work: Workspace) -> Figure | None:
    """The ladder's loss curves."""
    shown = [model for model in work.models if model.losses or model.val_losses][-len(OURS) :]
    if not shown:
        return None
    train = [Series(m.name, m.losses, OURS[i % 4], marker="") for i, m in enumerate(shown) if m.losses]
    held = [Series(m.name, m.val_losses, OURS[i % 4]) for i, m in enumerate(shown) if m.val_losses]
    charts = [
        Chart("Training loss", "step", "nats per token", train),
        Chart("Held-out loss", "step", "nats per token", held),
    ]
    panels = [draw(chart, salt=f"loss-{work.label}-{i}") for i, chart in enumerate(charts) if chart.series]
    columns = [
        Column("run"),
        *(
            Column(t, "", "ours", True)
            for t in ("weights", "steps", "tokens", "train loss", "held-out loss", "learning rate")
        ),
    ]
    rows = [_summary_row(model) for model in work.models]
    notes = ["Losses in nats per token, held out by document. The paper prints no loss curves."]
    table = Table("Numbers", "", columns, rows)
    return Figure(
        "Loss curves", "Every model of the ladder, same data and recipe.", panels, table, notes, id="losses"
    )


def _summary_row(model: Model) -> list[Cell]:
    s = {k: number(v) for k, v in model.summary.items()}
    texts = [digits.short(model.n_params), digits.count(s.get("steps")), digits.short(s.get("n_tokens"))]
    texts += [
        digits.decimal(s.get("train_loss")),
        digits.decimal(s.get("val_loss")),
        digits.rate(s.get("learning_rate")),
    ]
    return [Cell(clean(model.name), "head", strong=True), *(Cell(t, "ours", numeric=True) for t in texts)]


def sweep(work: Workspace) -> Figure | None:
    """The search of the learning rate on the held-out 5 %."""
    searched = [model for model in work.models if model.sweep][-len(OURS) :]
    if not searched:
        return None
    series = [Series(model.name, model.sweep, OURS[i % 4]) for i, model in enumerate(searched)]
    chart = Chart(
        "Learning rate against held-out loss",
        "learning rate",
        "nats per token",
        series,
        x_scale="log",
        x_kind="rates",
    )
    columns = [Column("run"), Column("learning rate", numeric=True), Column("held-out loss", numeric=True)]
    rows = [
        [
            Cell(clean(m.name), "head"),
            Cell(digits.rate(x), numeric=True),
            Cell(digits.decimal(y), "ours", numeric=True, strong=y == min(v for _, v in m.sweep)),
        ]
        for m in searched
        for x, y in m.sweep
    ]
    caption = (
        "§2.3: the rate was tuned by hand for the best perplexity on a 5 % held-out sample; here by a search."
    )
    return Figure(
        "Learning-rate search",
        caption,
        [draw(chart, salt=f"sweep-{work.label}")],
        Table("Numbers", "", columns, rows),
        id="sweep",
    )
