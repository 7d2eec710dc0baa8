"""How threads share a phase of work: each takes the next piece from a counter, and a second counter says what is done.

No thread waits for another thread, only for pieces: one that the system has put aside leaves its share to the others,
and finds finished phases when it comes back. In: the address of zeroed counters, the phase, its number of pieces.
"""

# mypy: disable-error-code="no-untyped-call"

import sys
from typing import Any

from llvmlite import ir
from numba import types

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.layout import LINE, PHASE_BYTES
from fourhorn.sampling.processor import IS_X86
from fourhorn.sampling.vectors import ADDRESS, at, call, operation

SPINS = 100  # about 5 µs
_i32, _i64 = ir.IntType(32), ir.IntType(64)


@operation(ADDRESS, ADDRESS, ADDRESS)
def take(b: Any, address: Any, n: Any) -> Any:
    """Add n to a counter that several threads share; its value before."""
    return b.atomic_rmw("add", at(b, address, _i64), n, "seq_cst")


@operation(ADDRESS, ADDRESS)
def look(b: Any, address: Any) -> Any:
    """A shared counter's value; what was written before it was raised is visible."""
    return b.load_atomic(at(b, address, _i64), "seq_cst", 8)


@operation(types.void)
def pause(b: Any) -> None:
    """Wait a moment in a spinning loop."""
    if IS_X86:
        call(b, "llvm.x86.sse2.pause", ir.VoidType(), [])


@operation(types.void)
def give_way(b: Any) -> None:
    """Let the system run another thread on this core."""
    if sys.platform != "win32":
        call(b, "sched_yield", _i32, [])


@inner
def next_piece(counters: Any, phase: Any, n: Any) -> Any:
    """A piece of this phase that no thread has taken, or -1."""
    piece = take(counters + PHASE_BYTES * phase, 1)
    return piece if piece < n else -1


@inner
def phase_done(counters: Any, phase: Any, n: Any, n_own: Any) -> None:
    """Count this thread's own pieces as done, and wait for those that other threads have taken."""
    done, spins = counters + PHASE_BYTES * phase + LINE, 0
    if take(done, n_own) + n_own == n:
        return
    while look(done) < n:
        pause()
        spins += 1
        if spins == SPINS:
            give_way()
            spins = 0
