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
from fourhorn.sampling.speculative import DraftModel, Payoff, PromptLookup


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
    # alike between two tokens
    shifted = Request([1, 1 << 24, 5, 1 << 16, 0, 1], SamplingParams(), tokenizer, None)
    assert PromptLookup(1, 1).propose(shifted, 2) == [1 << 24, 5]
    request.context[-1] = 77
    assert PromptLookup().propose(request, 3) == []


def test_peeked_random_numbers_are_those_that_come(tokenizer):
    one, other = (Request([1], SamplingParams(seed=5), tokenizer, None) for _ in range(2))
    ahead = [one.peek(i) for i in range(5)]
    assert [one.uniform() for _ in range(8)] == [other.uniform() for _ in range(8)]
    assert ahead == [np.random.Generator(np.random.Philox(5)).random(5)[i] for i in range(5)]


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


def seconds_of(clock, payoff, n_tokens, lasts, chance, *, always=False, jitter=0.0):
    """Decode with passes of one second; with four guesses one `lasts`, and each guess is right by `chance`."""
    random, began, n_done = np.random.Generator(np.random.Philox(0)), clock[0], 0
    while n_done < n_tokens:
        n = 4 if always else payoff.n_worth(1, 4)
        n_right = next((i for i in range(n) if random.random() >= chance), n)
        started = clock[0]
        clock[0] += (1 + (lasts - 1) * n / 4) * np.exp(jitter * random.standard_normal())
        payoff.note(n > 0, 1, 1 + n_right, started)
        n_done += 1 + n_right
    return clock[0] - began


@pytest.mark.parametrize("jitter", [0.0, 0.3])
@pytest.mark.parametrize(("lasts", "chance"), [(1.1, 0.0), (1.5, 0.2), (3.0, 0.5), (12.0, 0.9)])
def test_guesses_that_do_not_pay_cost_a_few_per_cent_at_most(clock, lasts, chance, jitter):
    mean = np.exp(jitter**2 / 2)  # of a pass's time
    for n_tokens, most in ((200, 1.04), (4000, 1.03)):
        seconds = seconds_of(clock, Payoff(), n_tokens, lasts, chance, jitter=jitter)
        assert seconds < most * n_tokens * mean


@pytest.mark.parametrize("jitter", [0.0, 0.3])
@pytest.mark.parametrize(("lasts", "chance"), [(1.3, 0.5), (2.0, 0.8), (1.5, 0.9)])
def test_guesses_that_pay_are_in_nearly_every_pass(clock, lasts, chance, jitter):
    always = seconds_of(clock, Payoff(), 4000, lasts, chance, always=True, jitter=jitter)
    assert seconds_of(clock, Payoff(), 4000, lasts, chance, jitter=jitter) < 1.07 * always


def test_guesses_that_no_longer_pay_end_soon_and_those_that_pay_again_come_back(clock):
    payoff = Payoff()
    good = seconds_of(clock, payoff, 2000, 1.5, 0.9)
    assert seconds_of(clock, payoff, 2000, 1.5, 0.0) < 1.04 * 2000
    assert seconds_of(clock, payoff, 2000, 1.5, 0.9) < 1.2 * good


def test_what_pays_for_one_sequence_is_not_taken_for_granted_for_sixteen(clock):
    payoff = Payoff()
    seconds_of(clock, payoff, 1000, 1.5, 0.9)
    assert payoff.n_worth(1, 4) == 4
    assert payoff.n_worth(16, 4) == 0


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
