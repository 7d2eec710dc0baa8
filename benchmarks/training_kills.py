"""Kill a small run at random moments, many of them while it saves, and resume: the end must be bit-identical.

    python benchmarks/training_kills.py [N_KILLS [TALLY.json]]

Each run is killed by SIGKILL again and again at random times until it finishes; then its last state's digests are
compared with the unbroken run's. A kill counts as "while saving" when a temporary state lay in the run folder; the run
then falls back to the state before it. With a file for the tally the kills of several calls are counted together, each
call's at other random times.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "training")]
# Saving every step, with writes slowed down, makes most of the run's time saving.
CODE = """
import sys, time
from fourhorn.training import loop, state
from fourhorn.training.config import TrainConfig
real = state._bytes
def slow(tensor):
    time.sleep(0.002)
    return real(tensor)
state._bytes = slow
options = dict(n_layer=2, n_head=2, n_embd=32, n_ctx=16, dropout=0.1, batch_size=4, micro_batch_size=2, max_steps=60,
    warmup_steps=2, learning_rate=0.003, eval_every=0, save_every=2, dtype="float32", device="cpu", n_threads=1)
loop.train(sys.argv[1], sys.argv[2], config=TrainConfig(**options))
"""


def start(tokens: Path, run: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(tokens), str(run)], env=environment, stderr=subprocess.DEVNULL
    )


def digests(run: Path) -> dict[str, object]:
    body = json.loads((run / "states" / "step-00000060" / "state.json").read_text())
    return {"files": body["files"], "n_samples": body["n_samples"], "seed": body["seed"]}


def main(n_kills: int, tally: Path | None) -> None:
    from conftest import made_up_ids, write_shards

    before = json.loads(tally.read_text()) if tally and tally.exists() else [0, 0, 0, 0, 0]
    rng = random.Random(before[0])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_shards(folder / "tokens" / "train", made_up_ids(4000, 64, 1), 64)
        write_shards(folder / "tokens" / "val", made_up_ids(600, 64, 2), 64)
        assert start(folder / "tokens", folder / "unbroken").wait() == 0
        expected, killed, while_saving, runs = digests(folder / "unbroken"), 0, 0, 0
        lost: dict[bool, int] = {False: before[3], True: before[4]}
        while killed < n_kills:
            run, finished = folder / f"run-{runs}", False
            runs += 1
            while not finished:
                process = start(folder / "tokens", run)
                first_step = steps(run)
                if killed >= n_kills:
                    assert process.wait() == 0
                    break
                while process.poll() is None and steps(run) == first_step:
                    time.sleep(0.005)  # past the start, into the run
                time.sleep(rng.random() * 0.6)
                finished = process.poll() is not None
                if not finished:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    killed += 1
                    saving = any((run / "states").glob(".step-*.tmp"))
                    while_saving += saving
                    states = [int(p.name[5:]) for p in (run / "states").glob("step-*")]
                    lost[saving] = max(lost[saving], steps(run) - max(states, default=0))
            assert digests(run) == expected, run
    killed, while_saving, runs = (
        n + more for n, more in zip((killed, while_saving, runs), before, strict=False)
    )
    if tally:
        tally.write_text(json.dumps([killed, while_saving, runs, lost[False], lost[True]]))
    lines = [
        "# Killed and resumed", "", "| what | figure |", "| --- | --- |", f"| SIGKILLs | {killed} |",
        f"| of them while saving | {while_saving} |", f"| runs, all ending bit-identical to the unbroken | {runs} |",
        f"| most steps lost by a kill between saves (saving every 2) | {lost[False]} |",
        f"| most steps lost by a kill while saving | {lost[True]} |", "",
    ]  # fmt: skip
    text = "\n".join(lines)
    print(text)
    results = ROOT / "benchmarks" / "results" / "training_kills.md"
    results.parent.mkdir(exist_ok=True)
    results.write_text(f"{text}\n{time.strftime('%Y-%m-%d')}\n")


def steps(run: Path) -> int:
    try:
        return sum(1 for line in open(run / "metrics.jsonl") if '"loss"' in line)
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, Path(sys.argv[2]) if len(sys.argv) > 2 else None)
