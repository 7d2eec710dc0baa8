from hypothesis import given
from hypothesis import strategies as st

from fourhorn.tokenizer import bpe

# Tokens of single bytes: "a" 64, "b" 65, "c" 66, " " 220.
A, B, C = 64, 65, 66


def test_the_most_frequent_pair_is_merged_first() -> None:
    assert bpe.train({b"abab": 2, b"bc": 3}, 2) == [(A, B), (B, C)]


def test_equally_frequent_pairs_are_merged_by_smaller_left_then_smaller_right_token() -> None:
    assert bpe.train({b"bc": 1, b"ab": 1, b"ac": 1}, 3) == [(A, B), (A, C), (B, C)]


def test_overlapping_pairs_are_merged_from_left_to_right() -> None:
    assert bpe.train({b"aaaaa": 1}, 2) == [(A, A), (256, A)]
    assert bpe.encode(b"aaaaa", {(A, A): 0, (256, 256): 1}) == [257, A]


def test_training_stops_when_no_pair_is_frequent_enough() -> None:
    assert bpe.train({b"ab": 2, b"bc": 1}, 10, min_frequency=2) == [(A, B)]
    assert bpe.train({b"a": 100}, 10) == []


def test_earlier_merges_come_before_longer_ones() -> None:
    # "bc" was learned first, so "abc" is a + bc although "ab" is a merge, too.
    assert bpe.encode(b"abc", {(B, C): 0, (A, B): 1}) == [A, 256]


def test_merges_do_not_cross_pieces() -> None:
    assert bpe.encode(b"a b", {(A, 220): 0, (220, B): 1}) == [A, 257]


@given(st.binary())
def test_decoding_what_was_encoded_gives_back_the_bytes(data: bytes) -> None:
    merges = bpe.train(bpe.count_pieces([data * 3]), 20)
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    assert bpe.decode(bpe.encode(data, ranks), merges) == data
