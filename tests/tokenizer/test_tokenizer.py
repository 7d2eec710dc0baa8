import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourhorn.errors import UserError
from fourhorn.tokenizer import Tokenizer
from fourhorn.tokenizer.fast import SAMPLE_IDS
from fourhorn.tokenizer.vocabulary import Vocabulary
from tests.tokenizer.conftest import PATTERN, oracle

TEXTS = [
    "",
    " ",
    "Hello world",
    "it's we'll",
    "naïve 渡轮",
    "a  b\n\n c",
    "👩‍🚀🚀",
    "<|endoftext|>",
    "\u0301é  \u3000x",
]


def test_known_ids_of_the_release(gpt2: Tokenizer) -> None:
    assert gpt2.encode_ordinary("Hello world") == [15496, 995]
    assert gpt2.encode_ordinary("<|endoftext|>") == [27, 91, 437, 1659, 5239, 91, 29]
    assert gpt2.decode([464, 3290, 13]) == "The dog."
    assert (gpt2.n_vocab, gpt2.eot, gpt2.dtype) == (50257, 50256, np.uint16)


@pytest.mark.parametrize("text", TEXTS)
def test_all_ways_to_encode_agree(small: Tokenizer, small_plain: Tokenizer, text: str) -> None:
    ids = small_plain.encode_ordinary(text)
    assert small.encode_ordinary(text) == ids
    assert small.encode_to_numpy(text).tolist() == ids
    assert small.encode_to_numpy(text.encode()).tolist() == ids
    assert small.encode_batch([text, "x", text])[2] == ids
    assert small.encode(text, disallowed_special=()) == ids
    assert oracle(small)(text) == ids
    assert small.decode(ids) == text


@settings(max_examples=300)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_is_encoded_as_tiktoken_does(small: Tokenizer, text: str) -> None:
    assert small.encode_ordinary(text) == oracle(small)(text)


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_come_back(small: Tokenizer, small_plain: Tokenizer, data: bytes) -> None:
    ids = small.encode_to_numpy(data)
    assert small.decode_bytes(ids) == data
    assert ids.tolist() == small_plain.encode_to_numpy(data).tolist()


def test_special_tokens_follow_tiktokens_contract(small: Tokenizer) -> None:
    text = "a<|endoftext|>b"
    with pytest.raises(UserError, match="holds the special token '<|endoftext|>'"):
        small.encode(text)
    a, b = small.encode_ordinary("a"), small.encode_ordinary("b")
    assert small.encode(text, allowed_special="all") == [*a, small.eot, *b]
    assert small.encode(text, allowed_special={"<|endoftext|>"}) == [*a, small.eot, *b]
    assert small.encode(text, disallowed_special=()) == small.encode_ordinary(text)
    assert small.eot not in small.encode_ordinary(text)
    with pytest.raises(UserError, match="'b'"):
        small.encode(text, allowed_special="all", disallowed_special={"b"})


def test_a_longer_special_token_wins_over_its_beginning() -> None:
    tokenizer = Tokenizer(Vocabulary([], {"<a>": 256, "<a><b>": 257}))
    assert tokenizer.encode("<a><b><a>", allowed_special="all") == [257, 256]
    assert tokenizer.decode([257, 256]) == "<a><b><a>"


def test_surrogate_pairs_are_joined_and_lone_ones_replaced(small: Tokenizer) -> None:
    assert small.encode_ordinary("\ud83d\ude00") == small.encode_ordinary("😀")
    assert small.encode_ordinary("a\ud83db") == small.encode_ordinary("a\ufffdb")


def test_offsets_cover_the_characters_of_each_token(small: Tokenizer) -> None:
    text = "aé渡 🦄!"
    ids, offsets = small.encode_with_offsets(text)
    assert ids == small.encode_ordinary(text)
    for token, (start, end) in zip(ids, offsets):
        piece = small.token_bytes(token)
        assert piece in text[start:end].encode()
    assert offsets[0] == (0, 1)
    assert offsets[-1] == (5, 6)
    assert small.encode_with_offsets("") == ([], [])


def test_a_stream_never_splits_a_character(small: Tokenizer) -> None:
    text = "渡轮 🦄 naïve " * 20
    decoder = small.stream_decoder()
    parts = [decoder.feed(token) for token in small.encode_ordinary(text)]
    assert "".join(parts) + decoder.finish() == text
    assert "\ufffd" not in "".join(parts)
    unfinished = small.stream_decoder()
    assert unfinished.feed(int(small.encode_to_numpy(b"\xe6")[0])) == ""
    assert unfinished.finish() == "\ufffd"


def test_an_id_outside_the_vocabulary_is_named(small: Tokenizer, small_plain: Tokenizer) -> None:
    for tokenizer in (small, small_plain):
        for bad in (600, 70_000, -1):
            with pytest.raises(UserError, match=f"{bad} is no id of this vocabulary, which has 600"):
                tokenizer.decode([1, bad])
    assert small.decode([]) == ""


def test_decode_reads_lists_and_arrays_of_any_integers(small: Tokenizer) -> None:
    ids = small.encode_ordinary("Hello wörld")
    for dtype in (np.uint16, np.int32, np.int64, np.uint32):
        assert small.decode(np.array(ids, dtype)) == "Hello wörld"
    assert small.decode_bytes(np.array(ids)[::-1]) == b"".join(small.token_bytes(i) for i in reversed(ids))


def test_long_tokens_are_decoded_whole() -> None:
    merges = [(64, 64), (256, 256), (257, 257), (258, 258), (259, 259), (260, 260), (261, 261)]
    tokenizer = Tokenizer(Vocabulary.of(merges))
    text = "a" * 1000
    ids = tokenizer.encode_ordinary(text)
    assert ids == [262] * 7 + [261, 260, 258]
    assert tokenizer.decode(ids) == text


def test_room_that_was_guessed_too_small_grows() -> None:
    merges = [(64, 64), (256, 256), (257, 257), (258, 258), (259, 259), (260, 260), (261, 261)]
    tokenizer = Tokenizer(Vocabulary.of(merges))
    for n in (1, 7, 8, 9, 60, 30_000):
        ids = np.full(n, 262, np.uint16)
        ids[:: n // SAMPLE_IDS + 1] = 65  # those by which it is guessed
        data = b"".join(tokenizer.vocabulary.bytes_of_id[i] for i in ids.tolist())
        assert tokenizer.decode_bytes(ids) == data
        assert tokenizer.decode_bytes(ids[::-1].astype(np.uint32)) == b"".join(
            tokenizer.vocabulary.bytes_of_id[i] for i in ids[::-1].tolist()
        )
        ids[n // 2] = tokenizer.n_vocab
        with pytest.raises(UserError, match="is no id of this vocabulary"):
            tokenizer.decode_bytes(ids)


def test_ids_widen_beyond_65536_tokens() -> None:
    """A vocabulary of all pairs of two bytes, and the words made of two such pairs that the text needs."""
    pairs = [(a, b) for a in range(256) for b in range(256)]
    tokenizer = Tokenizer(Vocabulary.of(pairs))
    assert (tokenizer.n_vocab, tokenizer.dtype) == (256 + 65_536 + 1, np.uint32)
    rng = random.Random(0)
    data = rng.randbytes(3000) + "wörd ".encode() * 300
    ids = tokenizer.encode_to_numpy(data)
    assert ids.dtype == np.uint32
    assert ids.max() > 65_535
    assert tokenizer.decode_bytes(ids) == data
    assert ids.tolist() == Tokenizer(tokenizer.vocabulary, plain=True).encode_to_numpy(data).tolist()
    text = "some text, déjà vu  twice\n" * 50
    assert tokenizer.encode_ordinary(text) == oracle(tokenizer)(text)


def test_threads_and_cuts_change_nothing(small: Tokenizer) -> None:
    rng = random.Random(1)
    words = ["the", "'s", "\u3000", " ", "\n", "渡轮", "1024", "x" * 50, "  ", "é", "\u00a0", "."]
    text = "".join(rng.choice(words) + rng.choice(["", " "]) for _ in range(500_000)).encode()
    whole = small._engine.encode(text)
    assert np.array_equal(small.encode_to_numpy(text, n_threads=2), whole)
    assert np.array_equal(small.encode_to_numpy(text), whole)
    documents = [text[i : i + 3000] for i in range(0, 600_000, 3000)]
    one = small.encode_documents(documents, separator=small.eot)
    two = small.encode_documents(documents, separator=small.eot, n_threads=2)
    assert all(np.array_equal(a, b) for a, b in zip(one, two))
    assert len(one[1]) == len(documents) + 1
    assert (one[0][one[1][:-1]] == small.eot).all()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_long_document_of_an_id_per_byte_has_room(n_threads: int) -> None:
    bytes_only = Tokenizer.train(["ab"], n_vocab=257)
    text = b"xyz " * 700_000  # cut into several batches
    tokens, starts = bytes_only.encode_documents([text, b"x"], separator=bytes_only.eot, n_threads=n_threads)
    assert starts.tolist() == [0, len(text) + 1, len(text) + 3]
    assert bytes_only.decode_bytes(tokens[1 : starts[1]]) == text


def test_the_pattern_of_the_oracle_is_tiktokens_own() -> None:
    tiktoken_ext = pytest.importorskip("tiktoken_ext.openai_public")
    assert tiktoken_ext.r50k_pat_str == PATTERN


def test_tokenizers_of_the_same_vocabulary_are_equal(small: Tokenizer, small_plain: Tokenizer) -> None:
    assert small == small_plain
    assert len({small, small_plain}) == 1
    assert small != Tokenizer(Vocabulary.of([]))
    assert repr(small) == "Tokenizer(n_vocab=600)"


def test_a_vocabulary_without_separator_says_so() -> None:
    with pytest.raises(UserError, match=r"has no <\|endoftext\|> token"):
        _ = Tokenizer(Vocabulary([], {})).eot
