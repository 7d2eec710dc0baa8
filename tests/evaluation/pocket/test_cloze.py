"""Names and nouns are told by their use; all ten candidates come from the passage, as in the official files."""

from collections import Counter
from pathlib import Path

import pytest

from fourhorn.evaluation.formats import read_childrens_book
from fourhorn.evaluation.pocket.cloze import is_name, questions_of, word_kinds
from fourhorn.evaluation.tasks.childrens_book_test import example

SENTENCES = [
    "We store an array in NumPy with Unicode names, as Python does.",
    "Then an array of Python objects, the Unicode way, and an array.",
    "It must NOT fail in the loop, not the first time and NOT later in the loop.",
]


def test_names_are_told_by_use_and_nouns_by_their_neighbors() -> None:
    kinds = word_kinds(SENTENCES)
    assert kinds["cbt_ne"] == {"Python", "Unicode"}
    assert kinds["cbt_cn"] == {"array", "loop"}


@pytest.mark.parametrize(
    "word", ["NumPy", "os.path", "n_jobs", "download()", "DataFrame.apply()", "camelCase"]
)
def test_words_of_the_form_of_a_software_name_are_names(word: str) -> None:
    assert is_name(word)


@pytest.mark.parametrize("word", ["True", "None", "e.g", "word", "Then", "well-known", "3.5", "", "..."])
def test_ordinary_words_numbers_and_constants_are_no_names(word: str) -> None:
    assert not is_name(word)


def question(names: int, nouns: int) -> tuple[list[str], Counter[str]]:
    """What a book yields whose passages hold so many names and nouns."""
    sentences = [f"Here is Name{i} and tool{i % nouns} again." for i in range(names)]
    book = [*sentences, *["Nothing of note."] * (20 - names), "At last we saw Name0 and left."]
    kinds = {
        "cbt_ne": frozenset(f"Name{i}" for i in range(names)),
        "cbt_cn": frozenset(f"tool{i}" for i in range(nouns)),
    }
    drops = Counter[str]()
    return list(questions_of([book], kinds, "cbt_ne", step=1, seed=0, drops=drops)), drops


def test_a_passage_of_few_names_fills_its_candidates_with_its_own_nouns(tmp_path: Path) -> None:
    found, _ = question(names=6, nouns=5)
    (tmp_path / "cbt_ne.txt").write_text("".join(f"{block}\n" for block in found))
    (only,) = read_childrens_book(tmp_path / "cbt_ne.txt")
    assert only.answer == "Name0"
    assert len([c for c in only.candidates if c.startswith("Name")]) == 6
    assert len([c for c in only.candidates if c.startswith("tool")]) == 4
    assert all(c in " ".join(only.context) for c in only.candidates)


def test_passages_of_too_few_names_or_nouns_are_counted() -> None:
    assert question(names=4, nouns=4) == ([], Counter({"cbt_ne: too few candidates in the passage": 1}))
    assert question(names=6, nouns=2) == ([], Counter({"cbt_ne: too few candidates in the passage": 1}))


def test_official_candidates_all_stand_in_the_passage_and_counting_them_is_right_in_a_third(
    real: Path,
) -> None:
    questions = read_childrens_book(next((real / "cbt").glob("cbtest_NE_valid*")))
    for q in questions:
        passage = {word for line in q.context for word in line.split()}
        assert q.answer in passage
        assert set(q.candidates) <= passage | set(q.query.split())
    counted = [example(i, q).commonest for i, q in enumerate(questions)]
    assert sum(counted) / len(counted) == pytest.approx(0.33, abs=0.02)
