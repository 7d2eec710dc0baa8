"""The order of the page: the paper's own, §1 to the appendix, then what made the run and what is missing.

In: the workspaces. Out: `Section`s of blocks. Figure 1 opens as in the paper; §2 is data, tokenizer, models and cost;
§3 the experiments; §4 memorization; the appendix samples.
"""

from collections.abc import Sequence
from typing import Any

from fourhorn.report import digits
from fourhorn.report.blocks import Cell, Column, Facts, Funnel, Sample, Samples, Section, Step, Table, Text
from fourhorn.report.figures import by_size, figure_5, losses, sweep
from fourhorn.report.memory import recitations, with_and_without
from fourhorn.report.paper import paper
from fourhorn.report.results import STAGES, Workspace, clean, number, record
from fourhorn.report.runs import cost, provenance, tokenizers
from fourhorn.report.tables import table_1, table_2, table_3, table_4, table_5, table_6

PROMPT_CHARACTERS, COMPLETION_CHARACTERS = 420, 1400
N_DOMAINS = 15


def sections(works: Sequence[Workspace]) -> list[Section]:
    """The whole page."""
    return [
        Section("glance", "At a glance", [*[Facts(glance(work)) for work in works[:1]], by_size(works, 1)]),
        Section(
            "webtext", "§2.1 Training text", [*_per(works, funnel), *_per(works, domains), table_1(works)]
        ),
        Section("tokenizer", "§2.2 Input representation", [tokenizers(works)]),
        Section(
            "models",
            "§2.3 Models and training",
            [table_2(works), *_per(works, losses), *_per(works, sweep), cost(works)],
        ),
        Section(
            "experiments",
            "§3 Experiments",
            [table_3(works), by_size(works, 2), by_size(works, 3), table_4(works), table_5(works)],
        ),
        Section(
            "memorization",
            "§4 Generalization or memorization",
            [table_6(works), *with_and_without(works), *recitations(works), by_size(works, 4)],
        ),
        Section("appendix", "§8 Appendix: samples", [figure_5(works), *_per(works, samples)]),
        Section("provenance", "Provenance", [provenance(works), gaps(works)]),
    ]


def _per(works: Sequence[Workspace], make: Any) -> list[Any]:
    """One block per workspace, titled with its label when there are several."""
    blocks = []
    for work in works:
        block = make(work)
        if block is None:
            continue
        if len(works) > 1:
            block.title = f"{block.title}: {work.label}"
        block.id = f"{block.id}-{works.index(work)}" if block.id else ""
        blocks.append(block)
    return blocks


def glance(work: Workspace) -> list[tuple[str, str]]:
    """The run in five numbers."""
    links = number(work.manifests.get("links", {}).get("n_in"))
    documents = number(work.manifests.get("webtext", {}).get("n_kept"))
    tokens = sum(number(index.get("n_tokens")) or 0 for index in work.tokens.values()) or None
    model = work.models[-1] if work.models else None
    loss = number(model.summary.get("val_loss")) if model else None
    facts = [
        (digits.count(links), "submissions read"),
        (digits.count(documents), "documents kept"),
        (digits.short(tokens), "tokens"),
        (digits.short(model.n_params if model else None), "weights of the largest model"),
        (digits.decimal(loss), "its held-out loss, nats per token"),
    ]
    return [(value, what) for value, what in facts if value != digits.ABSENT]


def funnel(work: Workspace) -> Funnel | None:
    """How many items each stage of §2.1 took in, kept and dropped."""
    steps, before = [], None
    for folder, name, unit_in, unit_out in STAGES:
        manifest = work.manifests.get(folder)
        if manifest is None:
            before = None
            continue
        n_in, n_kept = (number(manifest.get(key)) for key in ("n_in", "n_kept"))
        drops = record(manifest.get("drops"))
        counted = [(clean(reason).replace("_", " "), int(number(n) or 0)) for reason, n in drops.items()]
        counted.sort(key=lambda row: -row[1])
        if n_in is None or n_kept is None:
            continue
        remark = ""
        if n_in != n_kept + sum(n for _, n in counted):
            remark = "the counts of this stage do not add up"
        elif before is not None and before != n_in:
            remark = f"the stage before kept {before:,}"
        steps.append(Step(name, unit_in, unit_out, int(n_in), int(n_kept), counted, remark))
        before = int(n_kept)
    return Funnel("From link to document", steps, id="funnel") if steps else None


def domains(work: Workspace) -> Table | None:
    """The most frequent domains beside those of WebText."""
    counted = domain_counts(work)
    source = paper()["domains"]
    if not counted:
        return None
    total, unit = sum(n for _, n in counted), "documents" if work.statistics else "links"
    names = {row["domain"] for row in source["top"]}
    columns = [
        Column("", numeric=True),
        Column("domain", "WebText", "paper"),
        Column("links", "WebText", "paper", True),
    ]
    columns += [
        Column("domain", "ours", "ours"),
        Column(unit, "ours", "ours", True),
        Column("share", "ours", "ours", True),
    ]
    rows = []
    for i, listed in enumerate(source["top"][:N_DOMAINS]):
        row = [Cell(str(i + 1), "head", numeric=True), Cell(listed["domain"], "paper")]
        row.append(Cell(digits.count(listed["n_links"]), "paper", numeric=True))
        if i < len(counted):
            domain, n = counted[i]
            row += [Cell(domain, "ours"), Cell(digits.count(n), "ours", numeric=True)]
            row.append(Cell(digits.percent(n / total), "ours", numeric=True))
        else:
            row += [Cell("", "none")] * 3
        rows.append(row)
    shared = sum(n for domain, n in counted if domain in names or domain.split(".")[0] in names)
    notes = [
        f"WebText: links among its {source['n_listed']:,} most frequent domains, as published with the models; "
        f"the first {len(source['top'])}. {digits.percent(shared / total)} of our {unit} come from one of them."
    ]
    return Table("Domains", source["caption"], columns, rows, notes, id="domains", wide=True)


def domain_counts(work: Workspace) -> list[tuple[str, int]]:
    """Domains with their documents, most frequent first; without statistics of the data, with their links."""
    found = work.statistics.get("domains") or record(work.manifests.get("links", {}).get("details")).get(
        "top_domains"
    )
    rows: list[tuple[str, int]] = []
    if isinstance(found, dict):
        rows = [(clean(d), int(n)) for d, n in found.items() if number(n)]
    elif isinstance(found, list):
        for row in found:
            if isinstance(row, dict):
                name, n = (
                    row.get("domain"),
                    number(row.get("n_documents") or row.get("n") or row.get("documents")),
                )
            elif isinstance(row, list) and len(row) == 2:
                name, n = row[0], number(row[1])
            else:
                continue
            if name is not None and n:
                rows.append((clean(name), int(n)))
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def samples(work: Workspace) -> Samples | None:
    """What the models wrote, not chosen."""
    shown = []
    for name, rows in work.samples.items():
        for row in rows:
            completion = clean(row.get("completion", row.get("text", "")))
            prompt = clean(row.get("prompt", ""))
            settings = record(row.get("settings"))
            words = [
                f"{k.replace('_', ' ')} {clean(v)}"
                for k, v in settings.items()
                if k in ("temperature", "top_k", "top_p")
            ]
            words += [f"seed {clean(row['seed'])}"] if "seed" in row else []
            shown.append(Sample(clean(name), tail(prompt), head(completion), ", ".join(words)))
    if not shown:
        return None
    caption = "First of the run, not chosen: a held-out context, then the model's continuation."
    return Samples("Samples", caption, shown, id="samples")


def head(text: str) -> str:
    """The beginning of a long text."""
    rest = len(text) - COMPLETION_CHARACTERS
    return text if rest <= 0 else f"{text[:COMPLETION_CHARACTERS]} … ({rest:,} more characters)"


def tail(text: str) -> str:
    """The end of a long text."""
    return text if len(text) <= PROMPT_CHARACTERS else f"… {text[-PROMPT_CHARACTERS:]}"


def gaps(works: Sequence[Workspace]) -> Table | Text:
    """What is not in this report, and why."""
    rows = []
    for work in works:
        for gap in work.gaps:
            where = gap.path if len(works) == 1 else f"{work.label}: {gap.path}"
            rows.append([Cell(where, "head"), Cell(gap.reason)])
    if not rows:
        return Text("Every file that was looked for was there and whole.")
    return Table(
        "Missing or damaged",
        "Not in this report, and why.",
        [Column("file"), Column("reason")],
        rows,
        id="gaps",
    )
