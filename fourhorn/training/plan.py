"""`plan`: what a run takes before it starts, by arithmetic that can be checked by hand.

§2.3, Table 2. Memory per device from `model.counts`; traffic per step from the rings in which gradients (DDP) or
weights and gradients (FSDP2) go round; hours from operations per token and a speed that is given or measured here.

Units: GB are 10⁹ bytes; speeds are operations and bytes per second.
"""

from fourhorn.model.config import GPT2Config
from fourhorn.model.counts import flops_per_token, n_params, training_memory
from fourhorn.progress import duration
from fourhorn.runtime import available_memory_bytes, runtime
from fourhorn.training.config import TrainConfig
from fourhorn.training.memory import peak_flops
from fourhorn.training.trainer import kernel_threads

USUAL_MFU = 0.4
INSIDE_NODE_GB = 300.0  # per second between cards of one machine


def traffic_bytes(shape: GPT2Config, world_size: int, *, sharded: bool, grad_accum_steps: int = 1) -> float:
    """Bytes each device sends in one step. A ring all-reduce of n sends 2n(W−1)/W; gather, scatter n(W−1)/W."""
    part = (world_size - 1) / world_size
    gradients = 4 * n_params(shape)
    if not sharded:
        return 2 * gradients * part
    gathers = 2 * grad_accum_steps * 4 * n_params(shape)  # forward and backward of every micro-batch
    return (gathers + gradients) * part


def plan(
    config: TrainConfig, *, n_nodes: int = 1, devices_per_node: int = 1, device_memory_gb: float = 0.0,
    device_tflops: float = 0.0, link_gb_per_second: float = 25.0,
) -> str:  # fmt: skip
    """A Markdown page with the arithmetic of a run.

    Args:
        config: The options of the run.
        n_nodes: Machines.
        devices_per_node: Cards, or processes, of each machine.
        device_memory_gb: Memory of one device in GB; 0 takes this machine's.
        device_tflops: Speed of one device as trained at, in TFLOP/s; 0 takes two fifths of this machine's peak.
        link_gb_per_second: Bandwidth between machines, in GB/s.
    """
    place = runtime(config.device, config.dtype)
    shape, world = config.model(), n_nodes * devices_per_node
    memory = device_memory_gb * 1e9 or float(available_memory_bytes(place.device))
    speed = device_tflops * 1e12 or peak_flops(place) * USUAL_MFU
    threads = 0 if device_memory_gb or device_tflops else kernel_threads(config, shape, place)
    on_card = place.is_cuda or bool(device_memory_gb)
    whole = training_memory(shape, 1, dtype=place.dtype, n_threads=threads, on_card=on_card)
    sharded = config.parallel == "fsdp" or (config.parallel == "auto" and whole.total > memory and world > 1)
    n_shards = world if sharded else 1
    share = max(config.batch_size // world, 1)
    fits = [
        size for size in range(1, share + 1)
        if share % size == 0
        and training_memory(
            shape, size, dtype=place.dtype, n_shards=n_shards, n_threads=threads, on_card=on_card
        ).total <= 0.85 * memory
    ]  # fmt: skip
    micro = config.micro_batch_size or max(fits, default=1)
    used = training_memory(
        shape, micro, dtype=place.dtype, n_shards=n_shards, n_threads=threads, on_card=on_card
    )
    accumulate = max(share // micro, 1)
    sent = traffic_bytes(shape, world, sharded=sharded, grad_accum_steps=accumulate) if world > 1 else 0.0
    compute = flops_per_token(shape) * config.tokens_per_step / (speed * world)
    link = link_gb_per_second if n_nodes > 1 else INSIDE_NODE_GB
    moving = sent / (link * 1e9)
    total = (compute + moving) * config.max_steps
    fit = (
        "fits"
        if used.total <= memory
        else "DOES NOT FIT: choose a smaller --size or --n-ctx, or more devices"
    )
    way = "FSDP2" if sharded else "DDP" if world > 1 else "one"
    n_tokens = config.max_steps * config.tokens_per_step
    rows = [
        ("parameters", f"{n_params(shape):,}"),
        ("tokens per step", f"{config.tokens_per_step:,} = {config.batch_size} × {config.n_ctx}"),
        ("devices", f"{world} = {n_nodes} × {devices_per_node}, {way}"),
        ("micro-batch", f"{micro} sequences, {accumulate} times a step on each device"),
        ("memory per device", f"{used.total / 1e9:.1f} GB of {memory / 1e9:.1f} GB: {fit}"),
        ("  weights, gradients, optimizer",
         f"{used.weights / 1e9:.1f} + {used.gradients / 1e9:.1f} + {used.optimizer / 1e9:.1f} GB"),
        ("  activations, loss", f"{used.activations / 1e9:.1f} + {used.loss / 1e9:.1f} GB"),
        ("operations per token", f"{flops_per_token(shape):,}"),
        ("speed assumed", f"{speed / 1e12:.1f} TFLOP/s a device"),
        ("compute per step", duration(compute)),
        ("sent per step", f"{sent / 1e9:.2f} GB a device, {duration(moving)} at {link:g} GB/s"),
        ("whole run", f"{config.max_steps:,} steps, {n_tokens:,} tokens, {duration(total)}"),
    ]  # fmt: skip
    return "\n".join(
        ["| what | how much |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)]
    )
