import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourhorn.sampling.draws import choose_fast
from fourhorn.sampling.logits import choose, distribution
from fourhorn.sampling.settings import SamplingParams

N_VOCAB, PADDED = 5003, 5024


def some_logits(seed, rows=1, scale=3.0):
    logits = np.full((rows, PADDED), 99.0, np.float32)  # the padding must never be drawn
    logits[:, :N_VOCAB] = np.random.default_rng(seed).normal(size=(rows, N_VOCAB)) * scale
    return logits


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    st.sampled_from([0, 1, 2, 40, 1000, 9999]),
    st.sampled_from([0.05, 0.5, 0.9, 0.999, 1.0]),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=6),
)
def test_the_same_uniform_number_draws_the_same_token_as_the_plain_twin(
    seed, temperature, top_k, top_p, uniforms
):
    logits = some_logits(seed, len(uniforms))
    params = [SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p)] * len(uniforms)
    plain = torch.from_numpy(logits[:, :N_VOCAB].copy())
    expected = choose(plain, params, uniforms)
    tokens = choose_fast(logits, N_VOCAB, params, uniforms)
    for row, (token, other) in enumerate(zip(tokens, expected, strict=True)):
        if token == other:
            continue
        # only where the uniform number falls within rounding of the border between two tokens
        probabilities = distribution(plain[row], temperature, top_k, top_p).double()
        border = probabilities.cumsum(-1)[min(token, other)].item()
        assert uniforms[row] == pytest.approx(border, abs=3e-6)


def test_padding_is_never_drawn():
    params = [SamplingParams(temperature=50.0)] * 64
    uniforms = [*np.linspace(0, 1, 63, endpoint=False), 1 - 2**-53]
    tokens = choose_fast(some_logits(1, 64), N_VOCAB, params, uniforms)
    assert max(tokens) < N_VOCAB
    assert tokens[-1] > N_VOCAB - 20


def test_an_impossible_token_is_never_drawn():
    logits = some_logits(2)
    logits[0, 10:N_VOCAB] = -np.inf
    tokens = {
        choose_fast(logits, N_VOCAB, [SamplingParams()], [u])[0]
        for u in np.linspace(0, 1, 500, endpoint=False)
    }
    assert max(tokens) <= 9
    assert len(tokens) > 4


@pytest.mark.parametrize("params", [SamplingParams(), SamplingParams(temperature=0.7, top_k=40)])
def test_a_hundred_thousand_draws_have_the_exact_frequencies(params):
    n = 100_000
    logits = np.zeros((1, 64), np.float32)
    logits[0, :50] = np.random.default_rng(3).normal(size=50)
    exact = (
        distribution(torch.from_numpy(logits[0, :50].copy()), params.temperature, params.top_k)
        .double()
        .numpy()
    )
    uniforms = np.random.default_rng(4).random(n)
    tokens = choose_fast(np.repeat(logits, n, 0), 50, [params] * n, uniforms)
    counts, kept = np.bincount(tokens, minlength=50), exact > 0
    chi_square = ((counts[kept] - n * exact[kept]) ** 2 / (n * exact[kept])).sum()
    freedom = kept.sum() - 1
    assert counts[~kept].sum() == 0
    assert abs(chi_square - freedom) < 4 * np.sqrt(2 * freedom)  # 4 standard deviations of the chi-square law
