"""How functions become machine code: `inner` ones are a part of others, which `fourhorn.sampling.library` keeps.

Numba compiles them, and is imported for that alone: a process that finds the machine code on disk does not need it.
"""

from collections.abc import Callable
from typing import Any

from numba import njit

OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}


def inner(function: Callable[..., Any]) -> Any:
    """Compile a function that kernels call: without Python's lock, exceptions or Numba's counted memory."""
    return njit(**OPTIONS, nogil=True)(function)
