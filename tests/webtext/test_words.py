"""Compiled word and n-gram hashes against Python's own idea of words."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fourhorn.webtext.words import ngram_hashes, word_hashes, word_hashes_and_lengths, words_of

TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("ab AB'’.,-é日0\n")), max_size=80)


def test_words_are_runs_of_letters_and_digits_in_lower_case():
    assert words_of("The quick-brown FOX’s 2 Äpfel, 日本語 a_b") == [
        "the", "quick", "brown", "fox", "s", "2", "äpfel", "日本語", "a", "b",
    ]  # fmt: skip


@settings(deadline=None)  # the first call may compile
@given(TEXTS)
def test_hashes_are_equal_exactly_where_words_are(text):
    words, hashes = words_of(text), word_hashes(text)
    assert len(words) == len(hashes)
    assert len(set(words)) == len(set(hashes.tolist()))
    for word, hash in zip(words, hashes):
        assert word_hashes(word).tolist() == [hash]


@settings(deadline=None)  # the first call may compile
@given(TEXTS)
def test_lengths_are_those_of_the_words(text):
    hashes, lengths = word_hashes_and_lengths(text)
    assert hashes.tolist() == word_hashes(text).tolist()
    assert lengths.tolist() == [len(word) for word in words_of(text)]


@settings(deadline=None)  # the first call may compile
@given(TEXTS, st.integers(1, 6))
def test_ngrams_are_hashed_alike_wherever_they_are(text, n):
    words = word_hashes(text)
    hashes = ngram_hashes(words, n)
    m = min(n, len(words))
    assert len(hashes) == (len(words) - m + 1 if m else 0)
    for i, hash in enumerate(hashes):
        assert ngram_hashes(words[i : i + m], n).tolist() == [hash]


def test_the_hash_is_the_same_in_every_version():
    assert word_hashes("four horns").tolist() == [10375923134319011447, 17635874779636233534]
