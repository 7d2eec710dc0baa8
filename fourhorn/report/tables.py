"""Tables 1 to 6 of the paper, its column beside the run's own.

In: the workspaces, one or several side by side. Out: `blocks.Table`s. A number that was not measured is an empty
cell, never a guess; each measured one carries its interval, and beneath the table stand protocol, n and scale.
"""

from collections.abc import Sequence
from typing import Any

from fourhorn.report import digits
from fourhorn.report.blocks import Cell, Column, Table
from fourhorn.report.paper import n_params, paper, sizes
from fourhorn.report.protocols import protocol
from fourhorn.report.results import Value, Workspace, clean, number, record

NONE = Cell(digits.ABSENT, "none", numeric=True)
TITLES = {
    "lambada": "LAMBADA",
    "cbt_cn": "CBT-CN",
    "cbt_ne": "CBT-NE",
    "winograd": "Winograd",
    "coqa": "CoQA",
    "cnn_dailymail": "CNN/Daily Mail",
    "wmt14_en_fr": "WMT-14 En-Fr",
    "wmt14_fr_en": "WMT-14 Fr-En",
    "natural_questions": "Natural Questions",
    "webtext": "held-out documents",
    "samples": "samples",
}
MARKS = {"pocket": "†", "other": "‡"}
MARKS_NOTE = (
    "† on a small set made for this project, ‡ on another file than the paper's; without a mark on its own."
)


def ours(works: Sequence[Workspace], work: Workspace) -> str:
    """What the columns of a workspace are headed with."""
    name = "ours" if len(works) == 1 else f"ours: {work.label}"
    return f"{name}, pocket scale" if work.is_pocket else name


def measured(value: Value | None, work: Workspace | None = None) -> Cell:
    """A measured value with its interval; in a workspace with the paper's sets, other sets get a mark."""
    if value is None:
        return NONE
    mark = MARKS.get(value.scale, "") if work is not None and work.has_official else ""
    return Cell(digits.decimal(value.value) + mark, "ours", digits.interval(value), numeric=True)


def marks(works: Sequence[Workspace]) -> list[str]:
    """What the marks of `measured` mean, where there are any."""
    return [MARKS_NOTE] if any(work.has_official for work in works) else []


def printed(value: float | None) -> Cell:
    """A number of the paper, with the digits it is printed with."""
    if value is None:
        return NONE
    text = f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
    return Cell(text if float(text.replace(",", "")) == value else f"{value:g}", "paper", numeric=True)


def largest(work: Workspace) -> str | None:
    """The largest evaluated model."""
    return work.names[-1] if work.names else None


def table_1(works: Sequence[Workspace]) -> Table:
    """Demonstrations of translation found in the training text."""
    rows: list[list[Cell]] = []
    notes = [
        f"The paper prints {paper()['table_1']['n_examples']} excerpts from WebText: texts, not numbers, and not "
        "repeated here."
    ]
    for work in works:
        found = record(work.demonstrations)
        listed = found.get("examples")
        for row in [r for r in listed if isinstance(r, dict)] if isinstance(listed, list) else []:
            where = clean(row.get("url") or row.get("document") or "")
            rows.append([Cell(clean(row.get("text", ""))[:600], "ours"), Cell(where, "ours")])
        if work.demonstrations is not None:
            n, total = (digits.count(number(found.get(key))) for key in ("n_found", "n_documents"))
            notes.append(
                f"{work.label}: {n} such passages in {total} training documents, found by quotation marks."
            )
    if not rows:
        looked = any(work.demonstrations is not None for work in works)
        rows = [[Cell("None was found." if looked else "None was looked for in this run.", "none"), Cell("")]]
    columns = [Column("found in our training text", kind="ours"), Column("where", kind="ours")]
    return Table("Table 1", paper()["table_1"]["caption"], columns, rows, notes, id="table-1")


def table_2(works: Sequence[Workspace]) -> Table:
    """Model sizes."""
    shape = ("n_layer", "n_embd", "n_head", "n_ctx", "n_vocab")
    columns = [
        Column("size", "paper", "paper"),
        *(Column(t, "paper", "paper", True) for t in ("weights", "layers", "width")),
    ]
    for work in works:
        group = ours(works, work)
        columns += [Column("run", group, "ours")]
        columns += [
            Column(t, group, "ours", True)
            for t in ("weights", "layers", "width", "heads", "context", "vocabulary")
        ]
    rows = []
    for i in range(max([4, *(len(work.models) for work in works)])):
        row = [Cell("", "none")] * 4
        if i < len(sizes()):
            size, printed_row = sizes()[i], paper()["table_2"]["rows"][i]
            row = [
                Cell(size, "paper", strong=True),
                Cell(digits.short(n_params(size)), "paper", numeric=True),
                printed(printed_row["n_layer"]),
                printed(printed_row["n_embd"]),
            ]
        for work in works:
            if i < len(work.models):
                model = work.models[i]
                cells = [digits.short(model.n_params), *(digits.count(model.shape(name)) for name in shape)]
                row += [
                    Cell(clean(model.name), "ours", strong=True),
                    *(Cell(c, "ours", numeric=True) for c in cells),
                ]
            else:
                row += [Cell("", "none")] * 7
        rows.append(row)
    notes = [
        "The paper counts 117M … 1542M; its released weights hold 124M … 1558M, printed here under “weights”."
    ]
    return Table("Table 2", paper()["table_2"]["caption"], columns, rows, notes, id="table-2", wide=True)


def table_3(works: Sequence[Workspace]) -> Table:
    """Zero-shot language modeling and cloze tests."""
    source = paper()["table_3"]
    columns = [Column("test set"), Column("unit")]
    columns += [Column(size, "paper", "paper", True) for size in ("SOTA", *sizes())]
    for work in works:
        names = work.names or [""]
        columns += [Column(clean(name) or digits.ABSENT, ours(works, work), "ours", True) for name in names]
    rows, asked = [], []
    for column in source["columns"]:
        arrow = "↓" if column["better"] == "lower" else "↑"
        row = [Cell(column["label"], "head", strong=True), Cell(f"{column['unit']} {arrow}", "head")]
        row += [printed(source["rows"][size][column["key"]]) for size in ("SOTA", *sizes())]
        for work in works:
            for name in work.names or [""]:
                value = work.value(name, column["task"], column["metric"], column["scale"])
                row.append(measured(value, work))
        rows.append(row)
        asked.append((column["label"], column["task"], column["metric"], column["scale"]))
    for unit, metric in (("PPL ↓", "word_perplexity"), ("BPB ↓", "bits_per_byte")):
        cells = [
            measured(work.value(name, "webtext", metric), work)
            for work in works
            for name in work.names or [""]
        ]
        if any(cell.kind == "ours" for cell in cells):
            head = [Cell("held-out documents", "head", strong=True), Cell(unit, "head"), *[NONE] * 5]
            rows.append([*head, *cells])
            asked.append(("held-out documents", "webtext", metric, 1))
    asked += [
        ("LAMBADA, the most frequent answer", "lambada", "most_frequent_answer", 100),
        ("CBT-CN, the most frequent candidate", "cbt_cn", "most_frequent_candidate", 100),
        ("CBT-NE, the most frequent candidate", "cbt_ne", "most_frequent_candidate", 100),
    ]
    notes = [
        *source["notes"],
        "↓ lower is better, ↑ higher is better. ACC in percent. SOTA: the best before the paper, as it prints it.",
        "n counts items; of a text in one stream the windows that it is read in.",
        *marks(works),
    ]
    return Table(
        "Table 3", source["caption"], columns, rows, notes, protocol(works, asked), id="table-3", wide=True
    )


def table_4(works: Sequence[Workspace]) -> Table:
    """Summarization."""
    source = paper()["table_4"]
    columns = [Column("system"), *(Column(c, "paper", "paper", True) for c in source["columns"])]
    for work in works:
        model = f" ({clean(largest(work))})" if largest(work) else ""
        columns += [Column(c, ours(works, work) + model, "ours", True) for c in source["columns"]]
    rows = []
    for system, values in source["rows"].items():
        row = [Cell(system, "head", strong=system.startswith("GPT-2")), *(printed(v) for v in values)]
        for work in works:
            for metric in source["metrics"]:
                prefix = source["prefixes"].get(system)
                name = largest(work)
                value = (
                    work.value(name, "cnn_dailymail", prefix + metric)
                    if name and prefix is not None
                    else None
                )
                row.append(measured(value, work))
        rows.append(row)
    notes = [
        *source["notes"],
        "Bottom-Up Sum and Seq2Seq + Attn are trained systems of others; they are not run here.",
        *marks(works),
    ]
    asked = [("Summarization", "cnn_dailymail", "rouge_avg", 1)]
    return Table(
        "Table 4",
        source["caption"],
        columns,
        rows,
        notes,
        protocol(works, asked, last=True),
        id="table-4",
        wide=True,
    )


def table_5(works: Sequence[Workspace]) -> Table:
    """The most confident answers."""
    source = paper()["table_5"]
    columns = [Column("", numeric=True)]
    columns += [Column(t, "paper", "paper", t == "p, %") for t in ("question", "answer", "right", "p, %")]
    found = []
    for work in works:
        name = largest(work)
        details = work.results.get(name or "", {}).get("natural_questions", {}).get("details")
        listed = details.get("most_confident") if isinstance(details, dict) else None
        found.append([row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else [])
        group = ours(works, work) + (f" ({clean(name)})" if name else "")
        columns += [Column(t, group, "ours", t == "p, %") for t in ("question", "answer", "right", "p, %")]
    rows = []
    for i, row in enumerate(source["rows"]):
        cells = [Cell(str(i + 1), "head", numeric=True), *_answer(row, "paper", row["probability"])]
        for listed in found:
            if i < len(listed):
                share = number(listed[i].get("probability"))
                cells += _answer(listed[i], "ours", None if share is None else 100 * share)
            else:
                cells += [Cell("", "none")] * 4
        rows.append(cells)
    notes = [f"The paper marks {source['n_correct']} of its 30 answers right."]
    asked = [
        ("All questions", "natural_questions", "exact_match", 100),
        ("Surest 1 %", "natural_questions", "exact_match_top_1_percent", 100),
        ("Most frequent answer", "natural_questions", "baseline_exact_match", 100),
    ]
    return Table(
        "Table 5",
        source["caption"],
        columns,
        rows,
        notes,
        protocol(works, asked, last=True),
        id="table-5",
        wide=True,
    )


def _answer(row: dict[str, Any], kind: Any, share: float | None) -> list[Cell]:
    mark = "✓" if row.get("correct") is True else "✗" if row.get("correct") is False else digits.ABSENT
    texts = (clean(row.get("question", ""))[:300], clean(row.get("answer", ""))[:200], mark)
    return [
        *(Cell(t, kind) for t in texts),
        Cell(digits.surest(share), kind, numeric=True),
    ]


def table_6(works: Sequence[Workspace]) -> Table:
    """8-gram overlap of test sets with training text."""
    source = paper()["table_6"]
    labels = dict(zip(source["tests"], source["labels"], strict=True))
    columns = [
        Column("test set"),
        *(Column(t, "paper", "paper", True) for t in ("own train, %", "WebText train, %")),
    ]
    for work in works:
        columns += [
            Column(t, ours(works, work), "ours", True) for t in ("own train, %", "our train, %", "8-grams")
        ]
    tests = list(source["tests"])
    for work in works:
        tests += [clean(o["test"]) for o in work.overlaps if clean(o["test"]) not in tests]
    rows = []
    for i, test in enumerate(tests):
        row = [Cell(labels.get(test) or TITLES.get(test, test), "head", strong=True)]
        row += [printed(source["own"][i]), printed(source["webtext"][i])] if i < len(labels) else [NONE, NONE]
        for work in works:
            row += _overlap_cells([o for o in work.overlaps if clean(o["test"]) == test])
        rows.append(row)
    row = [Cell("mean of the six", "head"), printed(source["mean_own"]), printed(source["mean_webtext"])]
    rows.insert(len(labels), row + [NONE] * (3 * len(works)))
    notes = [
        "An occurrence of an 8-gram in the test set counts when the training text has it anywhere. Text is "
        "lower-cased, cut to alphanumeric words with single spaces; 8-grams are of the unit named below. "
        "Intervals are over items: a set that is one text has none, nor one whose items are all alike.",
    ]
    return Table(
        "Table 6",
        source["caption"],
        columns,
        rows,
        notes,
        _overlap_protocol(works, labels),
        id="table-6",
        wide=True,
    )


def _overlap_cells(found: list[dict[str, Any]]) -> list[Cell]:
    own = next((o for o in found if o.get("against") == "own"), None)
    train = next((o for o in found if o.get("against") != "own"), None)
    cells = []
    for overlap in (own, train):
        if overlap is None:
            cells.append(NONE)
            continue
        low, high = number(overlap.get("low")), number(overlap.get("high"))
        value = Value(float(overlap["overlap"]), low, high).scaled(100)
        cells.append(measured(value))
    n = number((train or own or {}).get("n_ngrams"))
    return [*cells, Cell(digits.count(n), "ours" if n is not None else "none", numeric=True)]


def _unit(overlap: dict[str, Any]) -> str:
    """`8 bpe of 1961391c7a10`: what the n-grams are of, with the first digits of the vocabulary's hash."""
    digest = overlap.get("tokenizer_sha256")
    of = f" of {clean(digest)[:12]}" if isinstance(digest, str) else ""
    return f"{clean(overlap.get('ngram', ''))} {clean(overlap.get('unit', ''))}{of}"


def _overlap_protocol(works: Sequence[Workspace], labels: dict[str, str]) -> Table | None:
    columns = [
        Column("measured"),
        Column("against"),
        Column("n-gram"),
        Column("method"),
        Column("training text", numeric=True),
    ]
    columns += [
        Column("distinct 8-grams, %", numeric=True),
        Column("chance match", numeric=True),
        Column("speed", numeric=True),
    ]
    rows = []
    for work in works:
        for o in work.overlaps:
            test = clean(o["test"])
            title = labels.get(test) or TITLES.get(test, test)
            where = title if len(works) == 1 else f"{work.label}: {title}"
            unique, speed = number(o.get("unique_overlap")), number(o.get("megabytes_per_second"))
            bound = number(o.get("false_positive_bound"))
            rows.append(
                [
                    Cell(where, "head"),
                    Cell(clean(o.get("against", ""))),
                    Cell(_unit(o)),
                    Cell(clean(o.get("method", ""))),
                    Cell(digits.n_bytes(number(o.get("train_bytes"))), numeric=True),
                    Cell(digits.decimal(None if unique is None else 100 * unique), numeric=True),
                    Cell(digits.ABSENT if bound is None else f"≤ {bound:.0e}", numeric=True),
                    Cell(digits.ABSENT if speed is None else f"{speed:.3g} MB/s", numeric=True),
                ]
            )
    return Table("How it was measured", "", columns, rows) if rows else None
