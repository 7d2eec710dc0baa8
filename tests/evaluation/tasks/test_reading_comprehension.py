"""CoQA: the paper's layout, every turn, human answers in the history, a cache that grows."""

import pytest

from fourhorn.evaluation.formats import Conversation
from fourhorn.evaluation.scoring import Scorer
from fourhorn.evaluation.task import Source
from fourhorn.evaluation.tasks.reading_comprehension import (
    MAX_ANSWER_TOKENS,
    ReadingComprehension,
    TurnExample,
    fit,
    human_f1,
    prompt,
)

CAT = Conversation(
    "1",
    "story",
    "A cat sat.",
    ("Who sat?", "When?"),
    ("a cat", "then"),
    (("a cat", "cat"), ("then", "at night")),
)


def long(n_turns: int, story: str = "It was so.") -> Conversation:
    questions = tuple(f"Who was number {i} of them?" for i in range(n_turns))
    return Conversation("2", "story", story, questions, ("he was",) * n_turns, (("he was",),) * n_turns)


def test_the_prompt_is_the_papers_layout() -> None:
    assert prompt(TurnExample("", CAT, 1)) == "A cat sat.\n\nQ: Who sat?\nA: a cat\nQ: When?\nA:"
    assert prompt(TurnExample("", CAT, 1), first_turn=1) == "A cat sat.\n\nQ: When?\nA:"


def test_oldest_turns_go_first_then_the_end_of_the_passage(wide, tokenizer) -> None:  # type: ignore[no-untyped-def]
    scorer = Scorer(wide, tokenizer)
    tokens, n_turns, n_story = fit(scorer, TurnExample("", long(30), 29), 200)
    assert len(tokens) <= 200
    assert (n_turns > 0, n_story) == (True, 0)
    text = tokenizer.decode(tokens)
    assert text.startswith("It was so.\n\nQ: Who was number")
    assert text.endswith("Q: Who was number 29 of them?\nA:")
    tokens, n_turns, n_story = fit(scorer, TurnExample("", long(2, "word " * 100), 1), 100)
    assert (len(tokens), n_turns, n_story > 0) == (100, 1, True)
    assert tokenizer.decode(tokens).startswith("word word")


def test_growing_caches_answer_as_fresh_prompts_do(wide, tokenizer) -> None:  # type: ignore[no-untyped-def]
    """Conversations of different lengths, one of which outgrows the context and is read again."""
    from fourhorn.evaluation.generation import generate

    scorer = Scorer(wide, tokenizer, 8)
    conversations = [long(25), CAT, long(3, "He had one. " * 9)]
    task = ReadingComprehension(Source("", "pocket", ""), conversations)
    records = {r["id"]: r for batch in task.batches(scorer) for r in task.score(scorer, batch)}
    assert len(records) == 27
    room = scorer.n_ctx - MAX_ANSWER_TOKENS
    for conversation in conversations[:2]:
        for turn in range(len(conversation.questions)):
            tokens, _, _ = fit(scorer, TurnExample("", conversation, turn), room)
            fresh = generate(scorer, [tokens], max_new_tokens=MAX_ANSWER_TOKENS, stop=scorer.newline_tokens)[
                0
            ]
            if conversation is CAT:
                assert records[f"1/{turn + 1}"]["answer"] == tokenizer.decode(fresh.tokens).strip()
    assert scorer.counts["forward_tokens"] < scorer.counts["unshared_tokens"]


def test_people_reach_the_f1_of_the_other_references() -> None:
    assert human_f1([CAT]) == pytest.approx(100 * (1.0 + 0.0) / 2)
    assert human_f1([long(1)]) is None
