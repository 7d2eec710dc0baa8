"""Lines around an article are told from the article's own."""

import pytest

from fourhorn.webtext.boilerplate import is_call, without_boilerplate


@pytest.mark.parametrize(
    "block",
    [
        "Read more: The harbor in winter",
        "Related: Ten ships that never came back",
        "Sign up for the evening letter.",
        "Follow us on Twitter and Facebook.",
        "© 2017 Example Press",
        "Get the day's stories in your inbox.",
        "https://harbor.example/2017/05/ships.html",
        "Ann Miller writes about ships. Follow her on Twitter @example.",
        "This story originally appeared in The Harbor.",
        "[Click here to see all pictures]",
    ],
)
def test_calls_to_the_reader_are_recognized(block):
    assert is_call(block)


@pytest.mark.parametrize(
    "block",
    [
        "The captain read more than his crew did.",
        "He followed us for a mile and then turned back.",
        "Relatedness is measured by the number of shared words.",
        "See the table below.",
        "More than forty ships were lost that winter.",
        "Copyright " + "law is older than the printing press, and " * 10,
    ],
)
def test_prose_is_left_alone(block):
    assert not is_call(block)


def test_a_headline_that_repeats_the_title_goes_and_headings_stay():
    html = "<html><head><title>The Harbor in Winter – Example Press</title></head>"
    blocks = ["The Harbor in Winter", "By Ann Miller", "It was cold.", "Ships", "The Harbor in Winter"]
    assert without_boilerplate(blocks, html) == blocks[1:]
    assert without_boilerplate(blocks, "<html>") == blocks
