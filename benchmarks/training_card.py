"""Training on one NVIDIA card beside nanoGPT and Hugging Face: tokens per second, model FLOP utilization, peak memory.

    python benchmarks/training_card.py [--nanogpt FOLDER] [--rounds N] [--sizes 124M 355M 774M]

A step is the paper's: 512 × 1,024 tokens, by gradient accumulation, AdamW, no dropout, bfloat16 autocast. Every rival
runs in a process of its own and compiles first; then all do a step in turns, each alone on the card. nanoGPT is timed
from a folder with its `model.py`, as its `train.py` runs it (TF32 allowed, torch.compile, fused AdamW). All begin with
random weights and see the same random tokens. The larger sizes are timed after the rivals have ended, on a quarter of
the batch.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from table import write_table

ROOT = Path(__file__).resolve().parents[1]
RATE, N_CTX, N_VOCAB = 1e-4, 1024, 50257
MICRO = {
    "nanoGPT": 32,
    "Hugging Face": 16,
}  # the largest sensible ones: both hold all logits, some in float32


def tokens_of(batch: int) -> Any:
    """Random tokens (batch, 1,025), the same for everybody."""
    import torch

    return torch.randint(0, N_VOCAB, (batch, N_CTX + 1), generator=torch.Generator().manual_seed(1))


def fourhorn(size: str, batch: int) -> tuple[Any, dict]:
    """A function that does one step and returns its loss, and facts."""
    sys.path.insert(0, str(ROOT))
    from fourhorn.model.counts import flops_per_token, training_memory
    from fourhorn.runtime import runtime
    from fourhorn.training.batches import Batch
    from fourhorn.training.config import TrainConfig
    from fourhorn.training.memory import choose_micro_batch, peak_flops
    from fourhorn.training.trainer import Trainer

    tokens = tokens_of(batch).numpy()

    class Same:
        n_samples = batch

        def read(self, position: int, count: int) -> Batch:
            first = position % batch
            return Batch(tokens[first : first + count, :-1], tokens[first : first + count, 1:])

    place = runtime("cuda")
    config = TrainConfig(
        size=size, batch_size=batch, n_vocab=N_VOCAB, learning_rate=RATE, min_learning_rate=RATE, warmup_steps=0,
        beta2=0.95, weight_decay=0.1,
    )  # fmt: skip
    micro = choose_micro_batch(config.model(), batch, place)
    trainer = Trainer(config.with_options(micro_batch_size=micro), config.model(), place, compiled=True)
    facts = {
        "micro": micro,
        "flops": flops_per_token(config.model()),
        "peak": peak_flops(place),
        "predicted": training_memory(config.model(), micro, on_card=True).total / 1e9,
    }
    return lambda: trainer.train_step(Same()).loss, facts


def rival(name: str, batch: int, folder: str) -> tuple[Any, dict]:
    """The same for another project."""
    import torch

    kind = next(kind for kind in MICRO if name.startswith(kind))
    micro, tokens = min(MICRO[kind], batch), tokens_of(batch).cuda()
    torch.manual_seed(1)
    if kind == "nanoGPT":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        spec = importlib.util.spec_from_file_location("model", Path(folder) / "model.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["model"] = module
        spec.loader.exec_module(module)
        model = module.GPT(module.GPTConfig(vocab_size=50304)).cuda()
        optimizer = model.configure_optimizers(0.1, RATE, (0.9, 0.95), "cuda")
    else:
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
        model = GPT2LMHeadModel(config).cuda()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1, fused=True
        )
    run = torch.compile(model) if "compiled" in name else model

    def step() -> float:
        total = torch.zeros((), device="cuda")
        for start in range(0, batch, micro):
            part = tokens[start : start + micro]
            with torch.autocast("cuda", torch.bfloat16):
                if kind == "nanoGPT":
                    loss = run(part[:, :-1].contiguous(), part[:, 1:].contiguous())[1]
                else:  # it shifts by itself
                    loss = run(part[:, :-1].contiguous(), labels=part[:, :-1].contiguous()).loss
            loss = loss * micro / batch
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total.item()

    return step, {"micro": micro}


def worker(name: str, size: str, batch: int, folder: str) -> None:
    """Compile in one step, say so, then do a step for every line on standard input."""
    started = time.perf_counter()
    step, facts = fourhorn(size, batch) if name == "fourhorn" else rival(name, batch, folder)
    import torch

    loss = step()
    torch.cuda.synchronize()
    print(json.dumps({**facts, "first": time.perf_counter() - started, "loss": loss}), flush=True)
    for _ in sys.stdin:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        began = time.perf_counter()
        loss = step()
        torch.cuda.synchronize()
        seconds, peak = time.perf_counter() - began, torch.cuda.max_memory_allocated() / 1e9
        print(json.dumps({"seconds": seconds, "loss": loss, "peak": peak}), flush=True)


class Contender:
    """A process that trains when asked to."""

    def __init__(self, name: str, size: str, batch: int, folder: str) -> None:
        self.name, self.size, self.batch = name, size, batch
        arguments = ["--worker", name, "--sizes", size, "--batch", str(batch), "--nanogpt", folder]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *arguments], stdin=-1, stdout=-1, text=True
        )
        self.steps: list[dict] = []

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        while line and not line.startswith("{"):
            line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended")
        return json.loads(line)

    def step(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.steps.append(self.answer())

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def row(one: Contender, ours: dict) -> list[str]:
    """A line of the table; utilization by the convention of `counts.flops_per_token` for everybody."""
    n, times = one.batch * N_CTX, [step["seconds"] for step in one.steps]
    best, median = n / min(times), n / statistics.median(times)
    peak = max(step["peak"] for step in one.steps)
    predicted = f" ({one.facts['predicted']:.1f})" if "predicted" in one.facts else ""
    return [
        one.name, one.size, one.facts["micro"], f"{best:,.0f}", f"{median:,.0f}",
        f"{median * ours['flops'] / ours['peak']:.1%}", f"{peak:.1f}{predicted}", f"{one.facts['first']:.0f}",
        f"{one.steps[-1]['loss']:.3f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nanogpt", default="")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--sizes", nargs="*", default=["124M", "355M", "774M"])
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--worker", default="")
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.sizes[0], options.batch, options.nanogpt)
        return
    import torch
    import transformers

    names = ["fourhorn", *(["nanoGPT compiled"] if options.nanogpt else [])]
    names += ["Hugging Face compiled", "Hugging Face"]
    rivals = [Contender(name, options.sizes[0], options.batch, options.nanogpt) for name in names]
    for one in rivals:
        one.facts = one.answer()
    for _ in range(options.rounds):
        for one in rivals:
            one.step()
    for one in rivals:
        one.end()
    rows = [row(one, rivals[0].facts) for one in rivals]
    for size in options.sizes[1:]:
        one = Contender("fourhorn", size, options.batch // 4, "")
        one.facts = one.answer()
        for _ in range(2):
            one.step()
        one.end()
        rows.append(row(one, one.facts))
    speeds = {one.name: statistics.median(step["seconds"] for step in one.steps) for one in rivals}
    ratios = ", ".join(f"{speeds[name] / speeds['fourhorn']:.2f}× {name}" for name in names[1:])
    notes = [
        f"One {torch.cuda.get_device_name()}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"{options.rounds} rounds in turns. Utilization of {rivals[0].facts['peak'] / 1e12:.0f} TFLOP/s (dense "
        "bfloat16, data sheet), from the median. In parentheses the peak that `model/counts.py` predicts. The loss is "
        f"that after {options.rounds + 1} steps on the same random tokens (larger sizes: 3).",
        "",
        f"Median beside median: fourhorn is {ratios}.",
    ]
    head = ["", "size", "micro-batch", "tokens/s best", "median", "MFU", "peak GB", "ready after s", "loss"]
    write_table(__file__, "Training on one card, 124M, 512 × 1,024 tokens a step", head, rows, notes)


if __name__ == "__main__":
    main()
