"""A straight line up, a cosine down."""

import pytest

from fourhorn.training.schedule import learning_rate_at


def test_the_rate_rises_to_its_peak_and_falls_to_its_minimum() -> None:
    rates = [
        learning_rate_at(step, peak=1.0, minimum=0.1, warmup_steps=4, max_steps=12)
        for step in (0, 1, 3, 4, 8, 12)
    ]
    assert rates == pytest.approx([0.25, 0.5, 1.0, 1.0, 0.55, 0.1])
