"""LAMBADA: where the last word begins, OpenAI's preprocessing, and the filter on whole words."""

import math
from pathlib import Path

import pytest
import torch

from fourhorn.evaluation.formats import read_lambada
from fourhorn.evaluation.scoring import Scorer
from fourhorn.evaluation.task import Source
from fourhorn.evaluation.tasks.lambada import (
    STOP_WORDS,
    Lambada,
    bare,
    draw_chance,
    example,
    predict_words,
    preprocess,
)


def test_the_last_word_follows_the_last_white_space_of_any_kind() -> None:
    assert (example(0, "He saw the dog").context, example(0, "He saw the dog").target) == (
        "\nHe saw the",
        " dog",
    )
    assert example(0, 'He said:\n\n"Go"').target == '\n"Go"'
    assert example(0, "one two", preprocessed=False).context == "one"


def test_preprocessing_is_openais() -> None:
    assert preprocess("  “Go,” he said ") == '\n"Go," he said'


def test_every_passage_is_cut_without_loss(real: Path) -> None:
    passages = read_lambada(real / "lambada" / "lambada_test.openai.jsonl")
    cut = [example(i, p) for i, p in enumerate(passages)]
    assert all(e.context + e.target == preprocess(p) for e, p in zip(cut, passages, strict=True))
    assert sum("“" in p or "”" in p for p in passages) == 1622
    assert sum("\n" in p for p in passages) == 4642
    words = [bare(e.target).lower() for e in cut]
    absent = sum(
        w not in {bare(x).lower() for x in e.context.split()} for w, e in zip(words, cut, strict=True)
    )
    assert absent / 5153 == pytest.approx(0.20, abs=0.02)  # the paper: 19 %


def test_chance_is_a_draw_from_the_content_words_of_the_passage() -> None:
    assert draw_chance("\nThe cat saw the dog; the dog saw it.", " cat") == pytest.approx(1 / 3)
    assert draw_chance("\nThe cat saw the dog.", " bird") == 0.0
    task = Lambada(Source("", "pocket", ""), ["the cat saw the cat", "a dog saw a cat"])
    record = {"nats": 1.0, "last_token_nats": 1.0, "n_tokens": 1, "correct_no_filter": False}
    record |= {"target": "cat", "correct": False, "correct_last_token": False}
    metrics = task.metrics([{"id": "0", **record}, {"id": "1", **record}])
    assert metrics["accuracy"].chance == pytest.approx((1 / 2 + 0) / 2)
    assert metrics["most_frequent_answer"].value == 1.0


def plain_best_word(scorer: Scorer, context: list[int], vocabulary: list[str]) -> tuple[float, str]:
    """The slow clear twin: every word of a list, its probability times that of a boundary after it."""
    boundary = ~scorer.continues_word
    best = (-math.inf, "")
    for word in vocabulary:
        tokens = scorer.tokenizer.encode_ordinary(" " + word)
        logprobs = torch.log_softmax(scorer.model(torch.tensor([context + tokens]))[0].double(), -1)
        p = sum(float(logprobs[len(context) - 1 + i, t]) for i, t in enumerate(tokens))
        p += float(torch.logsumexp(logprobs[-1][boundary], 0))
        best = max(best, (p, word))
    return best


def test_the_predicted_word_is_the_likeliest_one_outside_the_stop_words(scorer: Scorer) -> None:
    words = [
        piece.decode().strip() for piece in scorer.token_bytes if piece.startswith(b" ") and len(piece) > 1
    ]
    allowed = [word for word in words if word not in STOP_WORDS]
    contexts = [[40 + 7 * i, 257 + i, 100 + i] for i in range(8)]
    with torch.inference_mode():
        cache = scorer.cache(8, 20)
        last = scorer.prefill(cache, contexts)
        found = predict_words(scorer, cache, last)
        for context, word in zip(contexts, found, strict=True):
            assert word.lower() not in STOP_WORDS
            best, listed = plain_best_word(scorer, context, allowed)
            mine, _ = plain_best_word(scorer, context, [word])
            assert mine >= best - 1e-5, (word, listed)


def test_all_variants_come_from_one_pass(scorer: Scorer) -> None:
    task = Lambada(
        Source("", "pocket", ""), ["the cat was on the mat", "he said that the dog had it", "one two three"]
    )
    records = task.score(scorer, [0, 1, 2])
    metrics = task.metrics(records)
    assert metrics["accuracy"].n == 3
    assert metrics["word_perplexity"].value == pytest.approx(math.exp(sum(r["nats"] for r in records) / 3))
    n_tokens = sum(r["n_tokens"] for r in records)
    assert metrics["token_perplexity"].value == pytest.approx(
        math.exp(sum(r["nats"] for r in records) / n_tokens)
    )
    assert set(metrics) >= {"accuracy", "accuracy_no_filter", "accuracy_last_token", "last_token_perplexity"}


def test_a_last_word_of_too_many_tokens_is_skipped_with_its_reason(scorer: Scorer) -> None:
    task = Lambada(Source("", "pocket", ""), ["see " + "x" * 30])
    assert task.score(scorer, [0])[0]["skipped"] == "last word over 16 tokens"
