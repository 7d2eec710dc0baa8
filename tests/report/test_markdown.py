"""The Markdown rendering: text stays text."""

from fourhorn.report.blocks import Cell, Column, Section, Table
from fourhorn.report.markdown import escape, markdown


def test_markup_in_text_is_escaped_and_lines_are_joined():
    assert escape("a|b\n# c") == r"a\|b \# c"
    assert escape("<b> [x](y) *z* `q`") == r"\<b\> \[x\]\(y\) \*z\* \`q\`"


def test_a_table_has_one_line_per_row_whatever_is_in_its_cells():
    table = Table(
        "T", "", [Column("a"), Column("b", numeric=True)], [[Cell("x\n| y"), Cell("1", note="0 to 2")]]
    )
    lines = markdown("R", "lead", [Section("s", "S", [table])], pocket=False).splitlines()
    assert lines[-3:] == ["| a | b |", "| --- | ---: |", r"| x \| y | 1 \[0 to 2\] |"]
