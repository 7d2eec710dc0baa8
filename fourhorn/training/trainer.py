"""One update after another: the state of a run in memory and the step that moves it on.

§2.3. A step reads its `batch_size` samples by number, works through this process's micro-batches, exchanges gradients
once, and lets all processes decide together whether loss and gradient are finite before anything is changed. Dropout's
random numbers are a function of the seed and the micro-batch's first sample, so a resumed run, and a run with another
number of processes, draws the same ones.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fourhorn.errors import UserError
from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.runtime import Runtime
from fourhorn.training import optimizer as optim
from fourhorn.training import parallel
from fourhorn.training.batches import Batch, BatchSource, key_of
from fourhorn.training.config import TrainConfig
from fourhorn.training.flat import FlatAdamW
from fourhorn.training.learner import Learner
from fourhorn.training.native import NativePass, why_not
from fourhorn.training.parallel import Local
from fourhorn.training.schedule import learning_rate_at
from fourhorn.training.state import State


def use_native(config: TrainConfig, shape: GPT2Config, runtime: Runtime, *, sharded: bool) -> bool:
    """Whether the kernels do the work; asked for in vain is a `UserError`."""
    if config.native == "off":
        return False
    reason = "weights are sharded" if sharded else why_not(shape, runtime.device, runtime.dtype)
    if reason and config.native == "on":
        raise UserError(f"--native on: the kernels cannot be used because {reason}. Use --native auto.")
    return not reason


def kernel_threads(config: TrainConfig, shape: GPT2Config, runtime: Runtime) -> int:
    """Threads the kernels will use; 0 where PyTorch does the work."""
    sharded = runtime.world_size > 1 and config.parallel == "fsdp"
    return torch.get_num_threads() if use_native(config, shape, runtime, sharded=sharded) else 0


@dataclass(frozen=True)
class StepResult:
    """One step's figures: mean loss (nats per token), gradient norm before clipping, rate."""

    loss: float
    grad_norm: float
    learning_rate: float
    skipped: bool
    stop: bool


class Trainer:
    """Model, optimizers and position of one run."""

    def __init__(
        self,
        config: TrainConfig,
        shape: GPT2Config,
        runtime: Runtime,
        *,
        model: GPT2 | None = None,
        compiled: bool = False,
    ) -> None:
        self.config, self.runtime = config, runtime
        if model is None:
            torch.manual_seed(config.seed)
            model = GPT2(shape)
        self.model = model.float().to(runtime.torch_device)
        sharded = runtime.world_size > 1 and config.parallel == "fsdp"
        self.learner = Learner(self.model, runtime.torch_dtype, compiled=compiled)
        self.native: NativePass | None = None
        if use_native(config, shape, runtime, sharded=sharded):
            self.native = NativePass(self.model, torch.get_num_threads())
            self.wrapped: nn.Module = self.learner
        else:
            self.wrapped = parallel.wrap(self.learner, runtime, "fsdp" if sharded else "ddp")
        self.optimizers = optim.make_optimizers(self.model, config)
        self.flat: FlatAdamW | None = None
        if self.native is not None and config.recipe == "paper":
            self.flat = FlatAdamW(self.native, self.optimizers[0], config)
        else:
            optim.create_state(self.optimizers)
        self.step = 0
        self.n_skipped = 0
        self.bad_in_a_row = 0
        self.stop_asked = False

    # ---------------------------------------------------------------------------------------------------- a step

    def train_step(self, source: BatchSource) -> StepResult:
        """See the next `batch_size` samples and update the weights once."""
        config, world = self.config, self.runtime.world_size
        self.wrapped.train()
        n_micro = config.grad_accum_steps(world)
        first = self.step * config.batch_size + self.runtime.rank * n_micro * config.micro_batch_size
        batches = [
            source.read(first + i * config.micro_batch_size, config.micro_batch_size) for i in range(n_micro)
        ]
        scale = self._scale(batches)
        if self.native is not None:
            nats = sum(self.native.accumulate(batch, scale) for batch in batches)
            parallel.total(self.native.finish())
            return self._update(torch.tensor(nats, dtype=torch.float32))
        losses = []
        for i, batch in enumerate(batches):
            if config.dropout:
                torch.manual_seed(int(key_of(config.seed, first + i * config.micro_batch_size)) >> 1)
            with parallel.exchange(self.wrapped, now=i == n_micro - 1):
                # DDP and FSDP2 average gradients over processes; the loss is a sum over all of them.
                loss = self._loss(batch, scale * world)
                loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return self._update(torch.stack(losses).sum() / world)

    def _loss(self, batch: Batch, scale: float) -> Tensor:
        device = self.runtime.torch_device
        inputs, targets = (torch.from_numpy(a).to(device, non_blocking=True) for a in batch[:2])
        weights: Tensor | float = scale
        if batch.weights is not None:
            weights = torch.from_numpy(batch.weights).to(device) * scale
        return self.wrapped(inputs, targets, weights)  # type: ignore[no-any-return]

    def _scale(self, batches: list[Batch]) -> float:
        """One over the number of targets that count in the whole step, over all processes."""
        if batches[0].weights is None:
            return 1.0 / (self.config.batch_size * batches[0].inputs.shape[1])
        count = torch.tensor(float(sum(b.weights.sum() for b in batches if b.weights is not None)))
        return 1.0 / max(parallel.total(count).item(), 1.0)

    def _update(self, loss: Tensor) -> StepResult:
        config = self.config
        norm = torch.tensor(self.flat.norm()) if self.flat else optim.gradient_norm(self.model)
        finite = torch.isfinite(norm) & torch.isfinite(loss)
        facts = torch.stack(
            [loss.nan_to_num(0.0, 0.0, 0.0), 1.0 - finite.float(), loss.new_tensor(float(self.stop_asked))]
        )
        loss_sum, n_bad, n_stop = parallel.total(facts).tolist()
        peak = config.learning_rate
        rate = learning_rate_at(
            self.step, peak=peak, minimum=min(config.min_learning_rate, peak),
            warmup_steps=min(config.warmup_steps, config.max_steps // 2), max_steps=config.max_steps,
        )  # fmt: skip
        skipped = n_bad > 0
        if skipped:
            self.n_skipped += 1
            self.bad_in_a_row += 1
        else:
            self.bad_in_a_row = 0
            self._change_weights(norm, rate)
        if self.flat is None:
            for p in self.model.parameters():
                p.grad = None
        self.step += 1
        self._check_patience()
        return StepResult(math.nan if skipped else loss_sum, float(norm), rate, skipped, n_stop > 0)

    def _change_weights(self, norm: Tensor, rate: float) -> None:
        if self.flat is not None:
            self.flat.step(rate, norm.item())
            return
        optim.clip_gradients(self.model, norm, self.config.grad_clip)
        optim.set_learning_rate(self.optimizers, rate)
        for optimizer in self.optimizers:
            optimizer.step()

    def _check_patience(self) -> None:
        if self.bad_in_a_row >= self.config.max_bad_steps:
            raise UserError(
                f"The loss or gradient was not finite in {self.bad_in_a_row} steps in a row, up to step {self.step}; "
                f"none of them changed the weights. Lower --learning-rate {self.config.learning_rate:g}, or use "
                "--dtype float32; the last saved state is from before."
            )

    # ------------------------------------------------------------------------------------------------- measuring

    @torch.no_grad()
    def held_out_loss(self, source: BatchSource) -> float:
        """Mean loss in nats per counted target over all samples of `source`, shared between the processes."""
        self.wrapped.eval()
        runtime, size = self.runtime, max(self.config.micro_batch_size, 1)
        sums = torch.zeros(2, dtype=torch.float64)
        n_rounds = math.ceil(source.n_samples / (size * runtime.world_size))
        for i in range(n_rounds):
            # FSDP2 gathers weights in every pass, so all processes make the same number of them.
            position = min((i * runtime.world_size + runtime.rank) * size, source.n_samples)
            mine = position < source.n_samples
            batch = source.read(position if mine else 0, size)
            loss = self._plain_loss(batch, first=i == 0)
            if mine:
                count = batch.targets.size if batch.weights is None else float(batch.weights.sum())
                sums += torch.tensor([loss, count], dtype=torch.float64)
        self.wrapped.train()
        parallel.reshard(self.wrapped)
        nats, n = parallel.total(sums).tolist()
        return float(nats / max(n, 1.0))

    def _plain_loss(self, batch: Batch, *, first: bool) -> float:
        if self.native is not None and batch.inputs.shape[1] % 32 == 0:
            return self.native.loss(batch, changed=first)
        return self._loss(batch, 1.0).item()

    # -------------------------------------------------------------------------------------------- saved and restored

    def tensors(self) -> dict[str, Local]:
        """Everything that a resumed run must have, as this process holds it."""
        weights = {f"model.{name}": p for name, p in self.model.named_parameters()}
        return {
            name: parallel.local(t)
            for name, t in {**weights, **optim.tensors_of(self.optimizers, self.model)}.items()
        }

    def meta(self) -> dict[str, Any]:
        """The numbers beside the tensors."""
        return {
            "n_samples": self.step * self.config.batch_size,
            "seed": self.config.seed,
            "n_skipped": self.n_skipped,
            "bad_in_a_row": self.bad_in_a_row,
        }

    def restore(self, state: State) -> None:
        """Become what was saved."""
        with torch.no_grad():
            state.read(self.tensors())
        self.step = int(state.meta["step"])
        self.n_skipped = int(state.meta["n_skipped"])
        self.bad_in_a_row = int(state.meta["bad_in_a_row"])
