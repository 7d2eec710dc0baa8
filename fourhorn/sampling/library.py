"""The machine code of all kernels: found on disk, or compiled by Numba and put there.

Numba, its compiler and what it keeps in memory cost 50 MB and a second; the object file that it makes is loaded by
LLVM's linker alone (`fourhorn.machine_code`).

In and out: addresses and whole numbers; the functions run without Python's lock.
"""

import ctypes
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from fourhorn import machine_code
from fourhorn.runtime import give_back_freed
from fourhorn.sampling.processor import cpu_name, feature_words

N_ARGUMENTS = {"post": 1, "work": 8, "draw_rows": 8}  # of the functions in `fourhorn.sampling.entries`
_loading = threading.Lock()


@functools.cache
def function(name: str) -> Callable[..., int]:
    """A kernel that Python calls."""
    signature = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * N_ARGUMENTS[name])
    with _loading:  # two threads must not load it twice: what the second forgot would be gone
        return signature(engine().get_function_address(name))


def check() -> None:
    """Raise `ImportError` where there is neither machine code nor Numba to make it."""
    if stored() is None:
        import numba  # noqa: F401


@functools.cache
def engine() -> Any:
    """LLVM's linker with the machine code of all kernels, which lives as long as it."""
    linker = machine_code.linked(stored() or compiled_and_kept(), target_machine())
    give_back_freed()  # what loading took
    return linker


def target_machine() -> Any:
    """The processor that Numba compiles for, for LLVM."""
    return machine_code.target_machine(cpu_name(), feature_words())


def file_name() -> str:
    """What the object file is called."""
    return machine_code.file_name("decoder", Path(__file__).parent, cpu_name(), feature_words())


def stored() -> bytes | None:
    """The object file from disk, if it is there and whole."""
    return machine_code.stored(file_name())


def compiled_and_kept() -> bytes:
    """The object file, made anew and put on disk."""
    code = compiled()
    machine_code.keep(file_name(), code, seconds="half a minute")
    return code


def compiled() -> bytes:
    """The object file of all kernels, by Numba."""
    from numba import cfunc

    from fourhorn.sampling import compiling, entries

    machine, whole = target_machine(), llvm.parse_assembly("")
    for name, n_arguments in N_ARGUMENTS.items():
        signature = f"int64({', '.join(['int64'] * n_arguments)})"
        made = cfunc(signature, **compiling.OPTIONS)(getattr(entries, name))
        module = llvm.parse_assembly(made.inspect_llvm())
        for part in module.functions:
            if part.name == made.native_name:
                part.name = name
            elif not part.is_declaration:
                part.linkage = llvm.Linkage.internal
        whole.link_in(module)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options())
    passes = llvm.create_new_module_pass_manager()
    passes.add_ipsccp_pass()  # no kernel fails, so what Numba adds for failures is never reached
    passes.add_simplify_cfg_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(whole, builder)
    return bytes(machine.emit_object(whole))
