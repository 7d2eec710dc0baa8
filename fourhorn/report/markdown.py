"""The report as Markdown: the same blocks as plain tables, for a terminal, a repository or a diff.

Every piece of text is escaped so that none can be a link, a tag, a heading or a new table cell.
"""

import re
from collections.abc import Sequence

from fourhorn.report.blocks import Block, Cell, Facts, Figure, Funnel, Samples, Section, Table, Text

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$])")


def markdown(title: str, lead: str, parts: Sequence[Section], *, pocket: bool) -> str:
    """The whole page."""
    lines = [f"# {escape(title)}", "", escape(lead), ""]
    if pocket:
        lines += ["**Pocket scale.** " + escape(POCKET), ""]
    for section in parts:
        lines += [f"## {escape(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return "\n".join(lines).rstrip() + "\n"


POCKET = (
    "Small models, small data and small sets: the same steps and protocols as the paper's, not its numbers. "
    "Only sets marked official are those the paper used."
)


def escape(text: str) -> str:
    """Text on one line in which nothing is markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("://", ":\u200b//")


def _block(block: Block) -> list[str]:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        notes = [escape(note) for note in block.notes]
        numbers = _table(block.numbers, title=False) if block.numbers else []
        return [f"### {escape(block.title)}", "", escape(block.caption), "", *numbers, "", *notes]
    if isinstance(block, Funnel):
        return _funnel(block)
    if isinstance(block, Samples):
        return _samples(block)
    if isinstance(block, Facts):
        return [f"- {escape(what)}: **{escape(value)}**" for value, what in block.facts]
    assert isinstance(block, Text)
    return [escape(block.text)]


def _table(table: Table, *, title: bool = True) -> list[str]:
    lines = [f"### {escape(table.title)}", ""] if title else []
    lines += [escape(table.caption), ""] if table.caption and title else []
    headings = [
        " ".join(t for t in (c.group if c.group not in ("", c.text) else "", c.text) if t)
        for c in table.columns
    ]
    lines.append("| " + " | ".join(escape(h) or " " for h in headings) + " |")
    lines.append("| " + " | ".join("---:" if c.numeric else "---" for c in table.columns) + " |")
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    lines += [line for note in table.notes for line in ("", escape(note))]
    if table.protocol is not None:
        lines += ["", f"**{escape(table.protocol.title)}**", "", *_table(table.protocol, title=False)]
    return lines


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    text = f"**{text}**" if cell.strong and text else text
    return (
        f"{text} [{escape(cell.note)}]".replace("[", "\\[").replace("]", "\\]") if cell.note else text or " "
    )


def _funnel(funnel: Funnel) -> list[str]:
    lines = [
        f"### {escape(funnel.title)}",
        "",
        "| stage | in | kept | dropped, by reason |",
        "| --- | ---: | ---: | --- |",
    ]
    for step in funnel.steps:
        drops = "; ".join(f"{escape(reason)} {n:,}" for reason, n in step.drops if n) or "none"
        remark = f" ({escape(step.remark)})" if step.remark else ""
        counts = f"{step.n_in:,} {step.unit_in} | {step.n_kept:,} {step.unit_out}"
        lines.append(f"| {escape(step.name)} | {counts} | {drops}{remark} |")
    return lines


def _samples(samples: Samples) -> list[str]:
    lines = [f"### {escape(samples.title)}", "", escape(samples.caption)]
    for sample in samples.samples:
        lines += ["", f"**{escape(sample.model)}**, {escape(sample.settings)}", ""]
        lines += [f"> {escape(sample.prompt)}", ">"] if sample.prompt else []
        lines += [f"> **{escape(sample.completion) or ' '}**"]
    return lines
