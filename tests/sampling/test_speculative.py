import collections

import numpy as np
import pytest
import torch

from benchmarks.sampling_speculative import NEAR, slacks
from fourhorn.sampling.batching import BatchEngine
from fourhorn.sampling.decoder import TorchDecoder, make_decoder
from fourhorn.sampling.logits import distribution
from fourhorn.sampling.request import Request
from fourhorn.sampling.settings import SamplingParams
from fourhorn.sampling.speculative import TRIAL, DraftModel, Payoff, PromptLookup


@pytest.fixture(scope="module")
def smaller(random_model):
    return random_model(n_layer=1)


PROMPTS = [[1, 2, 3] * 5, [7], [9, 8] * 3, [4, 4, 4]] * 3


def texts(model, tokenizer, precision, drafter, **settings):
    decoder = make_decoder(model, 4, precision=precision)
    engine = BatchEngine(None, tokenizer, decoder=decoder, drafter=drafter, always_guess=True)
    params = SamplingParams(max_new_tokens=40, **settings)
    requests = [engine.submit(prompt, params.but(seed=i)) for i, prompt in enumerate(PROMPTS)]
    engine.run()
    return [request.tokens for request in requests], engine.payoff


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"temperature": 0.4}, {"top_k": 3}])
def test_guessing_changes_no_token(model, smaller, tokenizer, precision, settings):
    plain, _ = texts(model, tokenizer, precision, None, **settings)
    looked_up, lookup = texts(model, tokenizer, precision, PromptLookup(), **settings)
    drafted, draft = texts(model, tokenizer, precision, DraftModel(smaller, 4), **settings)
    for guessed in (looked_up, drafted):
        if precision == "float32":  # PyTorch may round several rows otherwise than one
            assert all(
                far < NEAR
                for far in slacks(TorchDecoder(model), PROMPTS, plain, guessed, SamplingParams(**settings))
            )
        else:
            assert guessed == plain
    assert lookup.n_right > 0
    assert draft.n_guesses > 500


def test_slack_is_how_far_the_other_token_was_from_being_drawn(model, tokenizer):
    plain, _ = texts(model, tokenizer, "float32", None, temperature=0.0)
    logits = TorchDecoder(model).read([0], [PROMPTS[1] + plain[1][:5]])[0]
    second = logits.topk(2)
    other = [plain[0], [*plain[1][:5], second.indices[1].item()], *plain[2:]]
    [found] = slacks(TorchDecoder(model), PROMPTS, plain, other, SamplingParams(temperature=0.0))
    assert found == pytest.approx((second.values[0] - second.values[1]).item(), rel=1e-4)
    assert found > NEAR


def test_a_draft_by_the_model_itself_is_always_right(model, tokenizer):
    _, payoff = texts(model, tokenizer, "float32", DraftModel(model, 4), temperature=1.0, stop_at_eot=False)
    assert payoff.acceptance > 0.99


def test_look_up_continues_the_latest_repetition(tokenizer):
    request = Request([1, 2, 3, 4, 9, 2, 3, 5, 6, 2, 3], SamplingParams(), tokenizer, None)
    assert PromptLookup().propose(request, 3) == [5, 6, 2]
    request.context[-1] = 77
    assert PromptLookup().propose(request, 3) == []


def test_peeked_random_numbers_are_those_that_come(tokenizer):
    one, other = (Request([1], SamplingParams(seed=5), tokenizer, None) for _ in range(2))
    ahead = [one.peek(i) for i in range(5)]
    assert [one.uniform() for _ in range(8)] == [other.uniform() for _ in range(8)]
    assert ahead == [np.random.Generator(np.random.Philox(5)).random(5)[i] for i in range(5)]


def test_guessing_stops_where_it_does_not_pay(monkeypatch):
    payoff, now = Payoff(), [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    taken = []
    for _ in range(60):
        way = payoff.guess()
        taken.append(way)
        started = now[0]
        now[0] += 3.0 if way else 1.0  # a pass with guesses takes three times as long and yields two tokens
        payoff.note(way, 2 if way else 1, started)
    assert taken[: 2 * TRIAL] == [False] * TRIAL + [True] * TRIAL
    assert taken[2 * TRIAL :] == [False] * (60 - 2 * TRIAL)


def sequences(model, prompt, n_new, top_k, prefix=(), chance=1.0):
    """Every sequence that can be drawn, with its exact probability."""
    if len(prefix) == n_new:
        return {prefix: chance}
    logits = TorchDecoder(model).read([0], [[*prompt, *prefix]])
    chances = distribution(logits, 2.0, top_k)[0].double()
    found = {}
    for token in chances.nonzero()[:, 0].tolist():
        found |= sequences(model, prompt, n_new, top_k, (*prefix, token), chance * chances[token].item())
    return found


@pytest.mark.parametrize("guessing", ["none", "draft"])
def test_draws_in_batches_and_with_guesses_follow_the_exact_distribution(model, smaller, tokenizer, guessing):
    """`benchmarks/sampling_chi_square.py` does the same with 100,000 draws."""
    prompt, n = [5, 9, 5, 9, 5], 1500
    exact = sequences(model, prompt, 3, 3)
    drafter = DraftModel(smaller, 24) if guessing == "draft" else None
    engine = BatchEngine(model, tokenizer, max_sequences=24, drafter=drafter, always_guess=True)
    params = SamplingParams(max_new_tokens=3, temperature=2.0, top_k=3, stop_at_eot=False)
    requests = [engine.submit(prompt, params.but(seed=seed)) for seed in range(n)]
    engine.run()
    counts = collections.Counter(tuple(request.tokens) for request in requests)
    assert set(counts) <= set(exact)
    cells = [(counts[key], n * chance) for key, chance in exact.items() if n * chance >= 5]
    assert len(cells) > 15
    statistic = sum((count - expected) ** 2 / expected for count, expected in cells)
    half = torch.tensor([(len(cells) - 1) / 2, statistic / 2], dtype=torch.float64)
    assert torch.special.gammaincc(half[0], half[1]) > 1e-3
