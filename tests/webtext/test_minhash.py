"""Signatures estimate the Jaccard similarity without bias and with the error that theory gives."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourhorn.webtext.minhash import exact_key, jaccard, shingles, signature, similarity, sketch
from fourhorn.webtext.words import word_hashes

HASHES = st.sets(st.integers(0, 2**64 - 1), max_size=30)


def text_pair(rng: random.Random, n_words: int, changed: float) -> tuple[str, str]:
    words = [f"w{rng.randrange(20_000)}" for _ in range(n_words)]
    return " ".join(words), " ".join(
        w if rng.random() > changed else f"x{rng.randrange(20_000)}" for w in words
    )


def test_the_estimate_is_unbiased_and_as_exact_as_theory_says():
    rng = random.Random(1)
    errors, variances = [], []
    for _ in range(400):
        a, b = text_pair(rng, rng.choice([60, 200, 600]), rng.choice([0.01, 0.03, 0.08]))
        sets = [np.unique(shingles(t, word_hashes(t))) for t in (a, b)]
        true = jaccard(*sets)
        errors.append(similarity(signature(a), signature(b)) - true)
        variances.append(true * (1 - true) / 128)
    assert abs(np.mean(errors)) < 3 * np.sqrt(np.mean(variances) / len(errors)) + 0.002
    assert np.sqrt(np.mean(np.square(errors))) < 1.1 * np.sqrt(np.mean(variances))


@settings(deadline=None)  # the first call may compile
@given(HASHES, HASHES)
def test_jaccard_is_that_of_sets(a, b):
    arrays = [np.array(sorted(s), dtype=np.uint64) for s in (a, b)]
    assert jaccard(*arrays) == pytest.approx(len(a & b) / max(1, len(a | b)))


@settings(deadline=None)  # the first call may compile
@given(HASHES.filter(bool), st.randoms())
def test_a_signature_depends_on_the_set_alone(hashes, rng):
    shuffled = list(hashes) * 2
    rng.shuffle(shuffled)
    assert (
        sketch(np.array(sorted(hashes), dtype=np.uint64)).tolist()
        == sketch(np.array(shuffled, dtype=np.uint64)).tolist()
    )


def test_short_and_wordless_texts_have_signatures_of_their_own():
    assert similarity(signature("Hello, world"), signature("hello world!")) == 1
    assert similarity(signature("hello world"), signature("hello there")) < 0.1
    assert similarity(signature("!!!"), signature("???")) < 0.1
    assert similarity(signature(""), signature("")) == 1


def test_the_exact_key_ignores_what_stands_between_words():
    assert exact_key("A b.", word_hashes("A b.")) == exact_key("a\nB", word_hashes("a\nB"))
    assert exact_key("a b", word_hashes("a b")) != exact_key("b a", word_hashes("b a"))
    assert exact_key("!", word_hashes("!")) != exact_key("?", word_hashes("?"))
