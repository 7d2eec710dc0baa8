"""The machine code of all kernels: found on disk, or compiled by Numba and put there.

Numba, its compiler and what it keeps in memory cost 50 MB and a second; the object file that it makes is loaded by
LLVM's linker alone. Code is compiled once for each processor and each state of this package's sources, and is kept
where the tokenizer keeps its own: beside the sources, in the user's cache folder, or in `FOURHORN_CACHE_DIR`. Without a
place that can be written to, every process compiles for itself, which is said once.

In and out: addresses and whole numbers; the functions run without Python's lock.
"""

import ctypes
import functools
import hashlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from fourhorn.files import atomic_write
from fourhorn.runtime import give_back_freed
from fourhorn.sampling.processor import cpu_name, feature_words
from fourhorn.tokenizer.kernels.library import CACHE_VARIABLE, folders, read

N_ARGUMENTS = {"post": 1, "work": 8, "draw_rows": 12}  # of the functions in `fourhorn.sampling.entries`
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
    linker = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
    linker.add_object_file(llvm.ObjectFileRef.from_data(stored() or compiled_and_kept()))
    linker.finalize_object()
    give_back_freed()  # what loading took
    return linker


def target_machine() -> Any:
    """The processor that Numba compiles for, for LLVM."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=cpu_name(), features=feature_words(), opt=3, codemodel="jitdefault", jit=True
    )


def file_name() -> str:
    """What the object file is called: it depends on the sources, on LLVM and on the processor."""
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    about = f"{llvmlite.__version__} {cpu_name()} {feature_words()}"
    return f"decoder-{hashlib.sha256(sources + about.encode()).hexdigest()[:16]}.o"


def stored() -> bytes | None:
    """The object file from disk, if it is there and whole."""
    name = file_name()
    return next((code for folder in folders() if (code := read(folder / name))), None)


def compiled_and_kept() -> bytes:
    """The object file, made anew and put on disk."""
    code = compiled()
    for folder in folders():
        try:
            with atomic_write(folder / file_name()) as file:
                file.write(hashlib.sha256(code).digest() + code)
            return code
        except OSError:
            continue
    print(
        "fourhorn: there is no folder to keep the fast kernels in, so every process compiles them anew (half a "
        f"minute). Set {CACHE_VARIABLE} to a folder that can be written to.",
        file=sys.stderr,
    )
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
