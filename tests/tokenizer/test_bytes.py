from fourhorn.tokenizer.bytes import BYTE_OF_TOKEN, TOKEN_OF_BYTE, hidden, visible


def test_the_first_tokens_are_the_visible_bytes_in_order() -> None:
    assert bytes(BYTE_OF_TOKEN[:5]) == b'!"#$%'
    assert BYTE_OF_TOKEN[187:190] == (255, 0, 1)
    assert TOKEN_OF_BYTE[ord("a")] == 64
    assert TOKEN_OF_BYTE[ord(" ")] == 220


def test_a_space_is_written_as_g_with_dot_and_a_line_feed_as_c_with_dot() -> None:
    assert visible(b" the\n") == "ĠtheĊ"


def test_every_byte_comes_back_from_its_character() -> None:
    assert hidden(visible(bytes(range(256)))) == bytes(range(256))
