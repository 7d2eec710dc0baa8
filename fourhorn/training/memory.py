"""How many sequences fit at a time, and how fast the hardware could go.

A CPU's limit is measured: where it has AMX, products from the first-level cache on every thread, else torch's own. On a
busy machine the measurement is too low; a run repeats it and keeps the best.

A step's 512 sequences are worked through in micro-batches (§2.3's batch at any memory size). The largest that fits is
seldom the fastest: on a CPU a few thousand tokens fill every core and stay in its caches.

Units: bytes, operations per second.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from fourhorn.errors import UserError
from fourhorn.model.config import GPT2Config
from fourhorn.model.counts import training_memory
from fourhorn.runtime import Runtime, available_memory_bytes

CPU_TOKENS, GPU_TOKENS = 4096, 65536

# Dense bfloat16 operations per second from the makers' data sheets.
PEAK_FLOPS = {
    "H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "B200": 2250e12, "GH200": 989e12, "A100": 312e12,
    "A10G": 70e12, "A6000": 155e12, "L40": 181e12, "L4": 121e12, "4090": 165e12, "3090": 71e12, "T4": 65e12,
}  # fmt: skip


def choose_micro_batch(shape: GPT2Config, batch_size: int, place: Runtime, *, n_threads: int = 0) -> int:
    """The largest divisor of this process's share of the batch that fits in memory and is still fast.

    `n_threads` is that of the kernels, 0 where PyTorch does the work.
    """
    if batch_size % place.world_size:
        below = max(batch_size // place.world_size, 1) * place.world_size
        raise UserError(
            f"batch_size {batch_size} is not a multiple of {place.world_size} processes. Use {below}."
        )
    share = batch_size // place.world_size
    free = int(available_memory_bytes(place.device) * 0.85)
    most = max((GPU_TOKENS if place.is_cuda else CPU_TOKENS) // shape.n_ctx, 1)
    sizes = [size for size in range(1, share + 1) if share % size == 0 and size <= most]

    def needed_bytes(size: int) -> int:
        return training_memory(
            shape, size, dtype=place.dtype, n_threads=n_threads, on_card=place.is_cuda
        ).total

    fitting = [size for size in sizes if needed_bytes(size) <= free]
    if not fitting:
        needed = needed_bytes(1)
        raise UserError(
            f"Training this model needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free. Choose a smaller "
            "--size or --n-ctx, or share it between processes with torchrun and --parallel fsdp."
        )
    return max(fitting)


def peak_flops(place: Runtime) -> float:
    """Operations per second the device reaches at best: from its data sheet, or measured once on a CPU."""
    if place.is_cuda:
        import torch

        name = torch.cuda.get_device_name(place.torch_device)
        known = next((flops for key, flops in PEAK_FLOPS.items() if key in name), None)
        if known:
            return known if place.dtype == "bfloat16" else known / 16
    if place.device == "cpu" and place.dtype == "bfloat16":
        try:
            from fourhorn.training.kernels.amx import available
        except ImportError:  # no numba
            return _measured(place)
        if available():
            return _measured_amx()
    return _measured(place)


def _measured(place: Runtime) -> float:
    import torch

    a = torch.ones(1024, 1024, dtype=place.torch_dtype, device=place.torch_device)
    best = 0.0
    for _ in range(6):
        started = time.perf_counter()
        (a @ a).sum().item()
        best = max(best, 2 * 1024**3 / (time.perf_counter() - started))
    return best


def _measured_amx() -> float:
    import torch

    from fourhorn.training.kernels.amx import BLOCK, keep_busy
    from fourhorn.training.kernels.buffers import aligned

    n_threads, n, best = torch.get_num_threads(), 10_000, 0.0
    places = [
        (aligned((12, BLOCK, BLOCK), "uint16"), aligned((BLOCK, BLOCK), "float32")) for _ in range(n_threads)
    ]
    for operands, _ in places:
        operands[:] = 0
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in range(6):
            started = time.perf_counter()
            list(pool.map(lambda pair: keep_busy(*pair, n), places))
            seconds = time.perf_counter() - started
            best = max(best, n_threads * n * 12 * 2 * BLOCK**3 / seconds)
    return best
