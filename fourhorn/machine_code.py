"""Machine code that LLVM made once and its linker loads: kept on disk, so that later processes need no compiler.

An object file is named after the sources that it was made of, LLVM and the processor, and begins with its own SHA-256;
a damaged one counts as absent. It lies beside the sources in `__pycache__`, or in the user's cache folder, or in
`FOURHORN_CACHE_DIR`. Without a folder that can be written to, every process compiles for itself, which is said once.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from fourhorn.files import atomic_write

CACHE_VARIABLE = "FOURHORN_CACHE_DIR"
_DIGEST_BYTES = 32


def target_machine(cpu: str, features: str) -> Any:
    """A processor by LLVM's names, for LLVM."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=3, codemodel="jitdefault", jit=True
    )


def linked(code: bytes, machine: Any) -> Any:
    """LLVM's linker with an object file loaded; the machine code lives as long as it."""
    linker = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    linker.add_object_file(llvm.ObjectFileRef.from_data(code))
    linker.finalize_object()
    return linker


def file_name(kind: str, sources: Path, cpu: str, features: str) -> str:
    """What the object file of all modules in the folder `sources` is called."""
    text = b"".join(path.read_bytes() for path in sorted(sources.glob("*.py")))
    about = f"{llvmlite.__version__} {cpu} {features}"
    return f"{kind}-{hashlib.sha256(text + about.encode()).hexdigest()[:16]}.o"


def stored(name: str) -> bytes | None:
    """An object file from disk; None if it is not there, or damaged."""
    for folder in _folders():
        try:
            data = (folder / name).read_bytes()
        except OSError:
            continue
        if hashlib.sha256(data[_DIGEST_BYTES:]).digest() == data[:_DIGEST_BYTES]:
            return data[_DIGEST_BYTES:]
    return None


def keep(name: str, code: bytes, *, seconds: str) -> None:
    """Put an object file on disk; `seconds` says what it costs to make it, for where that cannot be."""
    for folder in _folders():
        try:
            with atomic_write(folder / name) as file:
                file.write(hashlib.sha256(code).digest() + code)
            return
        except OSError:
            continue
    print(
        f"fourhorn: there is no folder to keep machine code in, so every process compiles it anew ({seconds}). "
        f"Set {CACHE_VARIABLE} to a folder that can be written to.",
        file=sys.stderr,
    )


def _folders() -> list[Path]:
    """Where machine code may be kept, the best place first."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return [Path(chosen)]
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [Path(__file__).parent / "__pycache__", user / "fourhorn"]
