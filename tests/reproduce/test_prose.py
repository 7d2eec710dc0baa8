"""Documentation is read out of sources without importing them, and cut into blocks."""

import sys

from fourhorn.reproduce.prose import Block, blocks_of, installed, pages_of, plain


def test_paragraphs_headings_lists_and_code_are_told_apart() -> None:
    text = """Compute a thing.

    Parameters
    ----------

    - first item
    - second item

    >>> compute(1)
    2
    """
    assert list(blocks_of(text)) == [
        Block("p", "Compute a thing."),
        Block("h2", "Parameters"),
        Block("li", "first item"),
        Block("li", "second item"),
        Block("pre", ">>> compute(1)\n2"),
    ]


def test_markup_is_taken_off() -> None:
    assert plain("Use :func:`~a.b.save` or ``load``; see `the guide <x.html>`_ and [this](y).") == (
        "Use a.b.save or load; see the guide and this."
    )


def test_a_directive_alone_says_nothing() -> None:
    assert list(blocks_of(".. versionadded:: 1.20.0")) == []


def test_pages_come_from_sources_and_are_the_same_each_time() -> None:
    before = set(sys.modules)
    first = list(pages_of("packaging"))
    assert first == list(pages_of("packaging"))
    assert len(first) > 10
    assert not {m for m in set(sys.modules) - before if m.startswith("packaging")}


def test_the_standard_library_is_there_with_its_language_reference() -> None:
    assert installed()[0] == "python"
    titles = {page.title for page in pages_of("python")}
    assert {"argparse.ArgumentParser", "reference: lambda"} <= titles or "reference: lambdas" in titles
