"""Device, number format and processes are chosen as documented."""

import pytest

from fourhorn.errors import UserError
from fourhorn.runtime import (
    available_memory_bytes,
    choose_device,
    choose_dtype,
    n_cores,
    peak_memory_bytes,
    runtime,
    settle_memory,
)


def test_rank_and_world_size_come_from_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "3"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "8")):
        monkeypatch.setenv(name, value)
    place = runtime("cpu", "float32")
    assert (place.rank, place.local_rank, place.world_size, place.is_main) == (3, 1, 8, False)


def test_a_wrong_world_size_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(UserError, match="WORLD_SIZE='many'"):
        runtime("cpu")


def test_an_unknown_device_or_dtype_is_refused() -> None:
    with pytest.raises(UserError, match="'gpu'"):
        choose_device("gpu")
    with pytest.raises(UserError, match="'fp8'"):
        choose_dtype("fp8", "cpu")
    assert choose_dtype("float32", "cpu") == "float32"


def test_memory_is_measured_in_bytes() -> None:
    assert available_memory_bytes() > 1 << 20
    assert peak_memory_bytes() > 10 << 20
    assert n_cores() >= 1


def test_memory_settings_may_be_made_twice() -> None:
    assert settle_memory() == settle_memory()
