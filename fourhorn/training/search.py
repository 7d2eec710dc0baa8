"""The learning rate, tuned the paper's way: short runs on most of the data, the best one on a held-out 5 % wins.

§2.3: "The learning rate of each model was manually tuned for the best perplexity on a 5% held-out sample of WebText."
Here the candidates are tried one after the other from the same initial weights on the same samples, each on a schedule
of its own length, and all results are kept in `sweep.json`. A stopped search goes on with the candidates not yet tried.

Losses are in nats per token; the held-out split is the last `held_out` share of the training tokens.
"""

import math
from pathlib import Path
from typing import Any

from fourhorn.errors import UserError
from fourhorn.files import read_json, write_json
from fourhorn.model.config import GPT2Config
from fourhorn.progress import progress
from fourhorn.runtime import Runtime
from fourhorn.training.batches import Batches, TokenStream, Windows, held_out_parts
from fourhorn.training.config import TrainConfig
from fourhorn.training.trainer import Trainer


def sweep_steps(config: TrainConfig) -> int:
    """Steps of each try."""
    return config.sweep_steps or max(config.max_steps // 20, 20)


def search(config: TrainConfig, shape: GPT2Config, runtime: Runtime, stream: TokenStream, run: Path) -> float:
    """Try `config.sweep`, write `sweep.json`, return the rate with the lowest held-out loss."""
    path, n_steps = run / "sweep.json", sweep_steps(config)
    held = {"held_out": config.held_out, "steps": n_steps}
    tried: list[dict[str, Any]] = []
    if path.exists():
        before = read_json(path)
        if {k: before.get(k) for k in held} == held:
            tried = [t for t in before["tried"] if t["learning_rate"] in config.sweep]
    train, held_out = held_out_parts(stream, config.held_out)
    source = Batches(train, n_ctx=config.n_ctx, seed=config.seed)
    measured = Windows(held_out, n_ctx=config.n_ctx, n_tokens=config.eval_tokens)
    for rate in config.sweep:
        if any(t["learning_rate"] == rate for t in tried):
            continue
        loss = _try(config, rate, n_steps, shape, runtime, source, measured)
        tried.append({"learning_rate": rate, "held_out_loss": loss if math.isfinite(loss) else None})
        best = _best(tried)
        if runtime.is_main:
            write_json(path, {**held, "n_held_out_tokens": len(held_out), "tried": tried, "best": best})
    best = _best(tried)
    if best is None:
        raise UserError(
            f"No learning rate of {config.sweep} gave a finite loss in {n_steps} steps; try smaller ones."
        )
    return best


def _try(
    config: TrainConfig,
    rate: float,
    n_steps: int,
    shape: GPT2Config,
    runtime: Runtime,
    source: Batches,
    measured: Windows,
) -> float:
    warmup = min(config.warmup_steps, max(n_steps // 10, 1))
    trial = config.with_options(learning_rate=rate, max_steps=n_steps, warmup_steps=warmup)
    trainer = Trainer(trial, shape, runtime)
    with progress(f"learning rate {rate:g}", total=n_steps, unit="steps") as bar:
        for _ in range(n_steps):
            try:
                result = trainer.train_step(source)
            except UserError:
                return math.inf  # every process sees the same steps fail
            bar.update(1, loss=result.loss)
    return trainer.held_out_loss(measured)


def _best(tried: list[dict[str, Any]]) -> float | None:
    finite = [t for t in tried if t["held_out_loss"] is not None]
    return min(finite, key=lambda t: t["held_out_loss"])["learning_rate"] if finite else None
