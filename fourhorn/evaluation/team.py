"""Compiled functions that torch's own threads run together, so that no second set of threads competes for the cores.

torch's CPU operators run on OpenMP's threads, which go on watching for work for some milliseconds after each operator.
`together` hands a function of ours to the same threads by OpenMP's entry `GOMP_parallel`, which compilers call for a
parallel region. Each thread takes piece after piece from a shared counter.

A function gets the address of its job: int64 numbers, of which the first two lines of the cache are counters and the
arguments follow. Addresses and strides are in bytes.
"""

# mypy: disable-error-code="no-untyped-call"

import ctypes
import hashlib
import sys
import warnings
from collections.abc import Callable
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import cfunc
from numba.core.errors import NumbaWarning

from fourhorn.sampling.compiling import inner
from fourhorn.sampling.layout import LINE
from fourhorn.sampling.pieces import look, take
from fourhorn.sampling.processor import cpu_features

HAS_WIDE_VECTORS = "avx512f" in cpu_features()  # 32 registers of 16 lanes
_HEAD = 2 * LINE // 8


@cache
def _sources() -> str:
    """A digest of what compiled functions are made of; Numba itself looks only at the file that each stands in."""
    folders = (Path(__file__).parent, Path(__file__).parent.parent / "sampling")
    files = (path for folder in folders for path in sorted(folder.glob("*.py")))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


class Shared:
    """A function of a job, compiled when it is first run and kept on disk where that is possible."""

    def __init__(self, function: Callable[[Any], None]) -> None:
        self.function = function

    @cached_property
    def address(self) -> int:
        """Where the machine code is."""
        return int(self.compiled.address)

    @cached_property
    def compiled(self) -> Any:
        """The function as C code calls it."""
        self.function.__qualname__ += f"_{_sources()}"  # the name under which it is kept
        options: dict[str, Any] = {"nopython": True, "error_model": "numpy"}
        compile_as: Any = partial(cfunc, "void(int64)", **options)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NumbaWarning)
                return compile_as(cache=True)(self.function)
        except RuntimeError:  # "no locator available": no folder can be written to
            return compile_as()(self.function)


@inner
def next_piece(job: Any) -> Any:
    """A piece that no thread has taken."""
    return take(job, 1)


@inner
def own_number(job: Any) -> Any:
    """This thread's number, from 0; to be asked for once."""
    return take(job + LINE, 1)


@inner
def argument(job: Any, i: Any) -> Any:
    """The job's argument number i."""
    return look(job + 2 * LINE + 8 * i)


@cache
def _parallel() -> Any:
    """OpenMP's entry in this process, or None."""
    if not sys.platform.startswith("linux") or "OpenMP" not in torch.__config__.parallel_info():
        return None
    try:
        entry = ctypes.CDLL(None).GOMP_parallel
    except (OSError, AttributeError):
        return None
    entry.argtypes, entry.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return entry


def available() -> bool:
    """Whether torch's threads can be reached here and have registers for these functions."""
    return HAS_WIDE_VECTORS and _parallel() is not None


def together(function: Shared, *arguments: int) -> None:
    """Run a function on each of torch's threads; returns when all are done."""
    job = np.array([0] * (_HEAD + LINE // 8) + list(arguments), np.int64)
    start = -job.ctypes.data % LINE // 8
    job[start + _HEAD : start + _HEAD + len(arguments)] = arguments
    job[start : start + _HEAD] = 0
    _parallel()(function.address, job[start:].ctypes.data, torch.get_num_threads(), 0)
