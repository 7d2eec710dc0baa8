"""Candidates take the pronoun's place as in the published substituted version; both scorings are plain sums."""

import json
from pathlib import Path

import pytest

from fourhorn.evaluation.formats import Schema, read_winograd
from fourhorn.evaluation.scoring import Request, Scorer
from fourhorn.evaluation.task import Source
from fourhorn.evaluation.tasks.winograd import N_OFFICIAL, Winograd, examples, substitute


@pytest.mark.parametrize(
    ("before", "pronoun", "after", "candidate", "text"),
    [
        ("The file was lost because", "it", "was old.", "The disk", "The file was lost because the disk"),
        ("I saw a dog.", "It", "barked.", "a dog", "I saw a dog. The dog"),
        ("Ann met Bea and kept", "her", "book.", "Bea", "Ann met Bea and kept Bea's"),
        ("Ann met Bea and greeted", "her", "in the hall.", "Bea", "Ann met Bea and greeted Bea"),
        ("He hung up because", "he", "was tired.", "Fred's", "He hung up because Fred"),
        ("I put", "it", "in the bag.", "my jacket", "I put the jacket"),
    ],
)
def test_substitution_by_hand(before: str, pronoun: str, after: str, candidate: str, text: str) -> None:
    assert substitute(Schema(before, pronoun, after, (candidate, "x"), 0), candidate) == text


def test_all_273_agree_with_an_independent_published_version(real: Path) -> None:
    """That version forgets a capital after two exclamation marks: 4 of 546 differ in case only."""
    ours = examples(read_winograd(real / "wsc273" / "WSCollection.xml"), N_OFFICIAL)
    lines = (real / "wsc273" / "winograd_wsc.llm-foundry.jsonl").read_text().splitlines()
    theirs = [json.loads(line) for line in lines]
    assert len(ours) == len(theirs) == 273
    same_case = 0
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.continuation == other["continuation"]
        assert mine.label == other["gold"]
        assert [c.lower() for c in mine.contexts] == [c.lower() for c in other["context_options"]]
        same_case += sum(a == b for a, b in zip(mine.contexts, other["context_options"], strict=True))
    assert same_case == 542


def test_partial_scores_the_tail_and_full_the_sentence(scorer: Scorer) -> None:
    schema = Schema("A cat saw a dog and", "it", "ran.", ("a cat", "a dog"), 1)
    task = Winograd(Source("", "pocket", ""), [schema])
    (record,) = task.score(scorer, [0])
    encode = scorer.tokenizer.encode_ordinary
    for i, candidate in enumerate(("the cat", "the dog")):
        head, tail = encode(f"A cat saw a dog and {candidate}"), encode(" ran.")
        partial = scorer.loglikelihoods([Request([scorer.eot, *head], tail)])[0].loglikelihood
        full = scorer.loglikelihoods([Request([], [*head, *tail])])[0].loglikelihood
        assert record["partial"][i] == pytest.approx(partial, abs=1e-5)
        assert record["full"][i] == pytest.approx(full, abs=1e-5)


def test_a_tie_is_wrong_and_counted(scorer: Scorer) -> None:
    schema = Schema("A cat saw a cat and", "it", "ran.", ("the cat", "the cat"), 0)
    task = Winograd(Source("", "pocket", ""), [schema])
    metrics = task.metrics(task.score(scorer, [0]))
    assert (metrics["accuracy"].value, metrics["ties"].value) == (0.0, 1.0)


def test_a_sentence_longer_than_the_context_is_skipped_with_its_reason(scorer: Scorer) -> None:
    schema = Schema("x" * 100, "it", "ran.", ("the cat", "the dog"), 0)
    task = Winograd(Source("", "pocket", ""), [schema])
    assert task.score(scorer, [0]) == [{"id": "0", "skipped": "sentence longer than the context"}]
