"""One chart as inline SVG."""

import re
from xml.etree import ElementTree

import pytest

from fourhorn.report.svg import OURS, PAPER, Chart, Series, draw, label


@pytest.mark.parametrize(
    "name", ["$\\frac{1}{0}$", "$x^{", "<script>x</script>", "_hidden", "", "a" * 500, "\x00\ud800 &amp;"]
)
def test_any_name_makes_a_well_formed_drawing_without_markup_of_its_own(name):
    series = [Series(name, [(1, 2), (2, 3)], OURS[0]), Series("other", [(1, 1)], PAPER)]
    drawing = draw(Chart(name, name, name, series, [(name, 2.5)]), salt="x")
    ElementTree.fromstring(drawing)
    assert "<script" not in drawing
    assert not re.search(r"#[0-9a-f]{6}", drawing)  # every color is the page's


def test_the_same_chart_is_drawn_in_the_same_bytes_and_other_salt_gives_other_ids():
    chart = Chart("t", "x", "y", [Series("s", [(1, 2), (2, 4)], OURS[1], [1.5, None], [2.5, None])])
    assert draw(chart, salt="a") == draw(chart, salt="a")
    ids = [set(re.findall(r'id="([^"]+)"', draw(chart, salt=salt))) for salt in "ab"]
    assert not ids[0] & ids[1]


def test_labels_are_one_short_line():
    assert label("a\nb   c") == "a b c"
    assert label("x" * 50) == "x" * 29 + "…"
    assert label("_run") == "\u00a0_run"
