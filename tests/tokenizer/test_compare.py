import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fourhorn.errors import UserError
from fourhorn.tokenizer import Tokenizer
from fourhorn.tokenizer.compare import SAMPLES, measure, write
from fourhorn.tokenizer.vocabulary import Vocabulary


def test_bytes_alone_have_one_byte_per_token(small: Tokenizer) -> None:
    rows = measure({"bytes": Tokenizer(Vocabulary.of([])), "small": small})
    assert [row.kind for row in rows[::2]] == list(SAMPLES)
    assert {row.bytes_per_token for row in rows if row.tokenizer == "bytes"} == {1.0}
    assert all(row.bytes_per_token > 1 for row in rows if row.tokenizer == "small")


def test_files_by_kind_are_measured_and_the_plot_is_well_formed(small: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the ferry <|endoftext|> the gulls")
    rows = measure({"a<b": small}, {"prose & more": tmp_path / "a.txt"})
    assert rows[0].n_bytes == len("the ferry  the gulls")
    write(rows, tmp_path)
    assert json.loads((tmp_path / "comparison.json").read_bytes())[0]["n_tokens"] == rows[0].n_tokens
    svg = ElementTree.parse(tmp_path / "comparison.svg").getroot()
    texts = ["".join(element.itertext()) for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert "prose & more" in texts
    assert "a<b (600 tokens)" in texts


def test_an_empty_file_is_refused(small: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UserError, match="'english' is empty"):
        measure({"small": small}, {"english": tmp_path / "a.txt"})
