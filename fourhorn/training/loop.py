"""`train`: from a folder of tokens to a trained model, killable at any moment.

§2.3. The run folder holds `options.json` (a valid `--config`), `metrics.jsonl`, `states/`, `checkpoint/`,
`summary.json`, `loss.svg`, and `sweep.json` where the learning rate was searched. Calling `train` again on the same
folder goes on from the newest sound state and ends in the same weights, bit for bit, as a run that was never stopped.
SIGTERM saves and returns; a second one ends the process at once.

Raises `UserError` for options, tokens or a folder that do not fit.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fourhorn.errors import UserError
from fourhorn.files import read_json, version, write_json
from fourhorn.model.config import GPT2Config
from fourhorn.model.counts import flops_per_token, n_params
from fourhorn.model.transformer import GPT2
from fourhorn.progress import Bar, progress
from fourhorn.runtime import Runtime, peak_memory_bytes, runtime, set_threads
from fourhorn.training import parallel
from fourhorn.training.batches import Batches, BatchSource, Windows
from fourhorn.training.config import TrainConfig, default_learning_rate
from fourhorn.training.learner import use_compile
from fourhorn.training.log import Metrics, draw_loss, read_metrics
from fourhorn.training.memory import choose_micro_batch, peak_flops
from fourhorn.training.search import search
from fourhorn.training.state import Saver, clean, latest
from fourhorn.training.tokens import TokenFolder
from fourhorn.training.trainer import Trainer, kernel_threads


@dataclass
class Job:
    """What is trained on what: the parts that `train` and `finetune` put together and `run_job` runs."""

    run: Path
    config: TrainConfig
    shape: GPT2Config
    source: BatchSource
    held_out: BatchSource | None
    tokenizer: Any = None
    model: Callable[[], GPT2] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def train(
    tokens: str | Path,
    run: str | Path,
    *,
    config: TrainConfig | None = None,
    tokenizer: str | Path | None = None,
) -> dict[str, Any]:
    """Train a model on token shards; called again, it goes on where it stopped.

    Args:
        tokens: the folder with `train/` and `val/` token shards.
        run: the run folder to make or to go on with.
        config: the options of the run.
        tokenizer: the tokenizer's folder; by default the one beside the tokens.

    Returns:
        The summary, as in `summary.json`.
    """
    config, run = config or TrainConfig(), Path(run)
    place = runtime(config.device, config.dtype)
    set_threads(config.n_threads)
    with parallel.process_group(place):
        data = TokenFolder(Path(tokens), tokenizer)
        shape = config.model(data.n_vocab)
        data.check(shape)
        config = resolve(config, shape, place, run)
        if config.learning_rate == 0:
            rate = (
                search(config, shape, place, data.train, run)
                if config.sweep
                else default_learning_rate(n_params(shape))
            )
            config = config.with_options(learning_rate=rate)
        job = Job(
            run, config, shape,
            source=Batches(data.train, n_ctx=config.n_ctx, seed=config.seed),
            held_out=Windows(data.val, n_ctx=config.n_ctx, n_tokens=config.eval_tokens) if data.val else None,
            tokenizer=data.tokenizer(),
            facts={"tokens": data.digest, "n_train_tokens": len(data.train)},
        )  # fmt: skip
        return run_job(job, place)


def resolve(config: TrainConfig, shape: GPT2Config, place: Runtime, run: Path) -> TrainConfig:
    """The options with everything that was left to choose; those of an earlier start of the run where there are any."""
    before = _options(run)
    if before is not None:
        chosen = {
            name: getattr(before, name)
            for name in ("learning_rate", "micro_batch_size", "n_vocab")
            if not getattr(config, name)
        }
        config = config.with_options(**chosen)
    config = config.with_options(n_vocab=shape.n_vocab)
    micro = config.micro_batch_size or choose_micro_batch(
        shape, config.batch_size, place, n_threads=kernel_threads(config, shape, place)
    )
    if config.batch_size % (micro * place.world_size) and not config.micro_batch_size:
        micro = 1
    config = config.with_options(micro_batch_size=micro)
    config.grad_accum_steps(
        place.world_size
    )  # a batch that does not divide is refused before anything is made
    if before is None:
        return config
    differs = config.with_options(dtype=before.dtype).differences(before)
    if differs:
        name, (mine, theirs) = next(iter(differs.items()))
        raise UserError(
            f"{run} was started with {name} {theirs!r} and cannot go on with {mine!r}. "
            f"Use --{name.replace('_', '-')} {theirs}, or another run folder."
        )
    return config.with_options(dtype=before.dtype)


def _options(run: Path) -> TrainConfig | None:
    path = run / "options.json"
    return TrainConfig.from_dict(read_json(path)) if path.exists() else None


def run_job(job: Job, place: Runtime) -> dict[str, Any]:
    """Run a job to its end, or until asked to stop."""
    run, config = job.run, job.config
    done = _finished(job)
    if done is not None:
        return done
    needed = (config.keep + 1) * 12 * n_params(job.shape)
    parallel.preflight(place, run, {**job.facts, "options": config.to_dict()}, needed)
    if place.is_main:
        run.mkdir(parents=True, exist_ok=True)
        clean(run / "states")
        write_json(run / "options.json", config.to_dict())
    n_flops = config.max_steps * config.tokens_per_step * flops_per_token(job.shape)
    compiled = use_compile(config.compile, place, n_flops)
    trainer = Trainer(config, job.shape, place, model=job.model() if job.model else None, compiled=compiled)
    state = latest(run / "states", say=_say if place.is_main else (lambda text: None))
    if state is not None:
        if state.meta.get("tokens") != job.facts.get("tokens"):
            raise UserError(
                f"{run} was trained on other tokens. Give it the same ones, or choose another run folder."
            )
        trainer.restore(state)
        if place.is_main:
            _say(f"{run}: going on from step {trainer.step:,} of {config.max_steps:,}.")
    return Loop(job, place, trainer).run()


def _finished(job: Job) -> dict[str, Any] | None:
    path = job.run / "summary.json"
    if not path.exists():
        return None
    summary = dict(read_json(path))
    ended = summary["steps"] >= job.config.max_steps or summary["stopped"] == "early"
    return summary if ended and (job.run / "checkpoint").is_dir() else None


def _say(text: str) -> None:
    import sys

    print(text, file=sys.stderr, flush=True)


@contextmanager
def asked_to_stop(trainer: Trainer) -> Iterator[None]:
    """SIGTERM asks the trainer to stop after its step; a second one ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(signum: int, frame: Any) -> None:
        trainer.stop_asked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    previous = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class Loop:
    """The steps of one run with their measuring, saving, sampling and logging."""

    def __init__(self, job: Job, place: Runtime, trainer: Trainer) -> None:
        self.job, self.place, self.trainer, self.config = job, place, trainer, job.config
        sharded = parallel.is_sharded(trainer.model)
        n_parts = place.world_size if sharded else 1
        self.saver = Saver(job.run / "states", keep=self.config.keep, rank=place.rank, n_parts=n_parts)
        self.saves = place.is_main or sharded
        self.metrics = None
        if place.is_main:
            self.metrics = Metrics(
                job.run, step=trainer.step, track=self.config.track, options=self.config.to_dict()
            )
        self.peak = peak_flops(place)
        rows = read_metrics(job.run)
        self.val_losses = [
            row["val_loss"] for row in rows if "val_loss" in row and row["step"] <= trainer.step
        ]
        self.seconds_before = sum(row.get("seconds", 0.0) for row in rows if row["step"] <= trainer.step)
        self.last_loss = next((row["loss"] for row in reversed(rows) if row.get("loss") is not None), None)

    def run(self) -> dict[str, Any]:
        """Step until the end; the summary."""
        trainer, config = self.trainer, self.config
        stopped = ""
        self.started = time.perf_counter()
        name = self.job.run.name
        with asked_to_stop(trainer), progress(name, total=config.max_steps, unit="steps") as bar:
            bar.done = trainer.step
            while trainer.step < config.max_steps and not stopped:
                stopped = self.one_step(bar)
            if stopped != "asked":
                self.measure(bar)
            self.save(wait=True)
        if self.metrics is not None:
            self.metrics.close()
        return self.finish(stopped)

    def one_step(self, bar: Bar) -> str:
        """One step and whatever falls due after it; why to stop, or nothing."""
        trainer, config = self.trainer, self.config
        started = time.perf_counter()
        result = trainer.train_step(self.job.source)
        seconds = time.perf_counter() - started
        self.saver.settle()  # before the step counts, so that a kill can lose no more than one interval
        rate = config.tokens_per_step / seconds
        reached = rate * flops_per_token(self.job.shape) / self.place.world_size
        self.peak = max(
            self.peak, reached
        )  # what a step reaches can be reached: the peak was measured too low
        mfu = reached / self.peak
        if self.metrics is not None:
            self.metrics.write(
                step=trainer.step, loss=None if result.skipped else result.loss, learning_rate=result.learning_rate,
                grad_norm=None if result.skipped else result.grad_norm, tokens_per_second=round(rate, 1),
                mfu=round(mfu, 4), seconds=round(seconds, 4), **({"skipped": True} if result.skipped else {}),
            )  # fmt: skip
        if not result.skipped:
            self._watch_spikes(result.loss)
        bar.update(1, loss=result.loss, tokens_per_second=int(rate), mfu=mfu)
        if result.stop:
            return "asked"
        if _due(config.eval_every, trainer.step) and trainer.step < config.max_steps:
            self.measure(bar)
            if self._no_longer_better():
                return "early"
        if _due(config.save_every, trainer.step) and trainer.step < config.max_steps:
            self.save()
        if _due(config.sample_every, trainer.step):
            self.sample()
        return ""

    def _watch_spikes(self, loss: float) -> None:
        usual = self.last_loss if self.last_loss is not None else loss
        if self.place.is_main and self.trainer.step > 50 and loss > usual + 1.0:
            _say(f"Step {self.trainer.step}: the loss jumped from about {usual:.3f} to {loss:.3f}.")
        self.last_loss = 0.95 * usual + 0.05 * loss

    def measure(self, bar: Bar) -> None:
        """Measure and log the held-out loss."""
        if self.job.held_out is None:
            return
        loss = self.trainer.held_out_loss(self.job.held_out)
        self.val_losses.append(loss)
        self.peak = max(self.peak, peak_flops(self.place))
        if self.metrics is not None:
            self.metrics.write(step=self.trainer.step, val_loss=loss)
        bar.update(0, val_loss=loss)

    def _no_longer_better(self) -> bool:
        patience, losses = self.config.early_stop, self.val_losses
        return bool(patience) and len(losses) > patience and min(losses[-patience:]) > min(losses[:-patience])

    def save(self, *, wait: bool = False) -> None:
        """Write the training state."""
        if self.saves:
            meta = {**self.trainer.meta(), "model": self.job.shape.to_dict(), **self.job.facts}
            self.saver.save(self.trainer.step, self.trainer.tensors(), meta, wait=wait)
        if wait:
            parallel.barrier()

    def sample(self) -> None:
        """Print a sample of the model as it is."""
        if self.job.tokenizer is None or parallel.is_sharded(self.trainer.model) or not self.place.is_main:
            return
        from fourhorn.sampling.generate import generate

        self.trainer.model.eval()
        text = generate(
            self.trainer.model, self.job.tokenizer, self.config.sample_prompt, max_new_tokens=64, top_k=40,
            seed=self.trainer.step,
        )  # fmt: skip
        self.trainer.model.train()
        _say(f"--- sample after step {self.trainer.step:,}\n{text}\n---")

    def finish(self, stopped: str) -> dict[str, Any]:
        """Write the checkpoint, the picture and the summary."""
        trainer, config, run = self.trainer, self.config, self.job.run
        whole = parallel.whole_state(trainer.model)
        rows = read_metrics(run) if self.place.is_main else []
        losses = [row["loss"] for row in rows if row.get("loss") is not None]
        n_tokens = trainer.step * config.tokens_per_step
        seconds = sum(row.get("seconds", 0.0) for row in rows)
        tail = losses[-max(len(losses) // 20, 1) :]
        summary = {
            "n_params": n_params(self.job.shape), "n_tokens": n_tokens,
            "flops": n_tokens * flops_per_token(self.job.shape), "seconds": seconds,
            "tokens_per_second": n_tokens / seconds if seconds else None,
            "train_loss": sum(tail) / len(tail) if tail else None,
            "val_loss": self.val_losses[-1] if self.val_losses else None,
            "best_val_loss": min(self.val_losses) if self.val_losses else None,
            "learning_rate": config.learning_rate, "peak_memory_bytes": peak_memory_bytes(self.place.device),
            "steps": trainer.step, "n_skipped": trainer.n_skipped, "stopped": stopped,
            "save_stall_seconds": round(max(self.saver.stall_seconds[:-1], default=0.0), 3),
            "device": self.place.device, "dtype": self.place.dtype, "world_size": self.place.world_size,
            "recipe": config.recipe, "version": version(),
        }  # fmt: skip
        if self.place.is_main:
            from fourhorn.checkpoints.names import Checkpoint
            from fourhorn.checkpoints.native import write

            draw_loss(run)
            details = {k: summary[k] for k in ("steps", "n_tokens", "train_loss", "val_loss", "recipe")}
            write(Checkpoint(self.job.shape, whole, self.job.tokenizer, details), run / "checkpoint")
            write_json(run / "summary.json", summary)
        parallel.barrier()
        return summary


def _due(every: int, step: int) -> bool:
    return bool(every) and step % every == 0
