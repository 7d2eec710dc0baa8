"""Many processes as one: the same samples, loss and decisions at any world size.

Parallelism wraps the model from outside. DDP keeps a whole model in each process; FSDP2 keeps a share of the rows of
every tensor. Each process works through its own run of the step's micro-batches; gradients are exchanged once per step.
The processes are started by torchrun; a single one passes through every function here untouched.

Raises `UserError` from `preflight`, before the first step, naming what differs between the processes.
"""

import contextlib
import datetime
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fourhorn.errors import UserError
from fourhorn.files import version
from fourhorn.runtime import Runtime

TIMEOUT_MINUTES = 10
CLOCK_SECONDS = 60.0


@contextlib.contextmanager
def process_group(runtime: Runtime) -> Iterator[None]:
    """Join torchrun's processes for the length of the block: NCCL between cards, gloo between CPUs."""
    if runtime.world_size == 1 or dist.is_initialized():
        yield
        return
    if runtime.is_cuda:
        torch.cuda.set_device(runtime.torch_device)
    backend = "cpu:gloo,cuda:nccl" if runtime.is_cuda else "gloo"
    dist.init_process_group(backend, timeout=datetime.timedelta(minutes=TIMEOUT_MINUTES))
    try:
        yield
    finally:
        dist.destroy_process_group()


def wrap(learner: nn.Module, runtime: Runtime, parallel: str) -> nn.Module:
    """The learner as one process's part of all: itself, DDP around it, or sharded in place by FSDP2."""
    if runtime.world_size == 1:
        return learner
    if parallel == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cuda" if runtime.is_cuda else "cpu", (runtime.world_size,))
        for block in learner.model.h:  # type: ignore[union-attr]
            fully_shard(block, mesh=mesh)  # type: ignore[arg-type]
        fully_shard(learner, mesh=mesh)
        return learner
    devices = [runtime.torch_device] if runtime.is_cuda else None
    return nn.parallel.DistributedDataParallel(learner, device_ids=devices, gradient_as_bucket_view=True)


@contextlib.contextmanager
def exchange(wrapped: nn.Module, *, now: bool) -> Iterator[None]:
    """Gradients are exchanged in this backward pass only when `now`: once per step, with its last micro-batch."""
    if isinstance(wrapped, nn.parallel.DistributedDataParallel):
        with contextlib.nullcontext() if now else wrapped.no_sync():
            yield
        return
    if hasattr(wrapped, "set_requires_gradient_sync"):
        cast(Any, wrapped).set_requires_gradient_sync(now)
    yield


def total(values: Tensor) -> Tensor:
    """The sum over all processes."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def agree(fact: bool) -> bool:
    """Whether the fact holds on every process; each of them gets the same answer."""
    if not dist.is_initialized():
        return fact
    flag = torch.tensor(float(not fact))
    dist.all_reduce(flag)
    return flag.item() == 0


def barrier() -> None:
    """Wait for every process."""
    if dist.is_initialized():
        dist.barrier()


def from_main(value: Any) -> Any:
    """The main process's value, on every process."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


@dataclass(frozen=True)
class Local:
    """This process's rows of a tensor: the data itself, its first row and the whole tensor's shape."""

    data: Tensor
    start: int
    shape: tuple[int, ...]


def local(tensor: Tensor) -> Local:
    """What of a tensor lives here: all of it, or under FSDP2 a run of its rows."""
    shard: Any = getattr(tensor, "to_local", None)
    if shard is None:
        return Local(tensor.detach(), 0, tuple(tensor.shape))
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    _, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)  # type: ignore[attr-defined]
    return Local(shard().detach(), offset[0] if offset else 0, tuple(tensor.shape))


def reshard(wrapped: nn.Module) -> None:
    """Under FSDP2, let go of the whole tensors that a pass without a backward one has left gathered."""
    for module in wrapped.modules():
        if hasattr(module, "set_requires_gradient_sync") and hasattr(module, "reshard"):
            cast(Any, module).reshard()


def is_sharded(model: nn.Module) -> bool:
    """Whether FSDP2 keeps the model's tensors in parts."""
    return any(hasattr(p, "to_local") for p in model.parameters())


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """Every weight in full on the CPU; all processes must call it together."""
    full = {}
    for name, p in model.named_parameters():
        gather: Any = getattr(p, "full_tensor", None)
        full[name] = (gather() if gather else p).detach().cpu()
    return full


# ----------------------------------------------------------------------------------------------------- preflight


def preflight(runtime: Runtime, run: Path, facts: dict[str, Any], needed_bytes: int) -> None:
    """Before the first step: the same versions, options and data everywhere, one folder, right clocks, room.

    `facts` are compared between all processes; `needed_bytes` is the disk space the run's files will take.
    """
    free = shutil.disk_usage(_existing(run)).free
    if free < needed_bytes:
        raise UserError(
            f"{run} has {free / 1e9:.1f} GB free and the run will write {needed_bytes / 1e9:.1f} GB. "
            "Free some space, lower --keep, or choose another folder."
        )
    if not dist.is_initialized():
        return
    marker = run / ".preflight"
    if runtime.is_main:
        run.mkdir(parents=True, exist_ok=True)
        marker.write_text(f"{os.getpid()}@{socket.gethostname()}")
    token = from_main(f"{os.getpid()}@{socket.gethostname()}")
    seen = marker.exists() and marker.read_text() == token
    mine = {
        **facts, "fourhorn": version(), "torch": str(torch.__version__),
        "host": socket.gethostname(), "rank": runtime.rank, "clock": time.time(), "folder": seen,
    }  # fmt: skip
    everyone: list[dict[str, Any]] = [{} for _ in range(runtime.world_size)]
    dist.all_gather_object(everyone, mine)
    problem = first_problem(everyone, run)
    barrier()
    if runtime.is_main:
        marker.unlink(missing_ok=True)
    if problem:
        raise UserError(problem)


def first_problem(everyone: list[dict[str, Any]], run: Path) -> str:
    """What differs between the processes, in one sentence; empty when nothing does."""
    first = everyone[0]
    for other in everyone[1:]:
        where = f"rank {other['rank']} on {other['host']}"
        if not other["folder"]:
            return (
                f"{where} does not see {run} as rank 0 does; put the run folder on storage all nodes share."
            )
        for name in first:
            if name in ("host", "rank", "folder"):
                continue
            if name == "clock":
                if abs(other["clock"] - first["clock"]) > CLOCK_SECONDS:
                    apart = other["clock"] - first["clock"]
                    return f"The clock of {where} is {apart:+.0f} s from rank 0's; set the clocks before training."
            elif other.get(name) != first[name]:
                return f"{name} is {other.get(name)!r} on {where} and {first[name]!r} on rank 0; make them the same."
    return ""


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
