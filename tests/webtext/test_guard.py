"""Pages that hang, crash or kill their worker are condemned; all others, and whole runs that are killed, are not."""

import os
import signal
import subprocess
import sys

import pytest

from fourhorn.webtext.guard import PageGuard

LOOP = """
import os, re, signal, sys, ctypes
from pathlib import Path
from fourhorn.webtext.guard import PageGuard
path, run, fault = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
with PageGuard(path, page_seconds=0.3, run=run) as guard:
    for number in range(5):
        if number in guard.condemned:
            continue
        guard.enter(number)
        if number == 2 and fault == "hang":
            re.match(r"(a+)+$", "a" * 60 + "b")
        if number == 2 and fault == "crash":
            ctypes.string_at(0)
        if number == 2 and fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        guard.leave()
print(guard.condemned)
"""


def work(path, run="a", fault="hang"):
    return subprocess.run(
        [sys.executable, "-c", LOOP, str(path), run, fault],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
        check=False,
    )


@pytest.mark.parametrize(("fault", "reason"), [("hang", "timed_out"), ("crash", "crashed")])
def test_a_page_that_ends_its_worker_is_left_out_the_next_time(tmp_path, fault, reason):
    assert work(tmp_path / "shard", "a", fault).returncode == (
        -signal.SIGPROF if fault == "hang" else -signal.SIGSEGV
    )
    assert work(tmp_path / "shard", "a", fault).stdout == f"{{2: '{reason}'}}\n"
    assert work(tmp_path / "shard", "another run", fault).stdout == f"{{2: '{reason}'}}\n"


def test_a_page_that_gets_its_worker_killed_is_condemned_the_second_time(tmp_path):
    assert work(tmp_path / "shard", "a", "kill").returncode == -signal.SIGKILL
    assert work(tmp_path / "shard", "a", "kill").returncode == -signal.SIGKILL
    assert work(tmp_path / "shard", "a", "kill").stdout == "{2: 'killed_worker'}\n"


def test_killing_whole_runs_condemns_no_page(tmp_path):
    for run in "abcde":
        assert work(tmp_path / "shard", run, "kill").returncode == -signal.SIGKILL
    assert work(tmp_path / "shard", "f", "none").stdout == "{}\n"


def test_workers_that_die_before_any_page_fail_the_shard(tmp_path):
    def start() -> None:
        (tmp_path / "shard.flight").write_bytes(b"a -1".ljust(64))  # what a worker killed at its start leaves
        with PageGuard(tmp_path / "shard", page_seconds=1, run="a"):
            pass

    start()
    with pytest.raises(RuntimeError, match="workers die before the first page"):
        start()
