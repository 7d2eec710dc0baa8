"""Kernels as Python sees them: functions that are machine code when they are called.

`@kernel` marks what Python calls, `@inner` what kernels call, `@instruction` what writes LLVM itself. Calling a kernel
loads the machine code of all (`library.py`) at the first call; arguments and result are 64-bit integers. While it runs
other threads run, too.
"""

import ctypes
from collections.abc import Callable
from typing import Any


class Function:
    """A function of the language of kernels."""

    def __init__(
        self,
        python: Callable[..., Any],
        *,
        exported: bool = False,
        instruction: bool = False,
        inline: bool | None = None,
    ) -> None:
        self.python, self.name = python, python.__name__
        self.exported, self.instruction, self.inline = exported, instruction, inline
        self.n_arguments = python.__code__.co_argcount - instruction
        self._native: Callable[..., int] | None = None

    def __call__(self, *arguments: int) -> int:
        if self._native is None:
            from fourhorn.tokenizer.kernels.library import addresses

            signature = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * self.n_arguments)
            self._native = signature(addresses()[self.name])
        return self._native(*arguments)


KERNELS: list[Function] = []


def kernel(python: Callable[..., Any]) -> Function:
    """A function that Python calls."""
    KERNELS.append(Function(python, exported=True))
    return KERNELS[-1]


def inner(python: Callable[..., Any]) -> Any:
    """A function that other kernels call."""
    return Function(python)


def inlined(python: Callable[..., Any]) -> Any:
    """Like `inner`, always copied into its caller."""
    return Function(python, inline=True)


def apart(python: Callable[..., Any]) -> Any:
    """Like `inner`, never copied into its caller: what is rarely called."""
    return Function(python, inline=False)


def instruction(python: Callable[..., Any]) -> Any:
    """A function that gets LLVM's builder and values and writes instructions; returns a value, a list, or None."""
    return Function(python, instruction=True)
