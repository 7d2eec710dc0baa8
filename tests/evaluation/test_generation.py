"""Batched greedy and top-k completions equal one-at-a-time completions."""

import random

import numpy as np
import pytest
import torch

from fourhorn.evaluation.generation import decode, extend, generate
from fourhorn.evaluation.scoring import Scorer


def plain_greedy(scorer: Scorer, tokens: list[int], n: int, stop: frozenset[int]) -> list[int]:
    """The slow clear twin: no cache, no batch."""
    found: list[int] = []
    with torch.inference_mode():
        while len(found) < n:
            token = int(scorer.model(torch.tensor([[*tokens, *found]]))[0, -1].argmax())
            if token in stop:
                break
            found.append(token)
    return found


def test_greedy_with_a_shared_prefix_equals_the_plain_loop(scorer: Scorer) -> None:
    draw = random.Random(5)
    prefix = [draw.randrange(300) for _ in range(20)]
    prompts = [[draw.randrange(300) for _ in range(draw.randint(1, 15))] for _ in range(9)]
    stop = frozenset(range(0, 300, 9))
    found = generate(scorer, prompts, prefix=prefix, max_new_tokens=12, stop=stop)
    assert [c.tokens for c in found] == [plain_greedy(scorer, prefix + p, 12, stop) for p in prompts]
    assert scorer.counts["forward_tokens"] == 20 + sum(map(len, prompts))
    assert scorer.counts["unshared_tokens"] == 9 * 20 + sum(map(len, prompts))


def test_sampling_depends_on_seed_and_item_not_on_the_batch(scorer: Scorer) -> None:
    draw = random.Random(6)
    prompts = [[draw.randrange(300) for _ in range(draw.randint(1, 15))] for _ in range(9)]
    seeds = list(range(9))

    def sampled(batch_size: int) -> list[list[int]]:
        other = Scorer(scorer.model, scorer.tokenizer, batch_size)
        found = generate(other, prompts, max_new_tokens=10, stop=frozenset(), top_k=2, seeds=seeds)
        return [c.tokens for c in found]

    assert sampled(1) == sampled(4) == sampled(32)
    assert sampled(1) != [c.tokens for c in generate(scorer, prompts, max_new_tokens=10, stop=frozenset())]


def test_confidence_is_the_probability_of_the_answer(scorer: Scorer) -> None:
    completion = generate(scorer, [[1, 2, 3]], max_new_tokens=4, stop=frozenset())[0]
    score = scorer.choices([([1, 2, 3], [completion.tokens])])[0][0]
    assert completion.loglikelihood == pytest.approx(score.loglikelihood, abs=1e-5)


def test_extending_uneven_histories_equals_reading_them_whole(scorer: Scorer) -> None:
    """Rows near the end of the context grow beside short ones without passing it."""
    draw = random.Random(8)
    before = [[draw.randrange(300) for _ in range(n)] for n in (5, 55, 30)]
    after = [row + [draw.randrange(300) for _ in range(n)] for row, n in zip(before, (25, 3, 1), strict=True)]
    cache = scorer.cache(3, scorer.n_ctx)
    with torch.inference_mode():
        extend(scorer, cache, before, [0, 0, 0])
        last = extend(scorer, cache, after, [len(row) for row in before])
        for row, tokens in enumerate(after):
            whole = scorer.model.hidden(torch.tensor([tokens]))[0, -1]
            assert torch.allclose(last[row], whole, atol=1e-5)
        found = decode(scorer, cache, last, max_new_tokens=3, stop=frozenset())
    assert [c.tokens for c in found] == [plain_greedy(scorer, row, 3, frozenset()) for row in after]


def test_a_prompt_that_leaves_no_room_is_refused(scorer: Scorer) -> None:
    with pytest.raises(ValueError, match="exceed the context of 64"):
        generate(scorer, [[1] * 60], max_new_tokens=5, stop=frozenset())


def test_top_k_draws_follow_the_probabilities(scorer: Scorer) -> None:
    draws = [
        generate(scorer, [[4, 5]], max_new_tokens=1, stop=frozenset(), top_k=2, seeds=[s])[0].tokens[0]
        for s in range(300)
    ]
    with torch.inference_mode():
        p, tokens = torch.softmax(scorer.model(torch.tensor([[4, 5]]))[0, -1].topk(2).values, 0), None
        tokens = scorer.model(torch.tensor([[4, 5]]))[0, -1].topk(2).indices.tolist()
    share = np.mean([token == tokens[0] for token in draws])
    assert abs(share - float(p[0])) < 0.1
    assert set(draws) <= set(tokens)
