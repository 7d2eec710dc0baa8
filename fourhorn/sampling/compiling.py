"""How functions become machine code: `inner` ones are a part of others, a `kernel` is what Python calls.

Kernels are kept on disk under a name that holds the digest of this package's sources, because Numba itself would not
notice an edit in a file that the function only calls. Where no folder can be written to, every process compiles anew.
"""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.errors import NumbaWarning

_SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()[:12]
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
cached = True  # False once Numba finds no folder that it may write to


def inner(function: Callable[..., Any]) -> Any:
    """Compile a function that kernels call, without Python's lock."""
    return njit(**_OPTIONS)(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls: without Python's lock, kept on disk where that is possible."""
    global cached
    function.__qualname__ = f"{function.__qualname__}_{_SOURCES}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumbaWarning)
            return njit(**_OPTIONS, cache=True)(function)
    except RuntimeError:  # "no locator available": neither this folder nor the user's cache can be written
        cached = False
        return njit(**_OPTIONS)(function)
