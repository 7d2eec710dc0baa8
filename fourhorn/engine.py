"""Map a function over shards in worker processes that may hang, crash or be killed without taking the run along.

Section 2.1 at any size: a stage is a function of one shard, `function(**kwargs) -> dict`, that writes its output to a
temporary name and renames it. This module only decides where it runs: in this machine's processes or, with
`engine="ray"`, as tasks of a Ray cluster that shares the folders. Both call the same function, so both write the
same bytes.

Each worker has a socket of its own: a dead one can hold no lock and cut no message that another waits for, which is
how pools with one shared queue come to hang (Python's) or to break (concurrent.futures'). A worker that dies or
overruns its time is replaced and its shard tried again; after `attempts` failures the shard is quarantined: its
`Outcome` carries the reason and the run goes on.

Raises `UserError`, and `OSError` for a full or read-only disk, as soon as a shard raises one: what the user can mend
stops the run, which resumes later. Limits are in seconds and bytes. Workers die with the process that started them.
"""

import contextlib
import ctypes
import errno
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from fourhorn.errors import UserError, unknown
from fourhorn.progress import progress

Task = tuple[str, dict[str, Any]]
ShardFunction = Callable[..., dict[str, Any]]
Reply = tuple[
    str, Any
]  # ("value", dict), ("failed", reason), ("died", reason), ("stop", exception for the user)

ENGINES = ("local", "ray")
TASKS_PER_WORKER = 100  # then it is replaced, so that memory a C library loses cannot add up
POLL_SECONDS = 0.5
START_SECONDS = 120.0  # for a new process to start; a task's own time runs from then on
_STARTED = b"started"
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Outcome:
    """What became of one shard: the function's value, or the reason why it was quarantined."""

    name: str
    value: dict[str, Any] | None
    error: str | None
    attempts: int
    seconds: float


@dataclass(frozen=True)
class Limits:
    """What one attempt at a shard may use; None means no limit."""

    time_seconds: float | None = None
    memory_bytes: int | None = None


class Pool(Protocol):
    """Runs shards somewhere: `submit` while there is room, then `wait` for replies by task number."""

    n_workers: int

    def submit(self, number: int, kwargs: dict[str, Any]) -> None: ...
    def wait(self) -> list[tuple[int, Reply]]: ...
    def close(self) -> None: ...


def map_shards(
    function: ShardFunction,
    tasks: Iterable[Task],
    *,
    workers: int | None = None,
    engine: str = "local",
    time_limit_seconds: float | None = None,
    memory_limit_bytes: int | None = None,
    attempts: int = 2,
    deaths: int | None = None,
    unit: str = "shards",
    name: str = "map",
) -> list[Outcome]:
    """Call `function(**kwargs)` once for each `(name, kwargs)` task; outcomes come back in the order of the tasks.

    Args:
        function: importable by name (not defined in `__main__`), returns a dict of JSON-able values; `n_in` and
            `n_kept`, where there, are added up beside the progress bar.
        tasks: shards to work on; `kwargs` are small and picklable.
        workers: processes at a time; default one per CPU this process may use (Ray: per CPU of the cluster).
        engine: `local` for processes of this machine, `ray` for a Ray cluster (RAY_ADDRESS, or one started here).
        time_limit_seconds: wall-clock seconds for one attempt, default none.
        memory_limit_bytes: data memory of one worker process, default none (Linux, local engine).
        attempts: how often a shard is tried before it is quarantined.
        deaths: how many of its attempts may end in a dead worker, default the same; more for a function that notes
            which item killed it and leaves that out the next time.
        unit: what the progress bar counts.
        name: what the progress bar is called.
    """
    tasks = list(tasks)
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; give at least 1.")
    if getattr(function, "__module__", None) == "__main__":
        raise ValueError(f"{function.__qualname__} lives in __main__, where no worker can import it")
    if not tasks:
        return []
    limits = Limits(time_limit_seconds, memory_limit_bytes)
    pool = _open_pool(engine, function, min(workers or available_cpus(), len(tasks)), workers, limits)
    try:
        with progress(name, total=len(tasks), unit=unit) as bar:
            allowed = {"failed": attempts, "died": deaths or attempts}
            return _run(pool, tasks, allowed, lambda n, shown: bar.update(n, **shown))
    finally:
        pool.close()


def available_cpus() -> int:
    """CPUs this process may run on, which in a container is fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _open_pool(engine: str, function: ShardFunction, n_local: int, asked: int | None, limits: Limits) -> Pool:
    if engine == "ray":
        from fourhorn.engine_ray import RayPool

        return RayPool(function, asked, limits)
    return LocalPool(function, n_local, limits)


def _run(pool: Pool, tasks: list[Task], allowed: dict[str, int], show: Callable[..., None]) -> list[Outcome]:
    """Keep every worker busy until each task has a value or has failed as often as is allowed."""
    waiting = deque(range(len(tasks)))
    tried = [dict.fromkeys(allowed, 0) for _ in tasks]
    started = [0.0] * len(tasks)
    outcomes: list[Outcome | None] = [None] * len(tasks)
    n_running = n_kept = n_dropped = n_quarantined = 0
    while waiting or n_running:
        while waiting and n_running < pool.n_workers:
            number = waiting.popleft()
            started[number] = time.monotonic()
            pool.submit(number, tasks[number][1])
            n_running += 1
        for number, (status, content) in pool.wait():
            n_running -= 1
            if status == "stop":
                raise content
            if status != "value":
                tried[number][status] += 1
                if tried[number][status] < allowed[status]:
                    waiting.append(number)
                    continue
            value, error = (content, None) if status == "value" else (None, str(content))
            n_attempts = sum(tried[number].values()) + (status == "value")
            n_quarantined += error is not None
            seconds = time.monotonic() - started[number]
            outcomes[number] = Outcome(tasks[number][0], value, error, n_attempts, seconds)
            n_kept += value.get("n_kept", 0) if value else 0
            n_dropped += value.get("n_in", 0) - value.get("n_kept", 0) if value else 0
            figures = {"kept": n_kept, "dropped": n_dropped, "quarantined": n_quarantined}
            show(1, {name: n for name, n in figures.items() if n})
    return [outcome for outcome in outcomes if outcome is not None]


def attempt(function: ShardFunction, kwargs: dict[str, Any]) -> Reply:
    """Run one shard inside a worker and turn whatever happens into a reply."""
    try:
        return "value", function(**kwargs)
    except UserError as error:
        return "stop", error
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            return "stop", error
        return "failed", f"{type(error).__name__}: {error}"
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"


# ------------------------------------------------------------------------------------- this machine's processes


class Worker:
    """One child process, the driver's end of its socket, and the task it is at."""

    def __init__(self, limits: Limits) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.set_inheritable(True)
            # Not multiprocessing.Process: a spawned one runs the caller's __main__ again, which breaks scripts
            # without a guard, notebooks and `python -c`.
            arguments = (theirs.fileno(), os.getpid(), limits.memory_bytes or 0)
            code = "from fourhorn.engine import serve; serve({}, {}, {})".format(*arguments)
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C reaches the driver alone, which stops its workers
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
            )
        self.connection = Connection(ours.detach())
        self.number: int | None = None
        self.deadline = float("inf")
        self.limit: float | None = None
        self.n_tasks = 0
        self.started = False

    def give(self, number: int, function: ShardFunction, kwargs: dict[str, Any], limit: float | None) -> None:
        self.number, self.n_tasks = number, self.n_tasks + 1
        self.limit = limit
        self._set_deadline(0.0 if self.started else START_SECONDS)
        with contextlib.suppress(OSError):  # it died while idle: the closed socket tells the next wait
            self.connection.send_bytes(pickle.dumps((function, kwargs)))

    def note_start(self) -> None:
        """The process is up: its task's time begins."""
        self.started = True
        self._set_deadline(0.0)

    def _set_deadline(self, extra: float) -> None:
        self.deadline = time.monotonic() + self.limit + extra if self.limit else float("inf")

    def stop(self) -> int:
        """Kill and reap the process; its exit code."""
        self.process.kill()
        self.connection.close()
        return self.process.wait()


class LocalPool:
    """Worker processes of this machine; each is started when first needed and replaced when it dies."""

    def __init__(self, function: ShardFunction, n_workers: int, limits: Limits) -> None:
        self.function, self.n_workers, self.limits = function, n_workers, limits
        self.idle: list[Worker] = []
        self.busy: list[Worker] = []

    def submit(self, number: int, kwargs: dict[str, Any]) -> None:
        worker = self.idle.pop() if self.idle else Worker(self.limits)
        self.busy.append(worker)
        worker.give(number, self.function, kwargs, self.limits.time_seconds)

    def wait(self) -> list[tuple[int, Reply]]:
        nearest = min(worker.deadline for worker in self.busy) - time.monotonic()
        ready = set(wait([w.connection for w in self.busy], timeout=max(0.0, min(nearest, POLL_SECONDS))))
        replies = []
        for worker in list(self.busy):
            number, late = worker.number, time.monotonic() >= worker.deadline
            if number is None or not (worker.connection in ready or late):
                continue
            reply = self._reply(worker, worker.connection in ready)
            if reply is not None:
                self.busy.remove(worker)
                replies.append((number, reply))
        return replies

    def _reply(self, worker: Worker, answered: bool) -> Reply | None:
        if not answered:
            worker.stop()
            return "died", f"over its time limit of {self.limits.time_seconds:g} s"
        try:
            message = worker.connection.recv_bytes()
            if message == _STARTED:
                worker.note_start()
                return None
            reply: Reply = pickle.loads(message)
        except (EOFError, OSError):
            return "died", f"worker died ({_cause(worker.stop())})"
        worker.number = None
        if worker.n_tasks < TASKS_PER_WORKER:
            self.idle.append(worker)
        else:
            worker.stop()
        return reply

    def close(self) -> None:
        for worker in self.idle + self.busy:
            worker.stop()
        self.idle, self.busy = [], []


def _cause(exit_code: int) -> str:
    return signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"


def serve(handle: int, driver: int, memory_limit_bytes: int) -> None:
    """A worker's life: take a task, answer it, until the driver closes the socket or dies."""
    die_with(driver)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if memory_limit_bytes:
        limit_memory(memory_limit_bytes)
    with Connection(handle) as connection:
        connection.send_bytes(_STARTED)
        while True:
            try:
                message = connection.recv_bytes()
            except EOFError:
                return
            try:
                function, kwargs = pickle.loads(message)
            except Exception as error:
                reply: Reply = "failed", f"{type(error).__name__}: {error}"
            else:
                reply = attempt(function, kwargs)
            connection.send_bytes(pickle.dumps(reply))


def die_with(driver: int) -> None:
    """Have the kernel kill this process when the driver dies, however it dies (Linux; elsewhere at the next task)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != driver:  # it died before the call above
            os._exit(1)


def limit_memory(n_bytes: int) -> None:
    """Let allocations beyond `n_bytes` of private data fail, so that one page cannot take the machine's memory."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, hard))
