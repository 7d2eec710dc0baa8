"""Pages in every encoding, rightly and wrongly declared."""

import pytest

from fourhorn.webtext.charset import codec, decode

RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 5
JAPANESE = "いろはにほへと ちりぬるを わかよたれそ つねならむ " * 5


@pytest.mark.parametrize(
    ("body", "declared", "text"),
    [
        ("naïve café".encode(), None, "naïve café"),
        ("naïve café".encode(), "iso-8859-1", "naïve café"),  # valid UTF-8 is UTF-8, whatever the header says
        (b"\xef\xbb\xbfcaf\xc3\xa9", "windows-1251", "café"),
        ("café".encode("utf-16"), None, "café"),
        ("café".encode("utf-16-be"), "utf-16be", "café"),
        (b"it\x92s caf\xe9", "latin-1", "it’s café"),  # browsers read latin-1 as windows-1252
        (b'<meta charset="windows-1251"> ' + "да".encode("cp1251"), None, '<meta charset="windows-1251"> да'),
        (b'<meta http-equiv=x content="text/html; charset=shift_jis">' + "日本".encode("cp932"), None,
         '<meta http-equiv=x content="text/html; charset=shift_jis">日本'),
        (b'<?xml version="1.0" encoding="iso-8859-2"?>\xb3', None, '<?xml version="1.0" encoding="iso-8859-2"?>ł'),
        ("да".encode("koi8-r"), "koi8-r", "да"),
        (b"plain", "no-such-charset", "plain"),
    ],
)  # fmt: skip
def test_bytes_become_the_right_text(body, declared, text):
    assert decode(body, declared) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        ("café là-bas, où ? " * 9, "cp1252"),
    ],
)
def test_an_undeclared_encoding_is_detected(text, encoding):
    assert decode(text.encode(encoding)) == text


def test_utf8_with_a_broken_byte_stays_utf8():
    half = ("Überraschung für alle größeren Städte. " * 20).encode()
    text = decode(half + b"\xff" + half, "latin-1")
    assert text.count("\ufffd") == 1
    assert "größeren" in text


def test_every_byte_string_decodes_to_something():
    for seed in range(256):
        assert isinstance(decode(bytes([seed, 255, 0, 200, seed]) * 7, "utf-16" if seed % 2 else None), str)


@pytest.mark.parametrize(
    "label", ["utf-7", "idna", "hex", "rot13", "base64", "unicode_escape", "", None, "x" * 99, "a\x00b"]
)
def test_labels_that_are_no_web_encoding_are_refused(label):
    assert codec(label) is None
