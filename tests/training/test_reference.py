"""The reference curves give what is published of such runs."""

import math

import pytest

from fourhorn.model.config import SIZES, GPT2Config
from fourhorn.training.reference import against_reference, expected_loss

BATCH = 512 * 1024


@pytest.mark.parametrize(
    ("size", "step", "batch", "loss"),
    [
        # nanoGPT's readme: its reproduction on OpenWebText; llm.c, discussion 481: 10 B tokens of FineWeb, held out.
        ("124M", 600_000, 480 * 1024, 2.85),
        ("124M", 19_560, BATCH, 3.28),
    ],
)
def test_published_runs_lie_within_the_band(size: str, step: int, batch: int, loss: float) -> None:
    assert against_reference(loss, GPT2Config.named(size), step, batch).startswith("within")
    middle = expected_loss(GPT2Config.named(size), step, batch).middle
    assert middle == pytest.approx(loss, abs=0.15)


def test_a_curve_by_hand() -> None:
    # 124M: N = 85,056,000 outside the embeddings; the settled loss is (6.5e13 / N)^0.077 = 2.840.
    expected = expected_loss(GPT2Config.named("124M"), 10**9, BATCH)
    assert expected.middle == pytest.approx(2.838, abs=0.002)
    assert expected.low == pytest.approx(expected.middle * 11 / 12, abs=0.005)


def test_curves_fall_and_larger_models_lie_lower() -> None:
    shapes = [GPT2Config.named(size) for size in SIZES]
    for shape in shapes:
        losses = [expected_loss(shape, step, BATCH).middle for step in (1000, 2000, 10_000, 100_000)]
        assert losses == sorted(losses, reverse=True)
        assert losses[0] < math.log(50257)
    last = [expected_loss(shape, 100_000, BATCH).middle for shape in shapes]
    assert last == sorted(last, reverse=True)


def test_what_lies_outside_is_said_and_where_no_curve_holds_nothing_is() -> None:
    shape = GPT2Config.named("124M")
    assert against_reference(6.0, shape, 20_000, BATCH).startswith("above the")
    assert against_reference(1.5, shape, 20_000, BATCH).startswith("below the")
    assert against_reference(9.0, shape, 100, BATCH) == ""
    assert against_reference(9.0, GPT2Config.named("124M", n_vocab=4096), 20_000, BATCH) == ""
