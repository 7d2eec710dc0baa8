"""A team of threads that run passes together: the caller posts a job and works on it; whoever is awake joins in.

A worker stays in compiled code between two passes and watches for the next, so it joins within a microsecond and never
asks for Python's lock; after about a millisecond without work it goes to sleep until a job wakes it. No pass waits for
a worker to come: pieces that it does not take are done by the others (see `fourhorn.sampling.pieces`).

Jobs go round a ring of memory. A worker says that it is inside before it reads a job, and then looks again whether the
job is still the newest; the caller writes over a job only when nobody is inside. In: `kernels.forward`'s constant
arguments. Out: what the kernels write.
"""

import threading
import time
import weakref
from typing import Any

import numpy as np

from fourhorn.sampling.layout import (
    CLOSED,
    EVERY,
    JOB_ROWS,
    LINE,
    MAX_ROWS,
    N_JOBS,
    PHASE_BYTES,
    PHASES_AROUND,
    PHASES_PER_LAYER,
    Buffers,
    Shape,
)
from fourhorn.sampling.library import function

Array = np.ndarray[Any, Any]


class Team:
    """The caller is thread 0 of `shape.n_threads`."""

    def __init__(self, shape: Shape, table: Array, buffers: Buffers, memory: list[Array]) -> None:
        n_phases = PHASES_PER_LAYER * shape.n_layer + PHASES_AROUND
        self._jobs = np.zeros((N_JOBS, JOB_ROWS, MAX_ROWS), np.int64)
        self._jobs[:, EVERY] = np.arange(MAX_ROWS)
        self._memory = np.zeros((N_JOBS * n_phases * PHASE_BYTES + (N_JOBS + 2) * LINE), np.uint8)
        aligned = self._memory[-self._memory.ctypes.data % LINE :]
        self._control = aligned[: (1 + N_JOBS) * LINE].view(np.int64)
        counters = aligned[self._control.nbytes :][: N_JOBS * n_phases * PHASE_BYTES].view(np.int64)
        self._counters = counters.reshape(N_JOBS, -1)
        self._n_posted = 0
        sizes, places = np.array(shape, np.int64), np.array(buffers, np.int64)
        arrays = [sizes, table, places, self._jobs, self._counters, self._control]
        self._addresses = [array.ctypes.data for array in arrays]
        self._kept = [*arrays, *memory]  # what these addresses point at
        self._awake = [threading.Event() for _ in range(1, shape.n_threads)]
        for thread in range(1, shape.n_threads):
            arguments = (self._addresses, self._control, thread, self._awake[thread - 1], self._kept)
            threading.Thread(target=serve, args=arguments, daemon=True, name="fourhorn-kernel").start()
        weakref.finalize(self, dismiss, self._control, self._awake)

    def next_job(self) -> Array:
        """Memory for the next job, (JOB_ROWS, MAX_ROWS), with what an older job left in it."""
        place = (self._n_posted + 1) % N_JOBS
        inside = (1 + place) * LINE // self._control.itemsize
        while self._control[inside] != 0:  # a worker was put aside some jobs ago, and is still there
            time.sleep(0)
        self._counters[place] = 0
        job: Array = self._jobs[place]
        return job

    def run(self) -> None:
        """Run the job that was written last."""
        function("post")(self._addresses[-1])
        for event in self._awake:
            if not event.is_set():
                event.set()
        function("work")(*self._addresses, 0, self._n_posted)
        self._n_posted += 1


def dismiss(control: Array, awake: list[threading.Event]) -> None:
    """Send the workers home."""
    control[0] = CLOSED
    for event in awake:
        event.set()


def serve(
    addresses: list[int], control: Array, thread: int, awake: threading.Event, _kept: list[Array]
) -> None:
    """A worker's life. It holds what its addresses point at, since it may outlive the team by a moment."""
    awake.wait()  # for the first job, which loads the machine code or compiles it
    seen = 0
    while control[0] >= 0:
        seen = function("work")(*addresses, thread, seen)
        if seen < 0:
            return
        awake.clear()
        if control[0] == seen:  # else a job came in just now
            awake.wait()
