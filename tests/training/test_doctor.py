"""Findings in words."""

import importlib.metadata
import math
from pathlib import Path

import pytest

from fourhorn.files import write_json
from fourhorn.training.config import TrainConfig
from fourhorn.training.doctor import doctor, extras, loss_verdict


def test_the_machine_is_described() -> None:
    names = [name for name, _ in doctor()]
    assert names[:4] == ["fourhorn", "python, torch", "device", "number format"]


def test_an_extra_is_ready_or_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "numpy>=1",
        "safetensors>=0.5; extra == 'one'",
        'no-such-thing<2,>=1; extra == "two"',
        "orjson; extra == 'two'",
        "fourhorn[one]; extra == 'all'",
        "no-such-thing; extra == 'dev'",
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    assert extras() == [
        ("extra one", "ready"),
        ("extra two", "lacks no-such-thing: pip install 'fourhorn[two]'"),
    ]


def test_a_falling_loss_is_normal_and_others_are_not() -> None:
    untrained = math.log(50257)
    falling = [untrained - 0.05 * i for i in range(120)]
    assert loss_verdict(falling, untrained).endswith("normal")
    assert "hardly below" in loss_verdict([untrained] * 120, untrained)
    assert "diverged" in loss_verdict([*falling, *[8.0] * 30], untrained)


def test_a_run_is_held_against_published_ones(tmp_path: Path) -> None:
    write_json(tmp_path / "options.json", TrainConfig(n_vocab=50257).to_dict())
    lines = (f'{{"step": {n}, "loss": 3.4, "tokens_per_second": 9}}\n' for n in range(9900, 10001))
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    facts = dict(doctor(tmp_path))
    assert facts["loss beside others'"].startswith("within the 2.83 to 3.95 of the reference curve")
