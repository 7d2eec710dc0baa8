"""`fourhorn plan`, `train`, `finetune` and `doctor`."""

import os
from pathlib import Path
from typing import Annotated, Any

import cyclopts

from fourhorn.training.config import FINETUNE, TrainConfig

DEFAULTS = TrainConfig()
Options = Annotated[TrainConfig, cyclopts.Parameter(name="*")]


def plan(
    *,
    n_nodes: int = 1,
    devices_per_node: int = 1,
    device_memory_gb: float = 0.0,
    device_tflops: float = 0.0,
    link_gb_per_second: float = 25.0,
    config: Options = DEFAULTS,
) -> None:
    """What a training run takes before it starts: memory per device, traffic per step, hours.

    Args:
        n_nodes: Machines.
        devices_per_node: Cards, or processes, of each machine.
        device_memory_gb: Memory of one device in GB; 0 takes this machine's.
        device_tflops: Speed of one device as trained at (peak × MFU), in TFLOP/s; 0 measures this machine.
        link_gb_per_second: Bandwidth between machines, in GB/s.
        config: The options of the run.
    """
    from fourhorn.training.plan import plan as make_plan

    print(
        make_plan(
            config, n_nodes=n_nodes, devices_per_node=devices_per_node, device_memory_gb=device_memory_gb,
            device_tflops=device_tflops, link_gb_per_second=link_gb_per_second,
        )
    )  # fmt: skip


def train(tokens: Path, run: Path, /, *, tokenizer: Path | None = None, config: Options = DEFAULTS) -> None:
    """Train a model on token shards; called again on the same run folder, it goes on where it stopped.

    Args:
        tokens: The folder with train/ and val/ token shards.
        run: The run folder to make or to go on with.
        tokenizer: The tokenizer's folder; by default the one beside the tokens.
        config: The options of the run.
    """
    from fourhorn.runtime import settle_memory

    settle_memory()
    from fourhorn.training.loop import train as run_training

    report(run, run_training(tokens, run, config=config, tokenizer=tokenizer))


def finetune(
    data: Path,
    run: Path | None = None,
    /,
    *,
    model: Annotated[str, cyclopts.Parameter(name=["--from", "--model"])] = "124M",
    text_column: str = "text",
    config: Options = FINETUNE,
) -> None:
    """Fine-tune a checkpoint on your own text, or on prompt-completion pairs.

    Args:
        data: A text file, jsonl, csv or parquet, or a folder of them; rows with `prompt` and `completion` are pairs.
        run: The run folder; by default runs/ and the data's name.
        model: The checkpoint to start from: a size such as 124M, a run folder, a checkpoint folder or file.
        text_column: The column that holds the text.
        config: The options of the run.
    """
    from fourhorn.runtime import settle_memory

    settle_memory()
    from fourhorn.training.finetune import finetune as run_finetuning

    run = run or Path("runs") / data.stem
    report(run, run_finetuning(data, run, model=model, text_column=text_column, config=config))


def doctor(*, run: Path | None = None) -> None:
    """What works on this machine, what does not, and why; with a run, whether its loss and speed look normal.

    Args:
        run: A run folder to look into.
    """
    from fourhorn.training.doctor import doctor as examine

    for name, value in examine(run):
        print(f"{name:<20} {value}")


def report(run: Path, summary: dict[str, Any]) -> None:
    """Say what was trained and what comes next, once for all processes."""
    if os.environ.get("RANK", "0") != "0":
        return
    seconds, rate = summary["seconds"], summary["tokens_per_second"] or 0.0
    held = f", held-out loss {summary['val_loss']:.4f}" if summary["val_loss"] is not None else ""
    loss = f"{summary['train_loss']:.4f}" if summary["train_loss"] is not None else "not measured"
    print(
        f"{run}: {summary['steps']:,} steps, {summary['n_tokens']:,} tokens in {seconds:,.0f} s ({rate:,.0f} tokens/s, "
        f"peak {summary['peak_memory_bytes'] / 1e9:.1f} GB), loss {loss}{held}."
    )
    if summary["stopped"] == "asked":
        print("Stopped when asked; run the same command again to go on.")
    else:
        alone = not (run / "checkpoint" / "encoder.json").exists()
        print(f"Next: fourhorn sample {run} --prompt 'In a shocking finding,'{' --tokenizer FOLDER' * alone}")
