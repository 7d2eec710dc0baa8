import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourhorn.tokenizer.bpe import split_bytes
from fourhorn.tokenizer.pattern import SPLIT_PATTERN, ranges, split
from fourhorn.tokenizer.unicode16 import LETTERS, NUMBERS, WHITE_SPACE
from tests.tokenizer.conftest import PATTERN


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Hello world", ["Hello", " world"]),
        ("it's we'll 'tis I'D", ["it", "'s", " we", "'ll", " '", "tis", " I", "'", "D"]),
        ("a  b", ["a", " ", " b"]),
        ("a\n\n b \n", ["a", "\n\n", " b", " \n"]),
        ("x=1024²!", ["x", "=", "1024²", "!"]),
        ("  ", ["  "]),
        ("naïve 渡轮，好", ["naïve", " 渡轮", "，", "好"]),
        ("a\u3000\u3000b", ["a", "\u3000", "\u3000", "b"]),
        ("'''ve", ["'''", "ve"]),
        ("", []),
    ],
)
def test_pieces_of(text: str, pieces: list[str]) -> None:
    assert split(text) == pieces


@given(st.text())
def test_pieces_join_to_the_text(text: str) -> None:
    assert "".join(split(text)) == text


@given(st.text(alphabet="'sdmtlver aA1²!\n\t\u00a0\u3000é漢\u0301"))
def test_pieces_are_those_of_the_published_pattern(text: str) -> None:
    regex = pytest.importorskip("regex")
    assert split(text) == regex.findall(SPLIT_PATTERN, text) == regex.findall(PATTERN, text)


def test_bytes_that_are_no_utf8_are_neither_letter_nor_number_nor_space() -> None:
    assert split_bytes(b"a\xff\xfe b\xe6\xb8") == [b"a", b"\xff\xfe", b" b", b"\xe6\xb8"]


def test_there_are_the_letters_numbers_and_spaces_of_unicode_16() -> None:
    n = [sum(last - first + 1 for first, last in ranges(table)) for table in (LETTERS, NUMBERS, WHITE_SPACE)]
    assert n == [141_028, 1_911, 25]


def test_classes_of_all_characters_are_those_of_tiktoken() -> None:
    tiktoken = pytest.importorskip("tiktoken")
    points = [p for p in range(0x110000) if not 0xD800 <= p < 0xE000]
    byte_ranks = {bytes([b]): b for b in range(256)}
    for pattern, table in ((r"\p{L}", LETTERS), (r"\p{N}", NUMBERS), (r"\s", WHITE_SPACE)):
        encoding = tiktoken.Encoding("t", pat_str=pattern, mergeable_ranks=byte_ranks, special_tokens={})
        found = encoding.decode(encoding.encode_ordinary("".join(map(chr, points))))
        ours = "".join(chr(p) for first, last in ranges(table) for p in range(first, last + 1))
        assert found == ours, pattern


def test_the_table_is_what_its_script_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path(__file__).parents[2] / "scripts" / "unicode_table.py"
    spec = importlib.util.spec_from_file_location("unicode_table", script)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        module.database()
    except SystemExit:
        pytest.skip("no character database of Unicode 16.0 here: pip install unicodedata2==16.0.0")
    committed = module.DESTINATION.read_text()
    monkeypatch.setattr(module, "DESTINATION", tmp_path / "table.py")
    module.main()
    assert (tmp_path / "table.py").read_text() == committed
