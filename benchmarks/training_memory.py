"""Peak memory of training steps beside what `model/counts.py` predicts.

    python benchmarks/training_memory.py [SIZE:MICRO_BATCH:PATH …]

Each row is a process of its own that makes the model, does two steps of one micro-batch of 1,024-token sequences on
random tokens without dropout, and reports the most it ever held (resident). PATH is `kernels` or `PyTorch`. Rows that
are not asked for keep the figures of the call before.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
ROWS = [
    *(f"124M:{n}:kernels" for n in (1, 2, 4, 8)), *(f"124M:{n}:PyTorch" for n in (1, 2, 4)), "355M:1:kernels",
    "355M:2:kernels", "355M:1:PyTorch", "774M:1:kernels", "774M:1:PyTorch",
]  # fmt: skip


def measured_bytes(size: str, micro_batch_size: int, path: str) -> int:
    """The peak of a process that trains."""
    from fourhorn.runtime import peak_memory_bytes, settle_memory

    settle_memory()
    import numpy as np

    from fourhorn.runtime import Runtime
    from fourhorn.training.batches import Batch
    from fourhorn.training.config import TrainConfig
    from fourhorn.training.trainer import Trainer

    class Random:
        n_samples = 1 << 30

        def read(self, position: int, count: int) -> Batch:
            tokens = np.random.default_rng(position).integers(0, 50257, (count, 1025))
            return Batch(tokens[:, :-1], tokens[:, 1:])

    config = TrainConfig(
        size=size, dropout=0.0, batch_size=micro_batch_size, micro_batch_size=micro_batch_size, learning_rate=1e-4,
        native="on" if path == "kernels" else "off",
    )  # fmt: skip
    trainer = Trainer(config, config.model(), Runtime("cpu", "bfloat16"))
    for _ in range(2):
        trainer.train_step(Random())
    return peak_memory_bytes()


def main(rows: list[str]) -> None:
    import torch

    from fourhorn.model.config import GPT2Config
    from fourhorn.model.counts import training_memory

    results = ROOT / "benchmarks" / "results" / "training_memory.md"
    lines = [
        "# Peak memory of a training step, measured and predicted", "",
        f"{os.cpu_count()} cores and threads, torch {torch.__version__}, bfloat16, 1,024 tokens a sequence", "",
        "| size | micro-batch | path | measured GB | predicted GB | off by | measured on |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    known = {}
    for line in results.read_text().splitlines() if results.exists() else []:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if ":".join(cells[:3]) in ROWS:
            known[":".join(cells[:3])] = line
    for row in rows:
        size, micro, path = row.split(":")
        done = subprocess.run([sys.executable, __file__, "--one", row], stdout=-1, check=True, text=True)
        measured = json.loads(done.stdout)
        threads = torch.get_num_threads() if path == "kernels" else 0
        predicted = training_memory(GPT2Config.named(size), int(micro), n_threads=threads).total
        known[row] = (
            f"| {size} | {micro} | {path} | {measured / 1e9:.2f} | {predicted / 1e9:.2f} | "
            f"{100 * (predicted / measured - 1):+.1f} % | {time.strftime('%Y-%m-%d')} |"
        )
        print(known[row], flush=True)
        results.write_text("\n".join([*lines, *(known[row] for row in ROWS if row in known)]) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        name, n_sequences, which = sys.argv[2].split(":")
        print(measured_bytes(name, int(n_sequences), which))
    else:
        main(sys.argv[1:] or ROWS)
