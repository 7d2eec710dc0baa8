"""The kernels that Python calls: what a team's threads run, and the drawing of tokens.

In and out: addresses and whole numbers alone, so that the machine code needs nothing of Python's
(`fourhorn.sampling.library` keeps it). Times are counted in pauses, of about 50 ns.
"""

# mypy: disable-error-code="no-untyped-call"

from typing import Any

from llvmlite import ir
from numba import types

from fourhorn.sampling.drawing import draw_row
from fourhorn.sampling.kernels import forward
from fourhorn.sampling.layout import (
    JOB_ROWS,
    LINE,
    MAX_ROWS,
    N_JOBS,
    PHASE_BYTES,
    PHASES_AROUND,
    PHASES_PER_LAYER,
    Shape,
)
from fourhorn.sampling.pieces import SPINS, give_way, look, pause, take
from fourhorn.sampling.reading import number
from fourhorn.sampling.vectors import ADDRESS, at, load, operation

PATIENCE = 20_000  # pauses before a worker sleeps, about a millisecond
N_LAYER = Shape._fields.index("n_layer")


@operation(types.float64, ADDRESS)
def load_double(b: Any, address: Any) -> Any:
    """One float64."""
    return load(b, address, ir.DoubleType())


@operation(types.void, ADDRESS, types.int64, types.int64)
def store_number(b: Any, address: Any, i: Any, value: Any) -> None:
    """Write the number at position i."""
    b.store(value, at(b, b.add(address, b.mul(i, ir.IntType(64)(8))), ir.IntType(64)))


def post(control: Any) -> Any:
    """The next job is ready."""
    return take(control, 1)


def work(
    shape: Any, table: Any, buffers: Any, jobs: Any, counters: Any, control: Any, thread: Any, seen: Any
) -> Any:
    """Run the newest job as thread 0; as another, join jobs until none has come for a while.

    Returns the number of the last job seen, negative when there will be no more.
    """
    counter_bytes = (PHASES_PER_LAYER * number(shape, N_LAYER) + PHASES_AROUND) * PHASE_BYTES
    idle = 0
    while idle < PATIENCE:
        newest = look(control)
        if newest < 0:
            return newest
        if newest == seen:
            pause()
            idle += 1
            if idle % SPINS == 0:
                give_way()
            continue
        seen, idle, place = newest, 0, newest % N_JOBS
        inside = control + LINE * (1 + place)
        take(inside, 1)
        if look(control) == seen:
            job = jobs + 8 * JOB_ROWS * MAX_ROWS * place
            forward(shape, table, buffers, job, counters + place * counter_bytes, thread)
        take(inside, -1)
        if thread == 0:
            break
    return seen


def draw_rows(
    logits: Any, stride: Any, n_rows: Any, n_padded: Any, n_vocab: Any, settings: Any, tokens: Any, room: Any
) -> Any:
    """One token for each row of logits, which begin `stride` bytes apart; how many.

    A row's settings are its temperature, top-p and uniform number; where its token goes, its top-k stands before.
    """
    for row in range(n_rows):
        at = settings + 24 * row
        token = draw_row(
            logits + row * stride, n_padded, n_vocab, load_double(at), number(tokens, row), load_double(at + 8),
            load_double(at + 16), room, room + 4 * n_padded,
        )  # fmt: skip
        store_number(tokens, row, token)
    return n_rows
