"""Sets cut from held-out documents follow the data sets' rules and come out the same every time."""

import json
from pathlib import Path

import pytest

from fourhorn.errors import UserError
from fourhorn.evaluation.formats import read_childrens_book, read_lambada
from fourhorn.evaluation.pocket.build import build, prose_sentences
from fourhorn.evaluation.tasks.lambada import STOP_WORDS

NAMES = [
    "Alder",
    "Birch",
    "Cedar",
    "Dogwood",
    "Elm",
    "Fir",
    "Ginkgo",
    "Hazel",
    "Ivy",
    "Juniper",
    "Kapok",
    "Larch",
]
NOUNS = [
    "tree",
    "leaf",
    "branch",
    "root",
    "seed",
    "flower",
    "trunk",
    "forest",
    "garden",
    "stone",
    "river",
    "path",
]


def documents() -> list[dict[str, str]]:
    found = []
    for d in range(6):
        lines = []
        for i in range(40):
            name, noun = NAMES[(i * 5 + d) % 12], NOUNS[(i * 7 + d) % 12]
            other = NOUNS[(i * 5 + 3 + d) % 12]
            lines.append(f"Near the {noun} in the valley old {name} was looking for another {other}.")
        found.append({"text": " ".join(lines) + "\ncode = [1, 2]\n"})
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "held").mkdir()
    text = "".join(json.dumps(document) + "\n" for document in documents())
    (tmp_path / "held" / "part-00000.jsonl").write_text(text)
    return tmp_path / "held"


def test_passages_and_questions_follow_the_rules(source: Path, tmp_path: Path) -> None:
    manifest = build(source, tmp_path / "sets")
    passages = read_lambada(tmp_path / "sets" / "lambada.jsonl")
    assert len(passages) > 50
    for passage in passages:
        *context, last = passage.split()
        assert len(context) >= 50
        assert last.lower() not in STOP_WORDS
        assert last in {word.strip(".") for word in context}
    for name, kind in (("cbt_cn", NOUNS), ("cbt_ne", NAMES)):
        questions = read_childrens_book(tmp_path / "sets" / f"{name}.txt")
        assert len(questions) > 50
        for question in questions:
            assert set(question.candidates) <= set(kind)
            assert list(question.candidates) == sorted(question.candidates)
            assert question.answer in " ".join(question.context)
    assert manifest.n_in == manifest.n_kept + sum(manifest.drops.values())
    assert manifest.details["chance"]["cbt_cn"] == 0.1


def test_building_again_gives_the_same_bytes_and_returns_at_once(source: Path, tmp_path: Path) -> None:
    first, second = build(source, tmp_path / "a"), build(source, tmp_path / "b")
    assert first.outputs == second.outputs
    assert build(source, tmp_path / "a") == first
    with pytest.raises(UserError, match="finished result of other options"):
        build(source, tmp_path / "a", max_items=3)


def test_at_most_as_many_items_as_wanted_are_kept(source: Path, tmp_path: Path) -> None:
    manifest = build(source, tmp_path / "few", max_items=7)
    assert [output["n_items"] for output in manifest.outputs.values()] == [7, 7, 7]
    assert manifest.drops["more than wanted"] > 0


def test_code_and_headings_are_no_prose() -> None:
    text = "Parameters\n>>> a = f(x)\nThe function takes a list of names. Use it well!\nx = [1, 2, 3]."
    assert list(prose_sentences(text)) == ["The function takes a list of names."]


def test_documents_without_prose_are_refused(tmp_path: Path) -> None:
    (tmp_path / "part-00000.jsonl").write_text('{"text": "x = 1"}\n')
    with pytest.raises(UserError, match="has no prose"):
        build(tmp_path, tmp_path / "sets")
