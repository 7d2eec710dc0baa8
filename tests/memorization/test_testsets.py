"""Test sets as items with the evaluation's ids."""

import json

import pytest

from fourhorn.errors import UserError
from fourhorn.memorization.testsets import read_sets
from fourhorn.records import write_records


def test_lambada_and_a_childrens_book_question_are_told_by_their_names(tmp_path):
    (tmp_path / "lambada.jsonl").write_text(json.dumps({"text": "She opened the door"}) + "\n")
    lines = [f"{i} Sentence {i} ." for i in range(1, 21)]
    lines.append("21 The XXXXX ran .\tfox\t\tfox|a|b|c|d|e|f|g|h|i")
    (tmp_path / "cbt_cn.txt").write_text("\n".join(lines) + "\n\n")
    sets = read_sets(tmp_path)
    assert sets["lambada"] == [("0", "She opened the door")]
    assert sets["cbt_cn"][0][0] == "0"
    assert sets["cbt_cn"][0][1].endswith("Sentence 20 . The fox ran .")


def test_a_folder_of_pocket_sets_stands_for_the_shipped_ones_too(tmp_path):
    (tmp_path / "lambada.jsonl").write_text(json.dumps({"text": "She opened the door"}) + "\n")
    (tmp_path / "manifest.json").write_text("{}")
    sets = read_sets(tmp_path)
    assert {"lambada", "winograd", "coqa", "natural_questions"} <= sets.keys()
    assert all(isinstance(text, str) and text for items in sets.values() for _, text in items)


def test_samples_and_documents_are_read_as_records(tmp_path):
    folder = tmp_path / "pocket-117M"
    folder.mkdir()
    write_records(folder / "part-00000.jsonl", [{"id": 7, "prompt": "p", "completion": "c"}, {"text": "t"}])
    assert read_sets(folder) == {"pocket-117M": [("7", "c"), ("1", "t")]}
    assert list(read_sets(folder / "part-00000.jsonl", "mine")) == ["mine"]


def test_what_is_not_there_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_sets(tmp_path / "nothing")


def test_the_real_sets_have_their_known_numbers_of_items(real_data):
    sets = read_sets(real_data / "eval")
    counts = {name: len(items) for name, items in sets.items()}
    assert counts["lambada"] == 5153
    assert counts["cbt_ne"] == 2000
    assert counts["winograd"] == 273
    assert counts["natural_questions"] == 3610
    assert counts["wikitext2"] == 1
