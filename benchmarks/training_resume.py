"""How long a run waits for its first batch at step 0, and resumed at step 1,000,000.

    python benchmarks/training_resume.py [N_TOKENS]

A shard of N_TOKENS random tokens (100 million) is written; processes of their own, in turns, open it and read the 512
sequences of 1,024 tokens of that step, as a run does first.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
STEPS, ROUNDS, BATCH_SIZE, N_CTX = (0, 1_000_000), 5, 512, 1024


def first_batch(folder: Path, step: int) -> float:
    """Seconds from opening the tokens to the batch."""
    from fourhorn.training.batches import Batches
    from fourhorn.training.tokens import TokenFolder

    started = time.perf_counter()
    batch = Batches(TokenFolder(folder).train, n_ctx=N_CTX, seed=1).read(step * BATCH_SIZE, BATCH_SIZE)
    assert batch.inputs.shape == (BATCH_SIZE, N_CTX)
    return time.perf_counter() - started


def write_tokens(folder: Path, n: int) -> None:
    """A folder of tokens in the format of `fourhorn tokens`."""
    folder.mkdir(parents=True)
    data = np.random.default_rng(0).integers(0, 50257, n).astype("<u2").tobytes()
    (folder / "part-00000.bin").write_bytes(data)
    shard = {
        "name": "part-00000.bin",
        "n_tokens": n,
        "n_documents": 1,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    index = {
        "magic": "fourhorn-tokens", "version": 1, "dtype": "uint16", "n_tokens": n, "n_documents": 1, "n_bytes_text": n,
        "tokenizer_sha256": "0" * 64, "eot": 50256, "n_vocab": 50257, "shards": [shard],
    }  # fmt: skip
    (folder / "index.json").write_text(json.dumps(index))


def main(n: int) -> None:
    seconds: dict[int, list[float]] = {step: [] for step in STEPS}
    with tempfile.TemporaryDirectory() as temporary:
        write_tokens(Path(temporary) / "train", n)
        for _ in range(ROUNDS):
            for step in STEPS:
                command = [sys.executable, __file__, "--one", temporary, str(step)]
                seconds[step].append(float(subprocess.run(command, stdout=-1, check=True, text=True).stdout))
    lines = [
        "# The first batch of a resumed run", "",
        f"{os.cpu_count()} cores, {n:,} tokens, {BATCH_SIZE} × {N_CTX:,} tokens a step, {ROUNDS} processes each, "
        f"{time.strftime('%Y-%m-%d')}", "", "| step | seconds to the batch, most | least |", "| --- | --- | --- |",
    ]  # fmt: skip
    lines += [f"| {step:,} | {max(found):.3f} | {min(found):.3f} |" for step, found in seconds.items()]
    apart = max(seconds[STEPS[1]]) - min(seconds[STEPS[0]])
    lines += ["", f"At most {apart:.3f} s later at step {STEPS[1]:,}."]
    text = "\n".join(lines) + "\n"
    print(text)
    (ROOT / "benchmarks" / "results" / "training_resume.md").write_text(text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(first_batch(Path(sys.argv[2]), int(sys.argv[3])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000_000)
