"""Every de-tokenizer can be undone: on any tokens, and on every line of the real files."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourhorn.evaluation.detokenize import CHILDRENS_BOOK, PTB, WIKITEXT, Rules, detokenize, retokenize

RULES = {"wikitext": WIKITEXT, "ptb": PTB, "cbt": CHILDRENS_BOOK}
MARKS = [
    *".,;:!?()[]\"'`=-$%",
    "@-@",
    "@,@",
    "@.@",
    "``",
    "''",
    "n't",
    "'s",
    "-LRB-",
    "-RRB-",
    "<unk>",
    "N",
    "U.S.",
    "...",
]
TOKENS = st.one_of(
    st.sampled_from([*MARKS, "1", "000", "word", "Mr."]),
    st.text(st.characters(exclude_characters=" \n"), min_size=1, max_size=6),
)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=300, deadline=None)
@given(tokens=st.lists(TOKENS, min_size=1, max_size=12))
def test_any_line_of_tokens_comes_back(name: str, tokens: list[str]) -> None:
    for line in (" ".join(tokens), f" {' '.join(tokens)} \n"):
        assert retokenize(detokenize(line, RULES[name]), RULES[name]) == line


@pytest.mark.parametrize(
    ("rules", "line", "text"),
    [
        (WIKITEXT, " He had a guest @-@ starring role . \n", " He had a guest-starring role. \n"),
        (WIKITEXT, ' He said " no " ( in 1 @,@ 000 words ) . \n', ' He said "no" (in 1,000 words). \n'),
        (WIKITEXT, " = = Career = = \n", " == Career == \n"),
        (PTB, "the index rose N % and did n't fall", "the index rose N % and didn't fall".replace(" %", "%")),
        (CHILDRENS_BOOK, "`` I do n't know , '' said Mr. Jay .", '"I don\'t know," said Mr. Jay.'),
    ],
)  # fmt: skip
def test_lines_read_like_text(rules: Rules, line: str, text: str) -> None:
    assert detokenize(line, rules) == text


def test_a_token_that_looks_joined_is_written_with_two_spaces() -> None:
    text = detokenize("the big. token", WIKITEXT)
    assert text == "the  big. token"
    assert retokenize(text, WIKITEXT) == "the big. token"


def test_every_line_of_wikitext_2_comes_back(real) -> None:  # type: ignore[no-untyped-def]
    for name in ("wiki.test.tokens.txt", "wiki.valid.tokens.txt"):
        with open(real / "wikitext2" / name, encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                assert retokenize(detokenize(line, WIKITEXT), WIKITEXT) == line, number


def test_every_line_of_the_childrens_book_test_comes_back(real) -> None:  # type: ignore[no-untyped-def]
    path = real / "cbt" / "cbtest_NE_valid_2000ex.reconstructed.txt"
    for line in path.read_text().split("\n"):
        sentence = line.split("\t")[0]
        assert retokenize(detokenize(sentence, CHILDRENS_BOOK), CHILDRENS_BOOK) == sentence
