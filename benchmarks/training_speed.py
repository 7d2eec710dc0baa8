"""Training speed beside Hugging Face's and nanoGPT's on this machine, interleaved in one run.

    python benchmarks/training_speed.py [--nanogpt FOLDER] [--small] [--rounds N] [--only NAME …]

A step is 4 × 1,024 tokens at 124M (8 × 256 at 10M with --small), AdamW, no dropout, random tokens. nanoGPT is timed
from a folder with its `model.py`, as its users run it (autocast bfloat16, torch.compile); without one it is said to
be absent. All start from the very same random weights and see the same batch at the same rate, so the loss after the
same number of steps must be the same. Every rival runs in a process of its own, in turns; best and median step are
shown.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RATE = 1e-4  # constant, for every rival
SHAPES = {False: (12, 12, 768, 1024, 50257, 4), True: (6, 6, 384, 256, 65, 8)}


def same_weights(model: Any, first: Any) -> None:
    """Give another project's model the weights of ours; Hugging Face keeps those of its products turned."""
    weights = first.state_dict()
    for name, p in model.named_parameters():
        ours = weights[name.removeprefix("transformer.")]
        turned = type(model.get_submodule(name.rpartition(".")[0])).__name__ == "Conv1D" and p.ndim == 2
        p.data.copy_(ours.t() if turned else ours)


def step_of(rival: str, small: bool, folder: str) -> Any:
    """A function that does one training step and returns its loss."""
    if rival.startswith("fourhorn"):
        sys.path.insert(0, str(ROOT))
        from fourhorn.runtime import settle_memory

        settle_memory()
    import torch

    n_layer, n_head, n_embd, n_ctx, n_vocab, batch = SHAPES[small]
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from fourhorn.model.config import GPT2Config as Shape
    from fourhorn.model.transformer import GPT2

    torch.manual_seed(0)
    tokens = torch.randint(0, n_vocab, (batch, n_ctx + 1))
    first = GPT2(Shape(n_layer, n_head, n_embd, n_ctx=n_ctx, n_vocab=n_vocab))
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    if rival.startswith("fourhorn"):
        from fourhorn.runtime import Runtime
        from fourhorn.training.batches import Batch
        from fourhorn.training.config import TrainConfig
        from fourhorn.training.trainer import Trainer

        class Same:
            n_samples = batch

            def read(self, position: int, count: int) -> Batch:
                first = position % batch
                return Batch(inputs[first : first + count].numpy(), targets[first : first + count].numpy())

        config = TrainConfig(
            n_layer=n_layer, n_head=n_head, n_embd=n_embd, n_ctx=n_ctx, n_vocab=n_vocab, dropout=0.0, batch_size=batch,
            micro_batch_size=batch, learning_rate=RATE, min_learning_rate=RATE, warmup_steps=0, beta2=0.95,
            weight_decay=0.1, native="auto" if "kernels" in rival else "off",
        )  # fmt: skip
        trainer = Trainer(config, config.model(), Runtime("cpu", "bfloat16"), model=first)
        return lambda: trainer.train_step(Same()).loss
    if rival.startswith("nanoGPT"):
        spec = importlib.util.spec_from_file_location("model", Path(folder) / "model.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["model"] = module
        spec.loader.exec_module(module)
        shape = module.GPTConfig(
            block_size=n_ctx, vocab_size=n_vocab, n_layer=n_layer, n_head=n_head, n_embd=n_embd
        )
        model = module.GPT(shape)
        optimizer = model.configure_optimizers(0.1, RATE, (0.9, 0.95), "cpu")
        run = torch.compile(model)
        loss_of = lambda: run(inputs, targets)[1]  # noqa: E731
    else:
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(
            vocab_size=n_vocab, n_positions=n_ctx, n_embd=n_embd, n_layer=n_layer, n_head=n_head, resid_pdrop=0.0,
            embd_pdrop=0.0, attn_pdrop=0.0,
        )  # fmt: skip
        model = GPT2LMHeadModel(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1)
        loss_of = lambda: model(inputs, labels=inputs).loss  # noqa: E731

    same_weights(model, first)

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss)

    return step


def worker(rival: str, small: bool, folder: str) -> None:
    """Warm up, then do a step for every line on standard input."""
    import resource

    step = step_of(rival, small, folder)
    step(), step()
    for _ in sys.stdin:
        started, spent = time.perf_counter(), time.process_time()
        loss = step()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            json.dumps([time.perf_counter() - started, time.process_time() - spent, loss, peak]), flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nanogpt", default="")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", nargs="*", default=[], help="beginnings of the names to time; all by default"
    )
    parser.add_argument("--worker", default="")
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.small, options.nanogpt)
        return
    rivals = ["fourhorn, kernels", "fourhorn, PyTorch only", "Hugging Face bf16"]
    rivals += ["nanoGPT bf16 compiled"] if options.nanogpt else []
    rivals = [name for name in rivals if not options.only or name.startswith(tuple(options.only))]
    again = [sys.executable, __file__, "--nanogpt", options.nanogpt] + (["--small"] if options.small else [])
    processes = {
        name: subprocess.Popen([*again, "--worker", name], stdin=-1, stdout=-1, text=True, env={**os.environ})
        for name in rivals
    }
    rows: dict[str, list[list[float]]] = {name: [] for name in rivals}
    for round_ in range(options.rounds + 1):
        for name, process in processes.items():
            process.stdin.write("\n")
            process.stdin.flush()
            line = process.stdout.readline()
            while line and not line.startswith("["):  # nanoGPT prints its number of parameters
                line = process.stdout.readline()
            row = json.loads(line)
            if round_:
                rows[name].append(row)
        if round_:
            report(options, rows)  # after every round: what was measured stays if the run is cut short
    for process in processes.values():
        process.stdin.close()
        process.wait()


def report(options: argparse.Namespace, rows: dict[str, list[list[float]]]) -> None:
    """Print what was measured so far and write it into `results/`."""
    import torch
    import transformers

    n, n_rounds = SHAPES[options.small][3] * SHAPES[options.small][5], min(map(len, rows.values()))
    lines = [
        f"# Training speed, {'10M, 8 × 256' if options.small else '124M, 4 × 1,024'} tokens a step", "",
        f"{os.cpu_count()} cores, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"{n_rounds} rounds, load {os.getloadavg()[0]:.1f}, {time.strftime('%Y-%m-%d')}"
        + ("" if options.nanogpt else "; nanoGPT absent"), "",
        f"| | tokens/s best | median | per processor second | loss after {n_rounds + 3} steps | peak GB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    speeds = {}
    for name, steps in rows.items():
        wall, spent = [s[0] for s in steps], [s[1] for s in steps]
        speeds[name] = (n / min(wall), n / statistics.median(wall))
        lines.append(
            f"| {name} | {n / min(wall):,.0f} | {n / statistics.median(wall):,.0f} | {n / min(spent):,.0f} | "
            f"{steps[-1][2]:.3f} | {steps[-1][3]:.1f} |"
        )
    first, *others = speeds
    ratios = [
        f"{name} {speeds[first][0] / speeds[name][0]:.2f}× (best), {speeds[first][1] / speeds[name][1]:.2f}× (median)"
        for name in others
    ]
    text = "\n".join([*lines, "", f"{first} beside {'; '.join(ratios)}."]) + "\n"
    print(text, flush=True)
    name = f"training_speed{'_small' if options.small else ''}.md"
    (ROOT / "benchmarks" / "results" / name).write_text(text)


if __name__ == "__main__":
    main()
