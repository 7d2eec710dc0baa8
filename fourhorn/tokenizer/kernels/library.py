"""The machine code of all kernels: found on disk, or compiled and put there.

Section 2.2's fast path. Code is compiled once for each processor and each state of these sources, and kept on disk
(`fourhorn.machine_code`).
"""

import functools
import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from fourhorn import machine_code
from fourhorn.tokenizer.kernels.functions import KERNELS, Function

MODULES = ("count", "decode", "encode", "learn", "pieces", "split")


@functools.cache
def addresses() -> dict[str, int]:
    """Where each kernel's machine code stands in memory."""
    machine = target_machine()
    return loaded(stored_or_compiled(machine), machine, all_kernels())


def loaded(code: bytes, machine: Any, kernels: Iterable[Function]) -> dict[str, int]:
    """Load an object file; says where its kernels stand."""
    engine = machine_code.linked(code, machine)
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
    return machine_code.target_machine(*_processor())


def _processor() -> tuple[str, str]:
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def stored_or_compiled(machine: Any) -> bytes:
    """The object file of all kernels, from disk if it is there."""
    name = machine_code.file_name("kernels", Path(__file__).parent, *_processor())
    code = machine_code.stored(name)
    if code is None:
        code = compiled(machine, all_kernels())
        machine_code.keep(name, code, seconds="2 seconds")
    return code


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
