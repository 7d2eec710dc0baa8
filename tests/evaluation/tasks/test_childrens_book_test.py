"""The Children's Book Test: candidate and rest of the sentence, scored on one shared context."""

from pathlib import Path

import pytest

from fourhorn.evaluation.formats import ClozeQuestion, read_childrens_book
from fourhorn.evaluation.scoring import Request, Scorer
from fourhorn.evaluation.task import Source
from fourhorn.evaluation.tasks.childrens_book_test import ChildrensBookTest, example

CANDIDATES = ("cat", "dog", "he", "it", "man", "of", "one", "that", "the", "|")
QUESTION = ClozeQuestion(
    tuple(f"Line {i} ." for i in range(20)), "`` I saw the XXXXX , '' said Ann .", "dog", CANDIDATES
)


def test_a_question_is_cut_where_the_candidates_begin() -> None:
    found = example(0, QUESTION)
    assert found.context.endswith('Line 19. "I saw the')
    assert found.continuations[:2] == (' cat," said Ann.', ' dog," said Ann.')
    assert found.label == 1
    raw = example(0, QUESTION, detokenized=False)
    assert raw.continuations[0] == " cat , '' said Ann ."


def test_a_blank_at_the_start_still_scores_the_whole_sentence() -> None:
    question = ClozeQuestion(QUESTION.context, "XXXXX slept .", "dog", CANDIDATES)
    assert example(0, question).continuations[1] == " dog slept."


def test_the_choice_is_that_of_ten_full_passes(scorer: Scorer) -> None:
    short = ClozeQuestion(("A .",) * 20, QUESTION.query, "dog", CANDIDATES)
    task = ChildrensBookTest("cbt_ne", Source("", "pocket", ""), [short])
    task.examples = [example(0, ClozeQuestion(("A .",), QUESTION.query, "dog", CANDIDATES))]
    (record,) = task.score(scorer, [0])
    encode = scorer.tokenizer.encode_ordinary
    context = encode(task.examples[0].context)
    for text, value in zip(task.examples[0].continuations, record["loglikelihoods"], strict=True):
        assert value == pytest.approx(
            scorer.loglikelihoods([Request(context, encode(text))])[0].loglikelihood, abs=1e-5
        )


def test_context_beyond_the_models_is_dropped_from_the_front_and_counted(scorer: Scorer) -> None:
    task = ChildrensBookTest("cbt_ne", Source("", "pocket", ""), [QUESTION])
    (record,) = task.score(scorer, [0])
    assert record["n_dropped"] > 0
    assert task.metrics([record])["truncated"].value == 1.0


def test_every_real_question_keeps_its_sentence_in_all_ten_candidates(real: Path) -> None:
    questions = read_childrens_book(real / "cbt" / "cbtest_NE_valid_2000ex.reconstructed.txt")
    for number, question in enumerate(questions[:300]):
        found = example(number, question)
        assert len(set(found.continuations)) == 10
        assert all(text.startswith(" ") and not text.startswith("  ") for text in found.continuations)
