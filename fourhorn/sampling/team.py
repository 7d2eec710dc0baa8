"""A team of threads that run passes together: the caller posts a job and works on it; whoever is awake joins in.

A worker stays in compiled code between two passes and watches for the next, so it joins within a microsecond and never
asks for Python's lock; after about a millisecond without work it goes to sleep until a job wakes it. No pass waits for
a worker to come: pieces that it does not take are done by the others (see `fourhorn.sampling.pieces`).

Jobs go round a ring of memory. A worker says that it is inside before it reads a job, and then looks again whether the
job is still the newest; the caller writes over a job only when nobody is inside. In: `kernels.forward`'s constant
arguments. Out: what the kernels write.
"""

# mypy: disable-error-code="no-untyped-call"

import threading
import time
import weakref
from typing import Any

import numpy as np

from fourhorn.sampling.compiling import kernel
from fourhorn.sampling.kernels import (
    EVERY,
    JOB_ROWS,
    PHASES_AROUND,
    PHASES_PER_LAYER,
    Buffers,
    Shape,
    forward,
)
from fourhorn.sampling.pieces import LINE, PHASE_BYTES, SPINS, give_way, look, pause, take

N_JOBS = 4  # in the ring
PATIENCE = 20_000  # pauses before a worker sleeps, about a millisecond
CLOSED = -(1 << 40)
Array = np.ndarray[Any, Any]


@kernel
def post(control: Any, n: Any) -> None:
    """The next job is ready (n = 1), or there will be no more (n = `CLOSED`)."""
    take(control.ctypes.data, n)


@kernel
def work(
    shape: Any, table: Any, buffers: Any, jobs: Any, counters: Any, control: Any, thread: Any, seen: Any
) -> Any:
    """Run the newest job as thread 0; as another, join jobs until none has come for a while.

    Returns the number of the last job seen, negative when there will be no more.
    """
    newest, idle = control.ctypes.data, 0
    while idle < PATIENCE:
        number = look(newest)
        if number < 0:
            return number
        if number == seen:
            pause()
            idle += 1
            if idle % SPINS == 0:
                give_way()
            continue
        seen, idle, place = number, 0, number % N_JOBS
        inside = newest + LINE * (1 + place)
        take(inside, 1)
        if look(newest) == seen:
            forward(shape, table, buffers, jobs[place], counters[place], thread)
        take(inside, -1)
        if thread == 0:
            break
    return seen


class Team:
    """The caller is thread 0 of `shape.n_threads`."""

    def __init__(
        self, shape: Shape, table: Array, buffers: Buffers, max_rows: int, memory: list[Array]
    ) -> None:
        n_phases = PHASES_PER_LAYER * shape.n_layer + PHASES_AROUND
        self._jobs = np.zeros((N_JOBS, JOB_ROWS, max_rows), np.int64)
        self._jobs[:, EVERY] = np.arange(max_rows)
        self._memory = np.zeros((N_JOBS * n_phases * PHASE_BYTES + (N_JOBS + 2) * LINE), np.uint8)
        aligned = self._memory[-self._memory.ctypes.data % LINE :]
        self._control = aligned[: (1 + N_JOBS) * LINE].view(np.int64)
        counters = aligned[self._control.nbytes :][: N_JOBS * n_phases * PHASE_BYTES].view(np.int64)
        self._counters = counters.reshape(N_JOBS, -1)
        self._n_posted = 0
        self._constant = (np.array(shape, np.int64), table, np.array(buffers, np.int64))
        self._awake = [threading.Event() for _ in range(1, shape.n_threads)]
        for thread in range(1, shape.n_threads):
            arguments = (
                self._constant, self._jobs, self._counters, self._control, thread, self._awake[thread - 1], memory
            )  # fmt: skip
            threading.Thread(target=serve, args=arguments, daemon=True, name="fourhorn-kernel").start()
        weakref.finalize(self, dismiss, self._control, self._awake)

    def next_job(self) -> Array:
        """Memory for the next job, (JOB_ROWS, max_rows), with what an older job left in it."""
        place = (self._n_posted + 1) % N_JOBS
        inside = (1 + place) * LINE // self._control.itemsize
        while self._control[inside] != 0:  # a worker was put aside some jobs ago, and is still there
            time.sleep(0)
        self._counters[place] = 0
        job: Array = self._jobs[place]
        return job

    def run(self) -> None:
        """Run the job that was written last."""
        post(self._control, 1)
        for event in self._awake:
            if not event.is_set():
                event.set()
        work(*self._constant, self._jobs, self._counters, self._control, 0, self._n_posted)
        self._n_posted += 1


def dismiss(control: Array, awake: list[threading.Event]) -> None:
    """Send the workers home."""
    post(control, CLOSED)
    for event in awake:
        event.set()


def serve(
    constant: tuple[Array, Array, Array],
    jobs: Array,
    counters: Array,
    control: Array,
    thread: int,
    awake: threading.Event,
    _memory: list[Array],
) -> None:
    """A worker's life. It holds what its addresses point at, since it may outlive the team by a moment."""
    seen = 0
    while True:
        seen = work(*constant, jobs, counters, control, thread, seen)
        if seen < 0:
            return
        awake.clear()
        if control[0] == seen:  # else a job came in just now
            awake.wait()
