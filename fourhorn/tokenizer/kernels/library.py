"""The machine code of all kernels: found on disk, or compiled and put there.

Section 2.2's fast path. Code is compiled once for each processor and each state of these sources. It is kept beside
them in `__pycache__`, or else in the user's cache folder, or in `FOURHORN_CACHE_DIR`; a file that is damaged is written
anew. Without a place that can be written to, every process compiles for itself, which is said once.
"""

import functools
import hashlib
import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from fourhorn.files import atomic_write
from fourhorn.tokenizer.kernels.functions import KERNELS, Function

MODULES = ("count", "decode", "encode", "learn", "pieces", "split")
CACHE_VARIABLE = "FOURHORN_CACHE_DIR"
DIGEST_BYTES = 32


@functools.cache
def addresses() -> dict[str, int]:
    """Where each kernel's machine code stands in memory."""
    machine = target_machine()
    return loaded(machine_code(machine), machine, all_kernels())


def loaded(code: bytes, machine: Any, kernels: Iterable[Function]) -> dict[str, int]:
    """Load an object file; says where its kernels stand."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _ENGINES.append(engine)
    return {kernel.name: engine.get_function_address(kernel.name) for kernel in kernels}


_ENGINES: list[Any] = []  # machine code lives as long as its engine


def all_kernels() -> list[Function]:
    """The kernels of all modules."""
    for name in MODULES:
        importlib.import_module(f"fourhorn.tokenizer.kernels.{name}")
    return KERNELS


def target_machine() -> Any:
    """This machine, for LLVM."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    features = llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, codemodel="jitdefault", jit=True
    )


def machine_code(machine: Any) -> bytes:
    """The object file of all kernels, from disk if it is there."""
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    about = f"{llvmlite.__version__} {llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    name = f"kernels-{hashlib.sha256(sources + about.encode()).hexdigest()[:16]}.o"
    for folder in folders():
        code = read(folder / name)
        if code:
            return code
    code = compiled(machine, all_kernels())
    for folder in folders():
        try:
            with atomic_write(folder / name) as file:
                file.write(hashlib.sha256(code).digest() + code)
            return code
        except OSError:
            continue
    print(
        "fourhorn: there is no folder to keep the tokenizer's machine code in, so every process compiles it anew "
        f"(2 seconds). Set {CACHE_VARIABLE} to a folder that can be written to.",
        file=sys.stderr,
    )
    return code


def folders() -> list[Path]:
    """Where machine code may be kept, the best place first."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return [Path(chosen)]
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [Path(__file__).parent / "__pycache__", user / "fourhorn"]


def read(path: Path) -> bytes | None:
    """An object file from disk; None if it is not there, or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, code = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def compiled(machine: Any, kernels: Iterable[Function]) -> bytes:
    """The object file of some kernels."""
    from fourhorn.tokenizer.kernels.compiler import module

    code = llvm.parse_assembly(str(module(kernels)))
    code.triple = machine.triple
    code.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(code, builder)
    return bytes(machine.emit_object(code))
