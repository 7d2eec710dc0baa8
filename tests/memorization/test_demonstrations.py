"""Naturally occurring translations (Table 1)."""

import json

from fourhorn.memorization.demonstrations import demonstrations, find, language
from fourhorn.records import write_records


def test_languages_are_told_by_function_words():
    assert language("je ne suis pas la personne que vous cherchez") == "fr"
    assert language("I am not the person you are looking for") == "en"
    assert language("parfum") is None


def test_a_quotation_in_each_language_with_a_word_that_says_so_is_found():
    text = 'She wrote "la mer est dans la maison", which in English means "the sea is in the house", and laughed.'
    assert find(text) == [text]
    assert find(text.replace("which in English means", "and")) == []
    assert find('In French? "the sea is in the house", then "the sky is at the door".') == []


def test_the_first_passages_are_kept_with_their_documents(tmp_path):
    text = "He said “vous ne savez pas ce que je sais” (in English: “you do not know what I know”)."
    write_records(
        tmp_path / "train.jsonl",
        [{"id": str(i), "url": None, "text": text if i % 2 else "x"} for i in range(8)],
    )
    result = demonstrations(tmp_path / "train.jsonl", tmp_path / "overlap", n_examples=2)
    assert [example["document"] for example in result["examples"]] == ["1", "3"]
    assert (result["n_found"], result["n_documents"]) == (4, 8)
    assert json.loads((tmp_path / "overlap/demonstrations.json").read_text()) == result
