import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourhorn.sampling.logits import choose, distribution, draw, logprobs, slack, top_logprobs
from fourhorn.sampling.settings import SamplingParams

FOUR = torch.log(torch.tensor([0.4, 0.1, 0.3, 0.2]))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.4, 0.1, 0.3, 0.2]),
        ({"temperature": 0.0}, [1, 0, 0, 0]),
        ({"temperature": 0.5}, [16 / 30, 1 / 30, 9 / 30, 4 / 30]),
        ({"top_k": 1}, [1, 0, 0, 0]),
        ({"top_k": 2}, [4 / 7, 0, 3 / 7, 0]),
        ({"top_k": 9}, [0.4, 0.1, 0.3, 0.2]),
        ({"top_p": 0.39}, [1, 0, 0, 0]),
        ({"top_p": 0.65}, [4 / 7, 0, 3 / 7, 0]),
        ({"top_p": 0.95}, [0.4, 0.1, 0.3, 0.2]),
        ({"top_k": 3, "top_p": 0.5}, [4 / 7, 0, 3 / 7, 0]),  # of 4/9, 3/9, 2/9 the first two reach one half
    ],
)
def test_the_distribution_is_as_worked_by_hand(options, expected):
    assert distribution(FOUR, **options).tolist() == pytest.approx(expected, abs=1e-6)


def test_a_draw_is_where_the_cumulative_probability_passes_the_uniform_number():
    probabilities = torch.tensor([0.25, 0.0, 0.5, 0.25])
    uniform = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 0.999999], dtype=torch.float64)
    assert draw(probabilities.expand(6, 4), uniform).tolist() == [0, 0, 2, 2, 3, 3]


@given(st.integers(0, 2**32), st.integers(0, 12), st.floats(0.05, 1.0), st.floats(0.1, 3.0))
def test_cutting_keeps_the_likeliest_and_their_proportions(seed, top_k, top_p, temperature):
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=10)).float() * 3
    whole = torch.softmax(logits.double() / temperature, -1)
    cut = distribution(logits, temperature, top_k, top_p).double()
    kept = cut > 0
    assert cut.sum().item() == pytest.approx(1.0, abs=1e-6)
    assert whole[kept].min() >= whole[~kept].max() if (~kept).any() else True
    assert torch.allclose(cut[kept], whole[kept] / whole[kept].sum(), atol=1e-6)
    assert kept.sum() <= top_k or top_k == 0


def test_rows_with_different_settings_are_drawn_each_by_its_own():
    params = [SamplingParams(temperature=0), SamplingParams(), SamplingParams(top_k=2), SamplingParams()]
    assert choose(FOUR.expand(4, 4), params, [0.99, 0.99, 0.99, 0.45]) == [0, 3, 2, 1]


def test_slack_is_zero_for_the_drawn_token_and_the_distance_for_others():
    far = [slack(FOUR, SamplingParams(), 0.45, token) for token in range(4)]
    assert far == pytest.approx([0.05, 0.0, 0.05, 0.35], abs=1e-6)
    far = [slack(FOUR, SamplingParams(temperature=0.0), 0.45, token) for token in range(4)]
    assert far == pytest.approx([0.0, np.log(4), np.log(4 / 3), np.log(2)], abs=1e-6)


def test_log_probabilities_are_those_of_the_uncut_model():
    assert logprobs(FOUR.expand(2, 4), [1, 2]) == pytest.approx([np.log(0.1), np.log(0.3)], abs=1e-6)
    [first] = top_logprobs(FOUR[None], 2)
    assert [t for t, _ in first] == [0, 2]
    assert [p for _, p in first] == pytest.approx([np.log(0.4), np.log(0.3)], abs=1e-6)
