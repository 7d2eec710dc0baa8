"""Findings in words."""

import math

from fourhorn.training.doctor import doctor, loss_verdict


def test_the_machine_is_described() -> None:
    names = [name for name, _ in doctor()]
    assert names[:4] == ["fourhorn", "python, torch", "device", "number format"]


def test_a_falling_loss_is_normal_and_others_are_not() -> None:
    untrained = math.log(50257)
    falling = [untrained - 0.05 * i for i in range(120)]
    assert loss_verdict(falling, untrained).endswith("normal")
    assert "hardly below" in loss_verdict([untrained] * 120, untrained)
    assert "diverged" in loss_verdict([*falling, *[8.0] * 30], untrained)
