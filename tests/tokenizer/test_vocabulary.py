import pytest

from fourhorn.errors import UserError
from fourhorn.tokenizer.vocabulary import Vocabulary


def test_the_release_layout_is_bytes_merges_and_the_separator_last() -> None:
    vocabulary = Vocabulary.of([(64, 65), (256, 66)])
    assert vocabulary.n_vocab == 259
    assert vocabulary.bytes_of_id[64] == b"a"
    assert vocabulary.bytes_of_id[257] == b"abc"
    assert vocabulary.bytes_of_id[258] == b"<|endoftext|>"


@pytest.mark.parametrize(
    ("merges", "special", "ids", "message"),
    [
        ([(64, 65), (64, 65)], {}, None, r"merge 2 \(a b\) repeats merge 1"),
        ([(64, 256)], {}, None, "merge 1 joins a token that no earlier merge makes"),
        (
            [(64, 65), (65, 66), (256, 66), (64, 257)],
            {},
            None,
            "merge 4 makes 'abc', which merge 3 makes already",
        ),
        ([], {"<|endoftext|>": 7}, None, "special token .* has id 7, which another token has"),
        ([], {"": 256}, None, "a special token is empty"),
        ([], {}, [0] * 256, "two tokens share one id"),
        ([], {"<x>": 2**21}, None, "at most"),
    ],
)
def test_contradictions_are_named(merges: list, special: dict, ids: list | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Vocabulary(merges, special, ids)
