"""The engine against workers that die, hang, eat memory or lose their driver."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fourhorn.engine import map_shards
from fourhorn.errors import UserError


def double(x: int) -> dict:
    return {"x": 2 * x}


def die(x: int, flag: str = "") -> dict:
    """Kill this worker: always, or only the first time when a flag file is named."""
    if not flag or not Path(flag).exists():
        if flag:
            Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"x": 2 * x}


def hang_in_c(x: int) -> dict:
    """Hold the GIL in C code for hours, where no Python signal handler can run."""
    import re

    if x == 3:
        re.match(r"(a+)+$", "a" * 60 + "b")
    return {"x": 2 * x}


def die_at_three(x: int) -> dict:
    return die(x) if x == 3 else double(x)


def take_memory(x: int) -> dict:
    return {"x": len(bytearray(x))}


def raise_user_error(x: int) -> dict:
    raise UserError(f"shard {x} is damaged")


def raise_disk_full(x: int) -> dict:
    raise OSError(errno.ENOSPC, "No space left on device", "/data")


def raise_value_error(x: int) -> dict:
    raise ValueError(f"bad {x}")


def sleep(seconds: float) -> dict:
    time.sleep(seconds)
    return {}


def tasks(n: int) -> list:
    return [(f"part-{x}", {"x": x}) for x in range(n)]


def test_outcomes_come_in_the_order_of_the_tasks():
    outcomes = map_shards(double, tasks(7), workers=2)
    assert [(o.name, o.value, o.error, o.attempts) for o in outcomes] == [
        (f"part-{x}", {"x": 2 * x}, None, 1) for x in range(7)
    ]


def test_no_tasks_start_no_process():
    assert map_shards(double, [], workers=2) == []


def test_a_shard_that_kills_its_worker_is_quarantined_alone():
    outcomes = map_shards(die_at_three, tasks(10), workers=2)
    assert [o.value for o in outcomes] == [None if x == 3 else {"x": 2 * x} for x in range(10)]
    assert outcomes[3].error == "worker died (SIGKILL)"
    assert outcomes[3].attempts == 2


def test_a_worker_killed_once_is_retried(tmp_path):
    (outcome,) = map_shards(die, [("a", {"x": 4, "flag": str(tmp_path / "died")})], workers=1)
    assert (outcome.value, outcome.attempts) == ({"x": 8}, 2)


def test_a_hang_in_c_code_is_cut_off():
    outcomes = map_shards(hang_in_c, tasks(5), workers=2, time_limit_seconds=5, attempts=1)
    assert [o.error for o in outcomes] == [None, None, None, "over its time limit of 5 s", None]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts anonymous memory on Linux only")
def test_memory_beyond_the_limit_fails_the_shard_only():
    outcomes = map_shards(
        take_memory,
        [("small", {"x": 1000}), ("huge", {"x": 1 << 30})],
        workers=1,
        memory_limit_bytes=1 << 29,
    )
    assert [o.value for o in outcomes] == [{"x": 1000}, None]
    assert outcomes[1].error.startswith("MemoryError")


def test_an_exception_is_tried_again_then_quarantined():
    (outcome,) = map_shards(raise_value_error, tasks(1), workers=1, attempts=3)
    assert (outcome.error, outcome.attempts) == ("ValueError: bad 0", 3)


def test_what_the_user_can_mend_stops_the_run():
    with pytest.raises(UserError, match="shard 0 is damaged"):
        map_shards(raise_user_error, tasks(3), workers=1)
    with pytest.raises(OSError, match="No space left"):
        map_shards(raise_disk_full, tasks(3), workers=1)


def test_unknown_engine_and_worker_count_are_user_errors():
    with pytest.raises(UserError, match="Did you mean 'local'"):
        map_shards(double, tasks(1), engine="locla")
    with pytest.raises(UserError, match="at least 1"):
        map_shards(double, tasks(1), workers=0)


def test_no_worker_outlives_a_driver_killed_by_sigkill():
    code = (
        "import test_engine, fourhorn.engine as e;"
        "e.map_shards(test_engine.sleep, [(str(i), {'seconds': 600}) for i in range(2)], workers=2)"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    driver = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})
    children: list[int] = []
    deadline = time.monotonic() + 20
    while len(children) < 2 and time.monotonic() < deadline:
        listed = Path(f"/proc/{driver.pid}/task/{driver.pid}/children")
        children = [int(pid) for pid in listed.read_text().split()] if listed.exists() else []
        time.sleep(0.05)
    assert len(children) == 2
    time.sleep(0.5)  # the workers arm their death signal when they have started
    driver.kill()
    driver.wait()
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in children)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
