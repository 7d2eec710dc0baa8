"""The paper's numbers and what public runs got, cell by cell, beside a run's own.

§3: Table 3, Table 4 and Figures 1–3 (digitized, ± 0.05 axis units, where the paper prints no number). The paper's
labels 117M, 345M, 762M and 1542M stand for 124M, 355M, 774M and 1558M parameters.

Every row names the metric of this package whose protocol is the closest known to the cell: together they are the
`paper` preset. Public runs are of the smallest model unless said otherwise.
"""

from collections.abc import Mapping
from typing import NamedTuple

from fourhorn.evaluation.task import Result


class Cell(NamedTuple):
    """One cell of the paper: where it is measured here, the paper's four sizes, and public runs of the smallest."""

    task: str
    metric: str
    label: str
    scale: float
    paper: tuple[float, float, float, float]
    public: str = ""


CELLS = (
    Cell("lambada", "word_perplexity", "LAMBADA perplexity", 1, (35.13, 15.60, 10.87, 8.63), "40.06 per whole word"),
    Cell("lambada", "accuracy", "LAMBADA accuracy", 100, (45.99, 55.48, 60.12, 63.24),
         "41.98 with a stop-word filter, 32.3–32.6 without, 46.67 last token"),
    Cell("cbt_cn", "accuracy", "CBT-CN accuracy", 100, (87.65, 92.35, 93.45, 93.30), "84.35"),
    Cell("cbt_ne", "accuracy", "CBT-NE accuracy", 100, (83.4, 87.1, 88.0, 89.05), "73.65"),
    Cell("wikitext2", "word_perplexity", "WikiText-2 perplexity", 1, (29.41, 22.76, 19.93, 18.34), "29.94 per token"),
    Cell("ptb", "word_perplexity", "PTB perplexity", 1, (65.85, 47.33, 40.31, 35.76), "79.65 not de-tokenized"),
    Cell("enwik8", "bits_per_byte", "enwik8 bits per byte", 1, (1.16, 1.01, 0.97, 0.93)),
    Cell("text8", "bits_per_char", "text8 bits per character", 1, (1.17, 1.06, 1.02, 0.98)),
    Cell("wikitext103", "word_perplexity", "WikiText-103 perplexity", 1, (37.50, 26.37, 22.05, 17.48), "37.37, raw"),
    Cell("1bw", "word_perplexity", "1BW perplexity", 1, (75.20, 55.72, 44.575, 42.16), "45.88 per token"),
    Cell("winograd", "accuracy", "Winograd, partial", 100, (61.54, 62.27, 69.23, 70.70)),
    Cell("winograd", "accuracy_full", "Winograd, full", 100, (55.68, 58.61, 64.47, 66.67)),
    Cell("coqa", "f1", "CoQA F1", 1, (25.9, 43.5, 49.8, 55.0)),
    Cell("cnn_dailymail", "rouge_avg", "CNN/DM ROUGE, mean", 1, (16.92, 20.73, 21.51, 21.40)),
    Cell("wmt14_fr_en", "bleu", "WMT-14 Fr-En BLEU", 1, (0.66, 3.08, 6.97, 11.5)),
    Cell("natural_questions", "exact_match", "Natural Questions exact match", 100, (0.76, 1.92, 2.64, 4.1)),
    Cell("webtext_perplexity", "test_token_perplexity", "WebText test perplexity", 1, (16.90, 12.93, 11.24, 10.20)),
    Cell("webtext_perplexity", "train_token_perplexity", "WebText train perplexity", 1, (16.23, 12.26, 10.37, 8.91)),
)  # fmt: skip


def table(results: Mapping[str, Result]) -> str:
    """A Markdown table: the paper's smallest and largest model, this run with interval and n, public runs."""
    lines = [
        "| cell | paper 117M | paper 1542M | this run (95 % interval) | n | data | public runs of 117M |",
        "|---|--:|--:|---|--:|---|---|",
    ]
    for cell in CELLS:
        result = results.get(cell.task)
        ours, n, scale = "no data", "", ""
        if result is not None and cell.metric in result.metrics:
            metric = result.metrics[cell.metric]
            ours = f"{metric.value * cell.scale:.2f}"
            if metric.low is not None and metric.high is not None:
                ours += f" [{metric.low * cell.scale:.2f}, {metric.high * cell.scale:.2f}]"
            n, scale = f"{metric.n:,}", result.scale
        lines.append(
            f"| {cell.label} | {cell.paper[0]:g} | {cell.paper[-1]:g} | {ours} | {n} | {scale} | {cell.public} |"
        )
    lines.append("\nScale `pocket`: a set of this project's own, not comparable with the paper's numbers.")
    return "\n".join(lines)
