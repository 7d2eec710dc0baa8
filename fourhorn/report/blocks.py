"""What a page is made of: tables of cells, figures of panels, funnels and samples, in sections.

Both renderings, `index.html` and `report.md`, are made from these same values; all text in them is raw and is escaped
by the renderer alone.
"""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Cell:
    """One table cell; `note` stands small beneath the text."""

    text: str
    kind: Literal["head", "paper", "ours", "plain", "none"] = "plain"
    note: str = ""
    numeric: bool = False
    strong: bool = False


@dataclass(frozen=True)
class Column:
    """A column's heading; neighbors of the same `group` share a heading above."""

    text: str
    group: str = ""
    kind: Literal["paper", "ours", "plain"] = "plain"
    numeric: bool = False


@dataclass
class Table:
    """A table with what is needed to understand it beneath."""

    title: str
    caption: str
    columns: list[Column]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    protocol: "Table | None" = None
    id: str = ""
    wide: bool = False
    type: str = "table"

    def groups(self) -> list[tuple[str, str, int]]:
        """Runs of columns of one group: its name, kind and width."""
        runs: list[tuple[str, str, int]] = []
        for column in self.columns:
            if runs and runs[-1][0] == column.group and runs[-1][1] == column.kind:
                runs[-1] = (column.group, column.kind, runs[-1][2] + 1)
            else:
                runs.append((column.group, column.kind, 1))
        return runs if any(name for name, _, _ in runs) else []

    def run(self, group: str) -> int:
        """Which of the runs side by side a group of measured columns belongs to, counted from 0."""
        groups = list(dict.fromkeys(column.group for column in self.columns if column.kind == "ours"))
        return groups.index(group) if group in groups else 0


@dataclass
class Figure:
    """Panels as inline SVG, and the same numbers as a table."""

    title: str
    caption: str
    panels: list[str]
    numbers: Table | None
    notes: list[str] = field(default_factory=list)
    id: str = ""
    type: str = "figure"


@dataclass(frozen=True)
class Step:
    """One stage of the funnel."""

    name: str
    unit_in: str
    unit_out: str
    n_in: int
    n_kept: int
    drops: list[tuple[str, int]]
    remark: str = ""


@dataclass
class Funnel:
    """How many items each stage took in, kept, and dropped for which reasons."""

    title: str
    steps: list[Step]
    id: str = ""
    type: str = "funnel"


@dataclass(frozen=True)
class Sample:
    """A text that a model wrote."""

    model: str
    prompt: str
    completion: str
    settings: str


@dataclass
class Samples:
    """Samples of the models, in the order they were drawn."""

    title: str
    caption: str
    samples: list[Sample]
    id: str = ""
    type: str = "samples"


@dataclass
class Facts:
    """A few large numbers with what they count."""

    facts: list[tuple[str, str]]
    type: str = "facts"


@dataclass
class Text:
    """A paragraph."""

    text: str
    type: str = "text"


Block = Table | Figure | Funnel | Samples | Facts | Text


@dataclass
class Section:
    """A heading with its blocks."""

    id: str
    title: str
    blocks: list[Block] = field(default_factory=list)
