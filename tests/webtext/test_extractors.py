"""The text of pages: paragraphs kept, boilerplate out, code and lists in their shape."""

import pytest

from fourhorn.errors import UserError
from fourhorn.webtext.extractors import EXTRACTORS, extract_text

NAVIGATION = '<nav><ul><li><a href="/">Home</a></li><li><a href="/c">Contact us</a></li></ul></nav>'
FOOTER = "<footer><p>Copyright 2017 Example Press. All rights reserved.</p></footer>"
PARAGRAPHS = (
    "The harbor was quiet in the morning, and the fishermen had not yet come back with their nets and their stories.",
    "By noon the market was full of people who talked, bargained and laughed as if winter had never been there.",
    "In the evening the lamps were lit one after another, and the old clock on the tower began to strike again.",
)


def page(body: str) -> str:
    head = "<!DOCTYPE html><html><head><title>Harbor</title></head>"
    return f"{head}<body>{NAVIGATION}<main><article>{body}</article></main>{FOOTER}</body></html>"


@pytest.mark.parametrize("extractor", [name for name in EXTRACTORS if name != "paper"])
def test_paragraphs_stay_and_boilerplate_goes(extractor):
    text = extract_text(page("".join(f"<p>{p}</p>" for p in PARAGRAPHS)), extractor)
    assert text is not None
    assert [block for block in text.split("\n\n") if block in PARAGRAPHS] == list(PARAGRAPHS)
    assert "Contact us" not in text
    assert "Copyright" not in text


def test_the_paper_extractor_finds_the_article():
    pytest.importorskip("newspaper", reason="the extractor 'paper' needs newspaper4k")
    text = extract_text(page("".join(f"<p>{p}</p>" for p in PARAGRAPHS)), "paper")
    assert text is not None
    assert PARAGRAPHS[1] in text


def test_blocks_keep_their_shape():
    body = f"""<h2>Installing</h2><p>{PARAGRAPHS[0]}</p>
        <pre>def f(x):\n    return x\n\nprint(f(2))</pre>
        <ul><li>one <b>bold</b> item</li><li>two<ul><li>inside</li></ul></li></ul>
        <blockquote><p>{PARAGRAPHS[1]}</p></blockquote>
        <table><tr><th>Name</th><th>Size</th></tr><tr><td>small</td><td>124M</td></tr></table>
        <p>First line<br>second   line</p><p>{PARAGRAPHS[2]}</p>"""
    assert extract_text(page(body)) == "\n\n".join(
        (
            "Installing",
            PARAGRAPHS[0],
            "def f(x):\n    return x\n\nprint(f(2))",
            "- one bold item\n- two\n  - inside",
            PARAGRAPHS[1],
            "Name | Size\nsmall | 124M",
            "First line\nsecond line",
            PARAGRAPHS[2],
        )
    )


@pytest.mark.parametrize("extractor", [name for name in EXTRACTORS if name != "paper"])
@pytest.mark.parametrize(
    "html", ["", " ", "<html>", "\x00", "plain words", "<!--", "<p>", "<html><body></body></html>"]
)
def test_a_page_without_text_gives_none_or_its_words(extractor, html):
    assert extract_text(html, extractor) in (None, "plain words")


def test_an_unknown_extractor_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'consensus'"):
        extract_text("", "concensus")
