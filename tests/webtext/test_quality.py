"""Each rule drops what it names, and good prose passes all of them."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourhorn.errors import UserError
from fourhorn.webtext.quality import duplicate_ngram_chars, reason_to_drop, repeated, top_ngram_chars
from fourhorn.webtext.words import word_hashes_and_lengths, words_of

PROSE = """The ferry left at seven, and by the time the sun was up we could see the island with its two white towers.

Nobody on board had been there before. The captain, who had, would not talk about it, and the cook only smiled.

When we came closer a boy in a blue coat ran along the pier and waved to us to turn back, but it was too late for that.

We tied the boat to the last post and waited. Have you ever waited without knowing for what? It makes an hour long."""

VOCABULARY = [
    f"{a}{b}"
    for a in ("wal", "ker", "sin", "tor", "mel", "dan")
    for b in ("ter", "ning", "ow", "est", "ly", "ma", "gen")
]


def noise(n: int, seed: int = 0) -> str:
    """Words in random order with stop words among them: no rule but repetition could object."""
    rng = random.Random(seed)
    return (
        " ".join(rng.choice(VOCABULARY) + str(rng.randrange(1000)) if i % 5 else "the" for i in range(n))
        + " of and"
    )


def test_prose_passes():
    assert reason_to_drop(PROSE) is None
    assert reason_to_drop(PROSE, "fineweb") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("The ferry left at seven and we could see the island.", "too_few_words"),
        ("the of " * 50_001, "too_many_words"),
        ("a of b to c " * 20, "word_length"),
        ("internationalization of incomprehensibilities and counterrevolutionaries " * 20, "word_length"),
        (PROSE + " #tag" * 12, "too_many_symbols"),
        (PROSE.replace(".", " ...").replace(",", " ..."), "too_many_symbols"),
        ("\n".join(f"- {line} and so on" for line in noise(200).split(" the ")), "bullet_lines"),
        ("\n".join(f"{line} and so on…" for line in PROSE.replace(".", "").split("\n\n")), "ellipsis_lines"),
        (PROSE + " 2017" * 40, "too_few_alphabetic_words"),
        (PROSE.replace("the", "le").replace("The", "Le").replace(" and ", " et ").replace(" to ", " à ")
         .replace(" with ", " avec ").replace(" that", " cela").replace(" of ", " de ")
         .replace("Have", "As").replace(" be", " est"), "too_few_stop_words"),
        ("\n".join([noise(30)] * 2 + [noise(30, 2), noise(30, 3)]), "duplicate_lines"),
        ("\n\n".join("\n".join((noise(40, i), noise(40, i + 50))) for i in (1, 2, 3, 1)), "duplicate_lines"),
        (noise(60) + (" red apple of" * 30), "top_ngram"),
        (noise(60) + " " + noise(40, 7) + " " + noise(40, 7), "duplicate_ngrams"),
    ],
)  # fmt: skip
def test_each_rule_drops_what_it_names(text, reason):
    assert reason_to_drop(text) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PROSE.replace(".", " –").replace("?", " –"), "unpunctuated_lines"),
        (
            PROSE.replace(",", ".\n").replace(" and ", ".\n").replace(". ", ".\n").replace(" to ", ";\nto "),
            "short_lines",
        ),
    ],
)
def test_the_rules_on_lines_are_only_fineweb_s(text, reason):
    assert reason_to_drop(text, "fineweb") == reason
    assert reason_to_drop(text, "gopher") is None


def test_unknown_rules_name_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'gopher'"):
        reason_to_drop(PROSE, "gofer")


def test_repeated_parts_count_from_the_second_on():
    assert repeated(["a", "bb", "a", "bb", "bb"]) == (3, 5)


WORDS = st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=40).map(" ".join)


@settings(deadline=None)  # the first call may compile
@given(WORDS, st.integers(2, 5))
def test_ngram_shares_are_those_of_plain_python(text, n):
    words, lengths = word_hashes_and_lengths(text)
    grams = [tuple(words_of(text)[i : i + n]) for i in range(len(words) - n + 1)]
    counts = {gram: grams.count(gram) for gram in grams}
    top = max((c * (sum(map(len, g)) + n - 1) for g, c in counts.items() if c > 1), default=0)
    assert top_ngram_chars(words, lengths, n) == top
    covered = np.zeros(len(words), dtype=bool)
    for i, gram in enumerate(grams):
        if gram in grams[:i]:
            covered[i : i + n] = True
    assert duplicate_ngram_chars(words, lengths, n) == sum(int(x) + 1 for x, c in zip(lengths, covered) if c)
