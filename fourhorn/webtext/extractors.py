"""The text of an HTML page: four extractors, measured on the same real pages in benchmarks/webtext_extract.py.

§2.1: "we used a combination of the Dragnet and Newspaper content extractors". Dragnet can no longer be installed and
both are surpassed, so the default is today's best that is fast, and a combination is still the most exact:

    trafilatura  the default: one pass of its heuristics, without its slow fallbacks
    consensus    its blocks that readability finds as well: the most precise on articles
    resiliparse  ten times faster, keeps more around the article
    paper        Newspaper, and where it finds little the second extractor, as the paper combined them

In: decoded HTML. Out: paragraphs, headings, lists, code and tables as plain text, one blank line between blocks, or
None when the page has no main text. Whatever an extractor raises on a broken page is its caller's to count.
"""

import logging
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from fourhorn.errors import UserError, unknown
from fourhorn.webtext.boilerplate import without_boilerplate

MIN_AGREEMENT = 0.5  # share of a block's 4-grams that the second extractor must have too
NGRAM_WORDS = 4
MIN_CONSENSUS = 0.3  # below this share of the text the two found different things: the first one's is kept
MIN_NEWSPAPER_CHARS = 200
_WORD = re.compile(r"\w+")
_SPACE = re.compile(r"[ \t\r\n\f\v\xa0]+")


def extract_text(html: str, extractor: str = "trafilatura") -> str | None:
    """The main text of a page by the named extractor."""
    blocks = without_boilerplate(extractor_named(extractor)(html.replace("\x00", "")), html)
    text = "\n\n".join(block for block in blocks if block.strip())
    return text or None


def extractor_named(name: str) -> Callable[[str], list[str]]:
    """The function behind an extractor's name, which must be one of `EXTRACTORS`."""
    if name not in EXTRACTORS:
        raise unknown("extractor", name, EXTRACTORS)
    return EXTRACTORS[name]


# --------------------------------------------------------------------------------------------------- trafilatura


def trafilatura_blocks(html: str) -> list[str]:
    """The blocks of text that trafilatura finds, in its fast mode and without comments."""
    document = _trafilatura()(html, fast=True, include_comments=False)
    return [] if document is None or document.body is None else list(_blocks(document.body))


@cache
def _trafilatura() -> Any:
    try:
        from trafilatura import bare_extraction
    except ImportError:
        raise UserError("Text extraction needs trafilatura: pip install 'fourhorn[webtext]'.") from None
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # it logs every page without text
    return bare_extraction


def _blocks(body: Any) -> Iterator[str]:
    """One string per block of trafilatura's tree: its own serialization drops blank lines in code and adds markup."""
    loose = _squeeze(body.text)
    if loose:
        yield loose
    for element in body:
        if element.tag == "code" or (
            element.tag == "quote" and not len(element) and "\n" in (element.text or "")
        ):
            yield "".join(element.itertext()).strip("\n").rstrip()
        elif element.tag == "list":
            yield "\n".join(_items(element, ""))
        elif element.tag == "table":
            yield "\n".join(
                " | ".join(_inline(cell) for cell in row.iter("cell")) for row in element.iter("row")
            )
        elif element.tag == "quote" and len(element) and element[0].tag in ("p", "quote", "list", "code"):
            yield from _blocks(element)
        elif element.tag != "graphic":
            yield _inline(element)
        tail = _squeeze(element.tail)
        if tail:
            yield tail


def _items(element: Any, indent: str) -> Iterator[str]:
    for item in element:
        nested = [child for child in item if child.tag == "list"]
        yield f"{indent}- {_inline(item, skip='list')}"
        for child in nested:
            yield from _items(child, indent + "  ")


def _inline(element: Any, skip: str = "") -> str:
    """The text inside an element on one line, except where the page broke it."""
    parts: list[str] = []
    _collect(element, skip, parts)
    return "\n".join(filter(None, (_squeeze(line) for line in "".join(parts).split("\v"))))


def _collect(element: Any, skip: str, parts: list[str]) -> None:
    parts.append((element.text or "").replace("\v", " "))
    for child in element:
        if child.tag == "lb":
            parts.append("\v")
        elif child.tag == "p":
            parts.append(" ")
        if child.tag != skip:
            _collect(child, skip, parts)
        parts.append((child.tail or "").replace("\v", " "))


def _squeeze(text: str | None) -> str:
    return _SPACE.sub(" ", text).strip() if text else ""


# ----------------------------------------------------------------------------------------------------- the others


def consensus_blocks(html: str) -> list[str]:
    """The blocks of trafilatura that readability found too; all of them when the two hardly agree."""
    blocks = trafilatura_blocks(html)
    if not blocks:
        return blocks
    words = _WORD.findall(_readability_text(html))
    ngrams, line = _ngrams(words), f" {' '.join(words)} "
    agreed = [block for block in blocks if _agreement(_WORD.findall(block), ngrams, line) >= MIN_AGREEMENT]
    enough = sum(map(len, agreed)) >= MIN_CONSENSUS * sum(map(len, blocks))
    return agreed if enough else blocks


def _agreement(block: list[str], ngrams: set[tuple[str, ...]], line: str) -> float:
    """The share of a block's 4-grams that the second extractor has; a shorter block is there as a whole or not."""
    if len(block) < NGRAM_WORDS:
        return float(f" {' '.join(block)} " in line)
    own = _ngrams(block)
    return len(own & ngrams) / len(own)


def _ngrams(words: list[str]) -> set[tuple[str, ...]]:
    return set(zip(*(words[i:] for i in range(NGRAM_WORDS)), strict=False))


def _readability_text(html: str) -> str:
    from lxml import etree
    from lxml import html as lxml_html
    from readability import Document

    logging.getLogger("readability").setLevel(logging.CRITICAL)
    try:
        summary = lxml_html.fromstring(Document(html).summary(html_partial=True))
    except (etree.LxmlError, ValueError, TypeError, KeyError, AttributeError):
        return ""
    return " ".join(summary.itertext())


def resiliparse_blocks(html: str) -> list[str]:
    """The lines that resiliparse's main-content rules keep, without lists of links and alternative texts."""
    from resiliparse.extract.html2text import extract_plain_text

    text: str = extract_plain_text(
        html, main_content=True, alt_texts=False, links=False, preserve_formatting=True, list_bullets=True
    )
    return [block.strip("\n") for block in re.split(r"\n\s*\n", text)]


def paper_blocks(html: str) -> list[str]:
    """Newspaper's text, or the default extractor's where Newspaper finds less than 200 characters."""
    try:
        from newspaper import Article
    except ImportError:
        raise UserError("The extractor 'paper' needs newspaper4k: pip install newspaper4k.") from None
    article = Article("http://localhost/", language="en", fetch_images=False, memorize_articles=False)
    article.download(input_html=html)
    article.parse()
    blocks: list[str] = article.text.split("\n\n")
    return blocks if len(article.text) >= MIN_NEWSPAPER_CHARS else trafilatura_blocks(html) or blocks


EXTRACTORS: dict[str, Callable[[str], list[str]]] = {
    "trafilatura": trafilatura_blocks,
    "consensus": consensus_blocks,
    "resiliparse": resiliparse_blocks,
    "paper": paper_blocks,
}
