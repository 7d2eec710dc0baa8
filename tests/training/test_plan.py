"""The arithmetic of a plan, by hand."""

import pytest

from fourhorn.model.config import GPT2Config
from fourhorn.training.config import TrainConfig
from fourhorn.training.plan import plan, traffic_bytes


def test_a_ring_sends_every_gradient_nearly_twice() -> None:
    shape = GPT2Config.named("1558M")
    assert traffic_bytes(shape, 64, sharded=False) == pytest.approx(2 * 4 * 1557611200 * 63 / 64)
    assert traffic_bytes(shape, 2, sharded=True) == pytest.approx(3 * 4 * 1557611200 / 2)


def test_a_plan_names_memory_traffic_and_hours() -> None:
    page = plan(
        TrainConfig(size="1558M", device="cpu", dtype="bfloat16"), n_nodes=8, devices_per_node=8, device_memory_gb=80.0,
        device_tflops=400.0,
    )  # fmt: skip
    assert "| parameters | 1,557,611,200 |" in page
    assert "| devices | 64 = 8 × 8, DDP |" in page
    assert "fits" in page
    assert "h " in page


def test_what_does_not_fit_is_said() -> None:
    assert "DOES NOT FIT" in plan(TrainConfig(size="1558M"), device_memory_gb=8.0, device_tflops=1.0)
