"""Undo the tokenization of old data sets so that text looks like text, and be able to put every token back.

§3.1: WikiText, PTB and the Children's Book Test are split into tokens that never occur in ordinary text ("did n't",
"guest @-@ starring"); the paper removes these artifacts with invertible de-tokenizers and counts 2.5 to 5
perplexity gained. Its own are not published, and the ones in use elsewhere lose information. Here

    retokenize(detokenize(line)) == line          for every line of single-space-separated tokens,

by construction: tokens are joined only where `split` takes the joined piece apart into the same tokens again, and a
token that `split` would take apart although it is one is written with two spaces before it, which no line has.

In and out are lines of text. Raises nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

_CLITIC = re.compile(r"^(.+?)('(?:s|S|re|ve|ll|d|m|RE|VE|LL))$")
_ABBREVIATION = re.compile(
    r"^(?:(?:[A-Za-z]\.)+|(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|No|Nos|Vol|vs|Inc|Co|Corp|Ltd|Lt|Col|Gen|Sgt|Capt|Gov|Sen|Rep|Rev|Prof"
    r"|Mt|Ft|Op|pp|ca|cf|ed|eds|et|al|etc|Jan|Feb|Mar|Apr|Aug|Sept|Oct|Nov|Dec|Ph\.D)\.)$"
)


@dataclass(frozen=True, eq=False)
class Rules:
    """How one data set's tokens attach to each other."""

    left: frozenset[str]  # tokens that join the token before them: . , ; ) 's
    right: frozenset[str]  # tokens that join the token after them: ( [ $
    quotes: tuple[tuple[str, str], ...]  # opening and closing token; equal ones alternate
    infix: tuple[tuple[str, str], ...] = ()  # token between two others and what is written for it: @-@ as -
    contractions: bool = False  # "did n't" as "didn't"
    written: tuple[tuple[str, str], ...] = ()  # tokens that stand for another mark: -LRB- for (

    @cached_property
    def marks(self) -> dict[str, str]:
        """What is written for a token, where it is not itself."""
        return dict((*self.infix, *self.written))

    @cached_property
    def opening(self) -> list[tuple[str, str]]:
        """Opening tokens and what is written for them, longest first."""
        return self._longest_first(self.right | {opening for opening, _ in self.quotes})

    @cached_property
    def closing(self) -> list[tuple[str, str]]:
        """Closing tokens and what is written for them, longest first."""
        return self._longest_first(self.left | {closing for _, closing in self.quotes})

    def _longest_first(self, tokens: frozenset[str]) -> list[tuple[str, str]]:
        return sorted(
            ((token, self.marks.get(token, token)) for token in tokens), key=lambda t: (-len(t[1]), t)
        )


WIKITEXT = Rules(
    left=frozenset([*".,;:!?)]%", "'s", "'", "°", "′", "″", "...", "..", "'re", "'ve", "'ll", "'d", "'m"]),
    right=frozenset([*"([$£€", "US$", "A$"]),
    quotes=(('"', '"'),),
    infix=(("@-@", "-"), ("@,@", ","), ("@.@", ".")),
)
PTB = Rules(
    left=frozenset(["'s", "'", "'re", "'ve", "'ll", "'d", "'m", "%"]),
    right=frozenset(["$", "#", "c$", "us$", "a$"]),
    quotes=(),
    contractions=True,
)
CHILDRENS_BOOK = Rules(
    left=frozenset([*".,;:!?", "'s", "'S", "'", "'re", "'ve", "'ll", "'d", "'m", "...", "-RRB-"]),
    right=frozenset(["-LRB-", "`"]),
    quotes=(("``", "''"),),
    contractions=True,
    written=(("``", '"'), ("''", '"'), ("-LRB-", "("), ("-RRB-", ")"), ("`", "'")),
)


def detokenize(line: str, rules: Rules) -> str:
    """A line of tokens as ordinary text; spaces at its ends and its newline stay as they are."""
    body = line.strip(" \n")
    if not body or "  " in body:
        return line
    head, tail = line[: len(line) - len(line.lstrip(" "))], line[len(line.rstrip(" \n")) :]
    return head + _join(body.split(" "), rules) + tail


def retokenize(text: str, rules: Rules) -> str:
    """The line of tokens that `detokenize` was given."""
    body = text.strip(" \n")
    if not body:
        return text
    head, tail = text[: len(text) - len(text.lstrip(" \n"))], text[len(text.rstrip(" \n")) :]
    tokens: list[str] = []
    pieces = body.split(" ")
    literal = head.endswith("  ")
    head = head[:-2] if literal else head
    for piece in pieces:
        if piece == "":
            literal = True
        elif literal:
            tokens.append(piece)
            literal = False
        else:
            tokens += split(piece, rules)
    return head + " ".join(tokens) + tail


def _join(tokens: Sequence[str], rules: Rules) -> str:
    written: list[str] = []
    for piece in _pieces(tokens, rules):
        start = 0
        while start < len(piece):  # the longest run that comes apart again as it was, then the rest
            for stop in range(len(piece), start, -1):
                text = "".join(rules.marks.get(token, token) for token in piece[start:stop])
                if split(text, rules) == tuple(piece[start:stop]):
                    written.append(text)
                    start = stop
                    break
            else:
                written.append(("  " if not written else " ") + piece[start])
                start += 1
    return " ".join(written)


def _pieces(tokens: Sequence[str], rules: Rules) -> list[list[str]]:
    """Runs of tokens that are written without a space between."""
    infix = {token for token, _ in rules.infix}
    same = {opening for opening, closing in rules.quotes if opening == closing}
    opening = rules.right | {opening for opening, closing in rules.quotes if opening != closing}
    closing = rules.left | {closing for opening, closing in rules.quotes if opening != closing}
    inside: set[str] = set()
    pieces: list[list[str]] = []
    glue = False
    for token in tokens:
        attach_left, attach_right = token in closing or token in infix, token in opening or token in infix
        if token in same:
            attach_left, attach_right = token in inside, token not in inside
            inside ^= {token}
        if rules.contractions and (token == "n't" or token == "N'T"):
            attach_left = True
        if token == "=" and pieces and set(pieces[-1]) == {"="}:
            attach_left = True  # the headings of WikiText: = = Career = =
        if pieces and (glue or attach_left):
            pieces[-1].append(token)
        else:
            pieces.append([token])
        glue = attach_right
    return pieces


@lru_cache(maxsize=1 << 16)
def split(piece: str, rules: Rules) -> tuple[str, ...]:
    """The tokens of one piece of text without spaces."""
    if rules.infix and piece and set(piece) == {"="}:
        return tuple(piece)
    front: list[str] = []
    back: list[str] = []
    while len(piece) > 1 and (found := _leading(piece, rules)):
        front.append(found[0])
        piece = piece[len(found[1]) :]
    while len(piece) > 1 and (found := _trailing(piece, rules)):
        back.insert(0, found[0])
        piece = piece[: -len(found[1])]
    if rules.written and piece in _LONE:
        return (*front, _LONE[piece][bool(front)], *back)
    return (*front, *_middle(piece, rules), *back)


# A mark of the Children's Book Test that stands alone: its token when it opens a piece, and when it closes one.
_LONE = {'"': ("``", "''"), "(": ("-LRB-", "-LRB-"), ")": ("-RRB-", "-RRB-")}


def _leading(piece: str, rules: Rules) -> tuple[str, str] | None:
    """The opening token that `piece` starts with, and how it is written."""
    return next(
        (found for found in rules.opening if piece.startswith(found[1]) and len(piece) > len(found[1])), None
    )


def _trailing(piece: str, rules: Rules) -> tuple[str, str] | None:
    """The closing token that `piece` ends with and how it is written; abbreviations keep their period."""
    for token, text in rules.closing:
        if (
            piece.endswith(text)
            and len(piece) > len(text)
            and not (token == "." and _ABBREVIATION.match(piece))
        ):
            return token, text
    if rules.contractions and piece[-3:] in ("n't", "N'T") and len(piece) > 3:
        return piece[-3:], piece[-3:]
    return None


def _middle(piece: str, rules: Rules) -> list[str]:
    """A word without its outer punctuation: infixes come apart, then elisions at the end of each part."""
    if not rules.infix:
        return [piece]
    spaced = re.sub(r"(?<=[^\s\-])-(?=[^\s\-])", " @-@ ", piece)
    spaced = re.sub(r"(?<=\d),(?=\d)", " @,@ ", spaced)
    spaced = re.sub(r"(?<=\d)\.(?=\d)", " @.@ ", spaced)
    return [part for token in spaced.split(" ") for part in _elision(token, rules)]


def _elision(token: str, rules: Rules) -> list[str]:
    found = _CLITIC.match(token)
    return [found[1], found[2]] if found and found[2] in rules.left else [token]
