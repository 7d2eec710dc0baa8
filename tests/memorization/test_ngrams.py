"""Normalization and n-gram hashes: the kernels beside their plain twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourhorn.errors import UserError
from fourhorn.memorization.ngrams import NgramHasher, batches, hash_plain, normalize_plain, pieces


def words_of(text):
    return normalize_plain(text).split()


def test_normalization_keeps_lower_cased_alphanumeric_words_with_single_spaces():
    assert normalize_plain("It's  COLD,\n\toutside_today (−3 °C)!") == "it s cold outside today 3 c"
    assert normalize_plain("Straße ΣΊΣΥΦΟΣ Москва 東京2020") == "straße σίσυφοσ москва 東京2020"
    assert normalize_plain("İstanbul") == "istanbul"
    assert normalize_plain(" \t.,;") == ""


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=6), st.integers(1, 9))
def test_word_hashes_equal_the_plain_twin_on_any_text(texts, n):
    hashes, counts = NgramHasher(unit="words", n=n)(texts)
    expected = [hash_plain(words_of(text), n) for text in texts]
    assert [int(h) for h in hashes] == [h for row in expected for h in row]
    assert counts.tolist() == [len(row) for row in expected]


PARTS = [
    "a",
    "It",
    "word",
    "2020",
    "exactly8",
    "naïve",
    "東京",
    "“",
    "—",
    ".",
    " ",
    "\n",
    "  ",
    "\0",
    "…x",
    "É",
    "ﬁn",
]
PARTS += [letter * n for letter in "xY" for n in (7, 8, 9, 15, 16, 17, 40, 55, 56, 63, 64, 65, 130)]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PARTS), max_size=60).map("".join), max_size=4))
def test_words_that_meet_or_cross_the_ends_of_blocks_keep_their_hashes(texts):
    hashes, counts = NgramHasher(unit="words", n=2)(texts)
    expected = [hash_plain(words_of(text), 2) for text in texts]
    assert [int(h) for h in hashes] == [h for row in expected for h in row]
    assert counts.tolist() == [len(row) for row in expected]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=6))
def test_token_hashes_equal_the_plain_twin_on_any_text(tokenizer, texts):
    hashes, counts = NgramHasher(unit="bpe", n=3, tokenizer=tokenizer)(texts)
    normal = [normalize_plain(text) for text in texts]
    expected = [hash_plain(tokenizer.encode_ordinary(f" {t}") if t else [], 3) for t in normal]
    assert [int(h) for h in hashes] == [h for row in expected for h in row]
    assert counts.tolist() == [len(row) for row in expected]


def test_words_of_every_length_up_to_forty_have_different_hashes():
    words = ["a" * n for n in range(1, 41)] + ["ä" * n for n in range(1, 41)]
    hashes, _ = NgramHasher(unit="words", n=1)(words)
    assert len(set(hashes.tolist())) == 80


def test_an_ngram_never_spans_two_texts():
    hasher = NgramHasher(unit="words", n=4)
    together, counts = hasher(["one two three", "four five six"])
    assert len(together) == 0
    assert counts.tolist() == [0, 0]


def test_order_and_repetition_of_words_change_the_hash():
    hasher = NgramHasher(unit="words", n=3)
    hashes, _ = hasher(["a b c", "c b a", "a a b", "a b a", "b a a", "a a a", "b b b"])
    assert len(set(hashes.tolist())) == 7


def test_pieces_of_a_long_text_have_exactly_its_ngrams():
    text = " ".join(f"w{i} --- … " for i in range(4000))
    hasher = NgramHasher(unit="words", n=8)
    whole = set(hasher([text])[0].tolist())
    cut = {h for piece in pieces(text, 8, 3000) for h in hasher([piece])[0].tolist()}
    assert cut == whole


def test_batches_hold_every_text_once():
    texts = [f"text {i} " * i for i in range(50)]
    assert [t for batch in batches(texts, 200) for t in batch] == texts


def test_lone_surrogates_and_zero_bytes_separate_words():
    hashes, counts = NgramHasher(unit="words", n=1)(["a\ud800b", "a\x00b"])
    assert counts.tolist() == [2, 2]
    assert np.array_equal(hashes[:2], hashes[2:])


def test_wrong_options_are_user_errors():
    with pytest.raises(UserError, match="unit 'word'"):
        NgramHasher(unit="word")
    with pytest.raises(UserError, match="need a tokenizer"):
        NgramHasher()
    with pytest.raises(UserError, match="between 1 and 64"):
        NgramHasher(unit="words", n=0)
