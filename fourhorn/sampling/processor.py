"""What this processor can do in one instruction, as Numba will compile for it.

AVX-512 VNNI and BF16 multiply and add bytes and bfloat16 pairs; AMX multiplies whole tiles, once Linux has granted a
process its registers. NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, which tell Numba to compile for another processor, count.
"""

import ctypes
import os
import platform
import sys

from llvmlite import binding


def cpu_name() -> str:
    """The processor that Numba compiles for."""
    return os.environ.get("NUMBA_CPU_NAME") or str(binding.get_host_cpu_name())


def feature_words() -> str:
    """Its features, as LLVM takes them: +this,-that."""
    chosen = os.environ.get("NUMBA_CPU_FEATURES")
    if chosen is None:
        chosen = "" if cpu_name() == "generic" else binding.get_host_cpu_features().flatten()
    return str(chosen)


def cpu_features() -> set[str]:
    """The features that are there."""
    return {word[1:] for word in feature_words().split(",") if word.startswith("+")}


def _grant_tiles() -> bool:
    """Ask Linux for the AMX tile registers of this process (they are saved at each task switch only then)."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0


_features = cpu_features()
HAS_VNNI = "avx512vnni" in _features
HAS_BF16 = "avx512bf16" in _features
HAS_TILES = {"amx-tile", "amx-int8", "amx-bf16"} <= _features and HAS_VNNI and HAS_BF16 and _grant_tiles()
IS_X86 = platform.machine() in ("x86_64", "AMD64")
