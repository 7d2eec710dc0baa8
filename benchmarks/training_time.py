"""Where the time of a training step goes: each kernel's share, and how fast the matrix products are.

    python benchmarks/training_time.py [--small] [--steps N]

Steps of 4 × 1,024 tokens at 124M (8 × 256 at 10M with --small) on random tokens. Every kernel call is timed where it is
made; the time of threads that work side by side is divided by their number, so that the column adds up to the step.
"""

import argparse
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fourhorn.runtime import settle_memory  # noqa: E402

settle_memory()

import numpy as np  # noqa: E402

from fourhorn.runtime import Runtime, set_threads  # noqa: E402
from fourhorn.training import flat, native  # noqa: E402
from fourhorn.training.batches import Batch  # noqa: E402
from fourhorn.training.config import TrainConfig  # noqa: E402
from fourhorn.training.kernels import finish, head, whole  # noqa: E402
from fourhorn.training.memory import peak_flops  # noqa: E402
from fourhorn.training.trainer import Trainer  # noqa: E402

SHAPES = {False: (12, 12, 768, 1024, 50257, 4), True: (6, 6, 384, 256, 65, 8)}
Seconds = dict[tuple[int, str], float]
spent: Seconds = defaultdict(float)
flops: Seconds = defaultdict(float)


def timed(holder: Any, name: str, label: str | Callable[..., str]) -> None:
    """Let a function add to the time of its label."""
    real = getattr(holder, name)

    def timing(*args: Any, **options: Any) -> Any:
        started = time.perf_counter()
        result = real(*args, **options)
        key = (threading.get_ident(), label if isinstance(label, str) else label(*args))
        spent[key] += time.perf_counter() - started
        if name == "product":
            flops[key] += 2.0 * args[4] * args[5] * args[7]
        return result

    setattr(holder, name, timing)


def of_product(mode: int, left: int, left_row: int, turned: bool, m: int, k: int, *others: int) -> str:
    """What a matrix product of the layers is for."""
    if turned:
        return "weight gradients"
    if mode in (finish.SLOPE, finish.SET) or (mode == finish.LOW and others[-1] in zeros):
        return "input gradients"
    return "forward products"


zeros: set[int] = set()


def watch() -> None:
    """Time everything a step calls."""
    timed(whole, "product", of_product)
    timed(head, "product", lambda mode, a, b, turned, *rest: "head: products")
    timed(head, "count_exponentials", "head: softmax and its gradient")
    timed(head, "become_gradient", "head: softmax and its gradient")
    timed(head, "pack_right", "packing and turning operands")
    timed(whole, "pack_right", "packing and turning operands")
    timed(whole, "turn_packed", "packing and turning operands")
    timed(whole, "attention", "attention, forward")
    timed(whole, "attention_backward", "attention, backward")
    for name in ("layer_norm", "layer_norm_backward"):
        timed(whole.fn, name, "layer norms")
    for name in ("embed", "embed_backward", "add_column_sums"):
        timed(whole.fn, name, "embeddings and column sums")
    timed(native.NativePass, "_pack", "packing the weights")
    timed(native.NativePass, "finish", "optimizer: summing the threads' gradients")
    timed(flat.FlatAdamW, "norm", "optimizer: the gradient's norm")
    timed(flat.FlatAdamW, "step", "optimizer: AdamW")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    n_layer, n_head, n_embd, n_ctx, n_vocab, batch = SHAPES[options.small]
    ids = np.random.default_rng(0).integers(0, n_vocab, (batch, n_ctx + 1))

    class Same:
        n_samples = batch

        def read(self, position: int, count: int) -> Batch:
            return Batch(ids[:count, :-1], ids[:count, 1:])

    n_threads = set_threads()
    config = TrainConfig(
        n_layer=n_layer, n_head=n_head, n_embd=n_embd, n_ctx=n_ctx, n_vocab=n_vocab, dropout=0.0, batch_size=batch,
        micro_batch_size=batch, learning_rate=1e-4, native="on",
    )  # fmt: skip
    place = Runtime("cpu", "bfloat16")
    trainer = Trainer(config, config.model(), place)
    started = time.perf_counter()
    trainer.train_step(Same())
    first = time.perf_counter() - started
    trainer.train_step(Same())
    zeros.update(one.b.zeros.at() for one in trainer.native.passes)
    watch()
    started = time.perf_counter()
    for _ in range(options.steps):
        trainer.train_step(Same())
    step = (time.perf_counter() - started) / options.steps
    report(options, step, first, n_threads, batch * n_ctx / step, peak_flops(place))


def report(
    options: argparse.Namespace, step: float, first: float, n_threads: int, rate: float, peak: float
) -> None:
    """Print the table and write it into `results/`."""
    main_thread = threading.get_ident()
    seconds: dict[str, float] = defaultdict(float)
    work: dict[str, float] = defaultdict(float)
    for (thread, label), value in spent.items():
        seconds[label] += value / options.steps / (1 if thread == main_thread else n_threads)
    for (_, label), value in flops.items():
        work[label] += value / options.steps
    seconds["rest"] = step - sum(seconds.values())
    shape = "10M, 8 × 256" if options.small else "124M, 4 × 1,024"
    lines = [
        f"# Where the time of a training step goes, {shape} tokens", "",
        f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}; {step:.2f} s a step, {rate:,.0f} tokens/s; the first "
        f"step, compiling or loading the kernels, {first:.1f} s; the matrix unit's limit just measured, "
        f"{peak / 1e12:.1f} TFLOP/s", "", "| part | ms | share | TFLOP/s |", "| --- | --- | --- | --- |",
    ]  # fmt: skip
    for label, value in sorted(seconds.items(), key=lambda pair: -pair[1]):
        speed = f"{work[label] / value / 1e12:.2f}" if work.get(label) else ""
        lines.append(f"| {label} | {1000 * value:,.1f} | {100 * value / step:.1f} % | {speed} |")
    text = "\n".join(lines) + "\n"
    print(text)
    name = f"training_time{'_small' if options.small else ''}.md"
    (ROOT / "benchmarks" / "results" / name).write_text(text)


if __name__ == "__main__":
    main()
