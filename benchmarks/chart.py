"""One picture of what the results hold: each claim's rivals beside fourhorn, as multiples of its speed.

    python benchmarks/chart.py

Reads the tables in `benchmarks/results/*.md`, writes `benchmarks/results/chart.svg`. A claim whose results are not
there, or have other columns, is left out and said so. Right of the line at 1 is faster than fourhorn.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parent / "results"
COLORS = {"fourhorn": "#1b6e63", "rival": "#b0562b"}


class Claim(NamedTuple):
    """Where one claim's figures stand: a column of a table, our row in it, and rows that are no rivals."""

    title: str
    file: str
    column: str
    ours: str
    leave_out: str = r"fourhorn"
    less_is_better: bool = False


CLAIMS = [
    Claim("Reddit dumps, rows/s", "webtext_dumps", "8 MB window", "fourhorn", "fourhorn|decompression"),
    Claim("WARC files written, pages/s", "webtext_warc", "pages/s", "fourhorn (isal 1)"),
    Claim("language, documents/s", "webtext_language", "documents/s/core", "fourhorn"),
    Claim("MinHash, documents/s", "webtext_dedup", "documents/s/core", "fourhorn"),
    Claim("encoding English, MB/s", "tokenizer_encode", "english", "fourhorn"),
    Claim("vocabulary, seconds", "tokenizer_train", "processor seconds", "fourhorn", less_is_better=True),
    Claim("training 124M, two cores, tokens/s", "training_speed", "tokens/s best", "fourhorn, kernels"),
    Claim("training 124M, one card, tokens/s", "training_card", "median", "fourhorn"),
    Claim(
        "decoding int8, tokens/s",
        "sampling_speed",
        "one sequence",
        "fourhorn int8",
        "fourhorn|.*bfloat16|.*F16",
    ),
    Claim(
        "8-grams asked, MB/s",
        "memorization_throughput",
        "MB/s per core",
        "fourhorn, bloom, words, ask",
        "fourhorn|.*add",
    ),
]


def tables(text: str) -> list[list[list[str]]]:
    """The Markdown tables of a page as rows of cells, the head first."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return [[table[0], *table[2:]] for table in found if len(table) > 2]


def figures(claim: Claim) -> tuple[float, dict[str, float]] | None:
    """Our figure and the rivals' by name, or None."""
    path = RESULTS / f"{claim.file}.md"
    for head, *rows in tables(path.read_text()) if path.exists() else []:
        at = next((i for i, name in enumerate(head) if name.startswith(claim.column)), None)
        if at is None:
            continue
        label = next(i for i in range(len(head)) if any(row[i].startswith("fourhorn") for row in rows))
        # of rows with one name the first counts: later ones are of other sizes
        values = {row[label]: number(row[at]) for row in reversed(rows) if len(row) > at}
        ours = next((value for name, value in values.items() if name.startswith(claim.ours)), None)
        rivals = {n: v for n, v in values.items() if v and not re.match(claim.leave_out, n)}
        if ours and rivals:
            return ours, rivals
    return None


def number(cell: str) -> float | None:
    """The first number of a cell; the larger end of a range."""
    found = re.findall(r"\d[\d,]*\.?\d*", cell)
    if not found:
        return None
    return float(found[1 if " to " in cell else 0].replace(",", ""))


def main() -> int:
    """Draw the chart; the number of claims that could not be drawn."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "fourhorn", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    drawn = [(claim, found) for claim in CLAIMS if (found := figures(claim))]
    for claim in CLAIMS:
        if claim not in [c for c, _ in drawn]:
            print(f"not drawn: {claim.title} (no such table in results/{claim.file}.md)")
    figure, axes = pyplot.subplots(figsize=(9, 0.62 * len(drawn) + 1))
    for y, (claim, (ours, rivals)) in enumerate(reversed(drawn)):
        ratios = {n: ours / v if claim.less_is_better else v / ours for n, v in rivals.items()}
        axes.plot([1], [y], "D", color=COLORS["fourhorn"])
        for i, (name, ratio) in enumerate(sorted(ratios.items(), key=lambda item: item[1])):
            axes.plot([ratio], [y], "o", color=COLORS["rival"], alpha=0.8)
            offset = (0, 6) if i % 2 == 0 else (0, -13)
            axes.annotate(
                name.split(",")[0], (ratio, y), offset, textcoords="offset points", ha="center", fontsize=7
            )
    axes.axvline(1, color=COLORS["fourhorn"], linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}×")
    axes.set_yticks(range(len(drawn)), [claim.title for claim, _ in reversed(drawn)])
    axes.set_xlabel("times fourhorn's speed in the same run (fourhorn = 1; left is slower)")
    axes.set_ylim(-0.7, len(drawn) - 0.3)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(RESULTS / "chart.svg", metadata={"Date": None, "Creator": None})
    print(f"{len(drawn)} claims → {RESULTS / 'chart.svg'}")
    return len(CLAIMS) - len(drawn)


if __name__ == "__main__":
    sys.exit(main())
