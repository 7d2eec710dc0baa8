"""Sets cut from held-out documents follow the data sets' rules and come out the same every time."""

import json
from pathlib import Path

import pytest

from fourhorn.errors import UserError
from fourhorn.evaluation.formats import read_childrens_book, read_lambada
from fourhorn.evaluation.pocket.build import build, prose_sentences
from fourhorn.evaluation.tasks.lambada import STOP_WORDS, draw_chance

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
    draws = [draw_chance(*passage.rsplit(" ", 1)) for passage in passages]
    assert manifest.details["chance"]["lambada"] == pytest.approx(sum(draws) / len(draws))


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


def test_names_of_the_software_count_as_words() -> None:
    text = "Use numpy.linalg.norm instead of the `fast_norm` of NumPy. See a.b c.d e.f g.h."
    assert list(prose_sentences(text)) == ["Use numpy.linalg.norm instead of the `fast_norm` of NumPy."]


def test_the_documents_of_one_site_are_one_book(tmp_path: Path) -> None:
    rows = [
        {"text": row["text"][: len(row["text"]) // 3].rpartition(".")[0] + ".", "domain": "trees.test"}
        for row in documents()
    ]
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    apart = "".join(json.dumps({"text": row["text"]}) + "\n" for row in rows)
    (tmp_path / "many.jsonl").write_text(apart)
    one = build(tmp_path / "one.jsonl", tmp_path / "one").outputs
    many = build(tmp_path / "many.jsonl", tmp_path / "many").outputs
    assert one["cbt_cn.txt"]["n_items"] > 20
    assert many["cbt_cn.txt"]["n_items"] == 0
    assert one["lambada.jsonl"] == many["lambada.jsonl"]


def test_documents_without_prose_are_refused(tmp_path: Path) -> None:
    (tmp_path / "part-00000.jsonl").write_text('{"text": "x = 1"}\n')
    with pytest.raises(UserError, match="has no prose"):
        build(tmp_path, tmp_path / "sets")
