"""What this processor can do in one instruction, as Numba will compile for it.

AVX-512 VNNI and BF16 multiply and add bytes and bfloat16 pairs; AMX multiplies whole tiles, once Linux has granted a
process its registers. NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, which tell Numba to compile for another processor, count.
"""

import ctypes
import platform
import sys

from llvmlite import binding
from numba.core import config


def cpu_features() -> set[str]:
    """What Numba compiles for: this processor's features, or those of NUMBA_CPU_FEATURES."""
    chosen, name = getattr(config, "CPU_FEATURES", None), getattr(config, "CPU_NAME", None)
    if chosen is not None:
        return {word[1:] for word in chosen.split(",") if word.startswith("+")}
    if name == "generic":
        return set()
    return {name for name, present in binding.get_host_cpu_features().items() if present}


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
