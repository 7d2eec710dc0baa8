from hypothesis import given
from hypothesis import strategies as st

from fourhorn.sampling.text import TextStream


def shown(tokenizer, data, stop=()):
    stream = TextStream(tokenizer, stop)
    pieces = [stream.feed(byte) for byte in data]
    return [*pieces, stream.finish()], stream.stopped


def test_characters_appear_whole_and_as_soon_as_complete(tokenizer):
    pieces, _ = shown(tokenizer, "a€b".encode())
    assert pieces == ["a", "", "", "€", "b", ""]


def test_bytes_that_are_no_character_become_one_replacement_mark(tokenizer):
    pieces, _ = shown(tokenizer, b"a\xe2\x82")
    assert "".join(pieces) == "a\ufffd"


def test_a_stop_text_across_tokens_ends_the_text_before_it(tokenizer):
    pieces, stopped = shown(tokenizer, b"one END two", ("END",))
    assert ("".join(pieces), stopped) == ("one ", True)


def test_what_only_began_like_a_stop_text_is_shown_after_all(tokenizer):
    pieces, stopped = shown(tokenizer, b"abcabx", ("abcabcd",))
    assert ("".join(pieces), stopped) == ("abcabx", False)
    assert pieces[:5] == ["", "", "", "", ""]


@given(st.text("ab€\n", max_size=30), st.lists(st.text("ab€\n", min_size=1, max_size=4), max_size=3))
def test_the_text_always_ends_before_the_first_stop_text(tokenizer, text, stops):
    pieces, stopped = shown(tokenizer, text.encode(), tuple(stops))
    # the first stop text to be complete ends the sample; of several complete at once the earliest begun counts
    expected, hit = text, False
    for end in range(1, len(text) + 1):
        starts = [text[:end].find(stop) for stop in stops if stop in text[:end]]
        if starts:
            expected, hit = text[: min(starts)], True
            break
    assert ("".join(pieces), stopped) == (expected, hit)
