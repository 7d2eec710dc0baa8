"""One small chart as inline SVG in the page's own colors and type.

matplotlib draws with placeholder colors; each becomes a CSS variable, so one drawing serves light, dark and print.
Text stays text (searchable, in the page's font) and is never read as mathematics: a run called `$x^$` is only a name.
In: series of points, reference lines. Out: an `<svg>` element without width and height; deterministic for equal input.
"""

import io
import re
import warnings
from dataclasses import dataclass, field
from typing import Any, Literal

from fourhorn.report.digits import rate
from fourhorn.report.results import clean

WIDTH_INCHES, HEIGHT_INCHES = 3.7, 2.75
INK, SOFT, LINE, PAPER = "#101112", "#606162", "#d0d1d2", "#303132"
OURS = ("#a00001", "#a00002", "#a00003", "#a00004")
VARIABLES = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
    **{color: f"var(--ours-{i})" for i, color in enumerate(OURS)},
}
MAX_LABEL = 30


@dataclass
class Series:
    """Points joined by a line."""

    label: str
    points: list[tuple[float, float]]
    color: str
    lows: list[float | None] = field(default_factory=list)
    highs: list[float | None] = field(default_factory=list)
    dashed: bool = False
    marker: str = "o"


@dataclass
class Chart:
    """A chart's contents and its axes."""

    title: str
    x_label: str
    y_label: str
    series: list[Series]
    references: list[tuple[str, float]] = field(default_factory=list)
    x_scale: Literal["linear", "log"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    x_kind: Literal["sizes", "rates", "plain"] = "plain"
    y_limits: tuple[float, float] | None = None


def draw(chart: Chart, *, salt: str) -> str:
    """The chart as an SVG element; `salt` keeps its ids apart from those of other charts on the page."""
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.size": 9,
        "axes.edgecolor": LINE,
        "axes.labelcolor": SOFT,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "text.color": INK,
        "text.parse_math": False,
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        rows = len(chart.series) if len(chart.series) > 2 else len(chart.series) > 1
        figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES + 0.09 * rows), layout="constrained")
        axes = figure.add_subplot()
        _draw_axes(axes, chart)
        for series in chart.series:
            _draw_series(axes, series)
        _draw_references(axes, chart)
        if len(chart.series) > 1:
            _draw_legend(figure, chart)
        out = io.StringIO()
        # the page draws the text in its own fonts: a glyph that matplotlib lacks only makes its box a guess
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return inline(out.getvalue())


def _draw_axes(axes: Any, chart: Chart) -> None:
    from matplotlib import ticker

    axes.set_title(label(chart.title, 60), loc="left", fontsize=10, fontweight="bold", color=INK, pad=10)
    axes.set_xlabel(label(chart.x_label, 60), fontsize=8.5)
    axes.set_ylabel(label(chart.y_label, 60), fontsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelsize=8.5)
    axes.set_yscale(chart.y_scale)
    axes.set_xscale(chart.x_scale)
    if chart.x_kind == "sizes":
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: size(x)))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.xaxis.set_major_locator(ticker.LogLocator(base=10, numticks=6))
    elif chart.x_kind == "rates":
        tried = sorted({x for series in chart.series for x, _ in series.points})
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.set_xticks(tried, [rate(x) for x in tried])
    elif chart.x_scale == "log":
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:.0e}".replace("e-0", "e-")))
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    if chart.y_scale == "log":
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f"{y:g}"))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    if chart.y_limits:
        axes.set_ylim(*chart.y_limits)
    axes.margins(x=0.08, y=0.12)


def _draw_legend(figure: Any, chart: Chart) -> None:
    """Names below the chart, where they hide no point, in as many columns as fit."""
    widest = max(len(label(series.label)) for series in chart.series)
    columns = 3 if widest <= 10 else 2 if widest <= 20 else 1
    figure.legend(
        loc="outside lower left", ncols=columns, frameon=False, fontsize=8, labelcolor=INK, handlelength=1.8,
        borderpad=0.0, columnspacing=1.4,
    )  # fmt: skip


def _draw_series(axes: Any, series: Series) -> None:
    xs, ys = [x for x, _ in series.points], [y for _, y in series.points]
    few = len(xs) <= 40
    axes.plot(
        xs,
        ys,
        color=series.color,
        linewidth=1.6,
        linestyle=(0, (3, 2)) if series.dashed else "-",
        marker=series.marker if few else None,
        markersize=4.5,
        label=label(series.label),
        clip_on=False,
        zorder=3,
    )
    for x, y, low, high in zip(xs, ys, series.lows, series.highs):
        if low is not None and high is not None and low <= y <= high:
            axes.plot(
                [x, x], [low, high], color=series.color, linewidth=1.1, alpha=0.55, solid_capstyle="round"
            )


def _draw_references(axes: Any, chart: Chart) -> None:
    left, right = axes.get_xlim()
    for name, y in chart.references:
        axes.axhline(y, color=SOFT, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            label(name, 40), (0, y), xycoords=("axes fraction", "data"), xytext=(3, 2.5),
            textcoords="offset points", fontsize=7.5, color=SOFT,
        )  # fmt: skip
    axes.set_xlim(left, right)


def size(x: float) -> str:
    """`100k`, `10M`, `1B`."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if x >= unit:
            return f"{x / unit:g}{letter}"
    return f"{x:g}"


def label(text: str, most: int = MAX_LABEL) -> str:
    """Text for a drawing: one line, not too long, never empty and never hidden by a leading underscore."""
    text = " ".join(clean(text).split())
    text = text if len(text) <= most else text[: most - 1] + "…"
    return f"\u00a0{text}" if text.startswith("_") or not text else text


def inline(document: str) -> str:
    """The `<svg>` element of an SVG file, sized by the page, colors as CSS variables, without unused ids."""
    element = document[document.index("<svg") :]
    view_box = re.search(r'viewBox="[^"]*"', element)
    assert view_box is not None
    element = f'<svg {view_box[0]} aria-hidden="true">' + element[element.index(">") + 1 :]
    element = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", element, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', element))
    element = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", element)
    element = element.replace("xlink:href", "href")
    for color, variable in VARIABLES.items():
        element = element.replace(color, variable)
    return re.sub(r">\s+<", "><", element).strip()
