"""Scores equal the plain formula, at any batch size, in any order, with and without shared contexts."""

import copy
import random

import pytest
import torch

from fourhorn.evaluation.scoring import Request, Scorer, window_request, windows


def plain(scorer: Scorer, context: list[int], continuation: list[int]) -> float:
    """The slow clear twin: one sequence, all logits."""
    tokens = torch.tensor([[*context, *continuation]])
    with torch.inference_mode():
        logprobs = torch.log_softmax(scorer.model(tokens[:, :-1]).double(), -1)[0]
    return sum(float(logprobs[len(context) + i - 1, token]) for i, token in enumerate(continuation))


def some_requests(n: int, seed: int = 0) -> list[Request]:
    draw = random.Random(seed)
    return [
        Request(
            [draw.randrange(300) for _ in range(draw.randint(1, 40))],
            [draw.randrange(300) for _ in range(draw.randint(1, 9))],
        )
        for _ in range(n)
    ]


def test_loglikelihood_equals_the_plain_formula(scorer: Scorer) -> None:
    for request, score in zip(some_requests(20), scorer.loglikelihoods(some_requests(20)), strict=True):
        assert score.loglikelihood == pytest.approx(
            plain(scorer, list(request.context), list(request.continuation)), abs=1e-5
        )


@pytest.mark.parametrize("batch_size", [1, 3, 8, 32])
def test_loglikelihoods_do_not_depend_on_batch_size_or_order(scorer: Scorer, batch_size: int) -> None:
    requests = some_requests(40)
    order = list(range(40))
    random.Random(batch_size).shuffle(order)
    other = Scorer(scorer.model, scorer.tokenizer, batch_size).loglikelihoods([requests[i] for i in order])
    for place, i in enumerate(order):
        expected = scorer.loglikelihoods([requests[i]])[0]
        assert other[place].loglikelihood == pytest.approx(expected.loglikelihood, abs=1e-5)
        assert other[place].greedy == expected.greedy


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_choices_on_a_shared_context_equal_separate_requests(scorer: Scorer, batch_size: int) -> None:
    draw = random.Random(3)
    groups = []
    for _ in range(5):
        context = [draw.randrange(300) for _ in range(draw.randint(1, 50))]
        groups.append(
            (context, [[draw.randrange(300) for _ in range(draw.randint(1, 6))] for _ in range(10)])
        )
    shared = Scorer(scorer.model, scorer.tokenizer, batch_size)
    for (context, continuations), scores in zip(groups, shared.choices(groups), strict=True):
        for continuation, score in zip(continuations, scores, strict=True):
            assert score.loglikelihood == pytest.approx(plain(scorer, context, continuation), abs=1e-5)
    assert shared.counts["forward_tokens"] < shared.counts["unshared_tokens"] / 4


def test_a_context_too_long_loses_its_oldest_tokens_and_says_how_many(scorer: Scorer) -> None:
    context, continuation = list(range(100)), [5, 6, 7]
    score = scorer.loglikelihoods([Request(context, continuation)])[0]
    assert score.n_dropped == 100 + 3 - 1 - 64
    assert score.loglikelihood == pytest.approx(plain(scorer, context[38:], continuation), abs=1e-5)
    choices = scorer.choices([(context, [continuation, [9]])])[0]
    assert [choice.n_dropped for choice in choices] == [38, 38]


def test_an_empty_or_endless_continuation_is_refused(scorer: Scorer) -> None:
    with pytest.raises(ValueError, match="empty continuation"):
        scorer.loglikelihoods([Request([1], [])])
    with pytest.raises(ValueError, match="exceeds the context of 64"):
        scorer.loglikelihoods([Request([1], [2] * 65)])


def test_windows_score_every_token_once_with_the_context_that_the_stride_promises() -> None:
    assert windows(10, 4, 4) == [(-1, 0, 4), (3, 4, 8), (5, 8, 10)]
    assert windows(3, 4, 4) == [(-1, 0, 3)]
    for n_tokens, stride in ((100, 16), (97, 8), (64, 64), (65, 3)):
        found = windows(n_tokens, 32, min(stride, 32))
        assert [t for w in found for t in range(w.first, w.stop)] == list(range(n_tokens))
        for window in found[1:]:
            assert window.stop - 1 - window.start == 32
            assert window.first - window.start >= 32 - stride


def test_rolling_windows_of_any_stride_agree_with_the_plain_formula(scorer: Scorer) -> None:
    tokens = [random.Random(1).randrange(300) for _ in range(150)]
    for stride in (64, 16):
        for window in windows(len(tokens), scorer.n_ctx, stride):
            request = window_request(tokens, window, scorer.eot)
            score = scorer.loglikelihoods([request])[0]
            assert score.n_dropped == 0
            expected = plain(scorer, list(request.context), list(request.continuation))
            assert score.loglikelihood == pytest.approx(expected, abs=1e-5)


def test_greedy_flags_mark_the_models_first_choice(scorer: Scorer) -> None:
    with torch.inference_mode():
        best = int(scorer.model(torch.tensor([[1, 2, 3]]))[0, -1].argmax())
    right, wrong = scorer.loglikelihoods([Request([1, 2, 3], [best]), Request([1, 2, 3], [(best + 1) % 300])])
    assert right.is_greedy
    assert not wrong.is_greedy


def test_the_digest_changes_with_any_weight(scorer: Scorer) -> None:
    before = scorer.digest
    weight = scorer.model.h[1].mlp.c_fc.weight
    with torch.no_grad():
        weight[0, 0] += 1e-3
        after = Scorer(scorer.model, scorer.tokenizer).digest
        weight[0, 0] -= 1e-3
    assert before != after


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA card here")
def test_scores_on_a_card_are_those_on_the_cpu(scorer: Scorer) -> None:
    card = Scorer(copy.deepcopy(scorer.model).cuda(), scorer.tokenizer)
    expected, found = (one.loglikelihoods(some_requests(40)) for one in (scorer, card))
    for here, there in zip(expected, found, strict=True):
        assert here.greedy == there.greedy
        assert here.logprobs == pytest.approx(there.logprobs, abs=1e-4)
