"""Longest verbatim runs: the automaton beside a search by hand."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from fourhorn.memorization.suffixes import LongestRuns


def by_hand(sample, texts, window):
    longest = 0
    for start in range(len(sample)):
        length = max(longest + 1, window)
        while start + length <= len(sample) and any(sample[start : start + length] in text for text in texts):
            longest = length
            length += 1
    return longest


few_letters = st.binary(max_size=40).map(lambda b: bytes(97 + x % 3 for x in b))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(few_letters | st.binary(max_size=30), max_size=4),
    st.lists(few_letters, max_size=4),
    st.integers(1, 6),
)
def test_runs_are_as_long_as_a_search_by_hand_finds(samples, texts, window):
    texts = [*texts, *(sample[2:20] for sample in samples[:2])]
    search = LongestRuns(samples, window)
    search.stream(texts[:2], 0)
    search.stream(texts[2:], 2)
    runs = search.runs()
    assert [run.length for run in runs] == [by_hand(sample, texts, window) for sample in samples]
    for sample, run in zip(samples, runs, strict=True):
        if run.length:
            assert sample[run.end - run.length : run.end] in texts[run.document]


def test_a_run_never_spans_two_samples_or_two_texts():
    search = LongestRuns([b"abcdef", b"ghijkl"], 4)
    search.stream([b"defghi", b"abc", b"def"], 0)
    assert [run.length for run in search.runs()] == [0, 0]


def test_a_training_text_full_of_repetition_takes_linear_time():
    search = LongestRuns([b"a" * 3000] * 5, 24)
    search.stream([b"a" * 1000], 0)
    started = time.process_time()
    search.stream([b"a" * 2_000_000], 1)
    assert time.process_time() - started < 20  # quadratic work would take hours
    assert [run.length for run in search.runs()] == [3000] * 5


def test_the_texts_that_hold_a_longer_run_are_named():
    search = LongestRuns([b"the quick brown fox"], 6)
    assert search.stream([b"nothing", b"a quick b", b"the quick brown"], 10) == [11, 12]
    assert search.stream([b"quick brown"], 13) == []
