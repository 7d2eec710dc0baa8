"""Where the mathematics runs: device, number format, threads, memory settings, seeds, and torchrun's processes.

Nothing happens at import. `settle_memory()` must come before torch's first allocation and is called first by every
command that computes: freshly mapped pages cost nearly half of an eager training step on CPU, so freed memory is kept
for reuse and, on Linux, backed by huge pages.

Raises `UserError` for a device or number format this machine does not have.
"""

import contextlib
import ctypes
import os
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fourhorn.errors import UserError, unknown

if TYPE_CHECKING:
    import torch

# glibc's <malloc.h>: thresholds below which freed memory stays with the process, in bytes.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_KEPT_BYTES, _PAD_BYTES = 2**31 - 1, 64 << 20


def settle_memory() -> bool:
    """Keep freed memory for reuse and ask for huge pages; True where the platform took it. Safe to call twice."""
    if not sys.platform.startswith("linux"):
        return False
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read by torch at its first large allocation
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library than glibc
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_TOP_PAD, _PAD_BYTES))
    return all(mallopt(name, value) for name, value in settings)


def give_back_freed() -> None:
    """Return freed memory to the system, once: for what was laid out anew and left its first place empty."""
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc keeps it
        ctypes.CDLL(None).malloc_trim(0)


@dataclass(frozen=True)
class Runtime:
    """This process's place: its device ("cpu", "cuda:1", "mps"), number format and rank among all processes."""

    device: str
    dtype: str
    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and speaks."""
        return self.rank == 0

    @property
    def is_cuda(self) -> bool:
        """Whether the device is an NVIDIA or AMD card."""
        return self.device.startswith("cuda")

    @property
    def torch_device(self) -> "torch.device":
        """The device as torch's object."""
        import torch

        return torch.device(self.device)

    @property
    def torch_dtype(self) -> "torch.dtype":
        """The number format of matrix products as torch's object."""
        import torch

        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[self.dtype]


def runtime(device: str = "auto", dtype: str = "auto") -> Runtime:
    """Choose device and number format; rank and world size come from torchrun's environment."""
    settle_memory()
    rank, local_rank, world_size = (
        _environment(name, default) for name, default in (("RANK", 0), ("LOCAL_RANK", 0), ("WORLD_SIZE", 1))
    )
    device = choose_device(device, local_rank)
    return Runtime(device, choose_dtype(dtype, device), rank, local_rank, world_size)


def choose_device(device: str = "auto", local_rank: int = 0) -> str:
    """The device asked for, or the best there is."""
    import torch

    if device == "auto":
        device = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    kind = device.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise unknown("device", device, ("auto", "cpu", "cuda", "mps"))
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' was asked for, but torch sees no such card. Use --device cpu or auto.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("device 'mps' was asked for, but this machine has none. Use --device cpu or auto.")
    return f"cuda:{local_rank}" if device == "cuda" else device


def choose_dtype(dtype: str, device: str) -> str:
    """bfloat16 where its matrix products are the fast ones, else float32."""
    if dtype in ("float32", "bfloat16"):
        return dtype
    if dtype != "auto":
        raise unknown("dtype", dtype, ("auto", "float32", "bfloat16"))
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if device == "cpu" and has_amx() else "float32"


def changing_shapes(device: "torch.device") -> AbstractContextManager[None]:
    """For passes whose lengths change: on a card attention by kernels that take any shape.

    cuDNN's, the fastest and torch's first choice there, plans for every new shape, which takes longer than ten passes.
    """
    if device.type != "cuda":
        return contextlib.nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kernels = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel(kernels)


def has_amx() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware (Intel AMX)."""
    import torch

    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe and probe())


def set_threads(n: int = 0) -> int:
    """Use `n` threads, or OMP_NUM_THREADS, or as many as this process may run on; their number."""
    import torch

    n = n or _environment("OMP_NUM_THREADS", 0) or n_cores()
    if torch.get_num_threads() != n:
        torch.set_num_threads(n)
    return n


def n_cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory_bytes(device: str = "cpu") -> int:
    """Memory that can still be taken on the device: free card memory, or free main memory within the group's limit."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    free = _meminfo("MemAvailable") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, used = _number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")
    return min(free, limit - (used or 0)) if limit else free


def peak_memory_bytes(device: str = "cpu") -> int:
    """The most memory this process has held so far: on the card, or resident."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(torch.device(device)))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _environment(name: str, default: int) -> int:
    value = os.environ.get(name, "") or str(default)
    if not value.isdecimal():
        raise UserError(f"The environment's {name}={value!r} must be a whole number; torchrun sets it.")
    return int(value)


def _meminfo(key: str) -> int:
    try:
        with open("/proc/meminfo") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(key + ":")), 0)
    except OSError:
        return 0


def _number(path: str) -> int:
    try:
        with open(path) as file:
            text = file.read().strip()
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0
