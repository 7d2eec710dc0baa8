"""Several processes compute what one does: gloo on this machine's CPU, started as torchrun would."""

import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fourhorn.training.config import TrainConfig
from fourhorn.training.loop import train
from fourhorn.training.parallel import first_problem
from fourhorn.training.state import latest

WORKER = """
import json, math, os, sys
import torch
from fourhorn.training import loop
from fourhorn.training.config import TrainConfig
from fourhorn.training.trainer import StepResult
tokens, run, options, bad, absent = sys.argv[1:]
bad, absent, real = json.loads(bad), json.loads(absent), loop.Trainer._loss
skipped, real_train_step = [], loop.Trainer.train_step
def train_step(self, source):
    if self.step in absent:  # as if these batches were not there
        self.step += 1
        return StepResult(math.nan, 0.0, 0.0, True, False)
    result = real_train_step(self, source)
    skipped.extend([self.step - 1] if result.skipped else [])
    return result
loop.Trainer.train_step = train_step
def loss(self, batch, scale):
    value = real(self, batch, scale)
    hit = self.model.training and self.runtime.rank == 1 and self.step in bad
    return value * torch.nan if hit else value
loop.Trainer._loss = loss
stop, real_step = int(os.environ["STOP"]), loop.Loop.one_step
def one_step(self, bar):
    if self.trainer.step + 1 == stop:  # as SIGTERM on one of them does
        self.trainer.stop_asked = self.place.rank == self.place.world_size - 1
    return real_step(self, bar)
loop.Loop.one_step = one_step
loop.train(tokens, run, config=TrainConfig.from_dict(json.loads(options)))
print(json.dumps(skipped))
"""


def launch(
    n: int, tokens: Path, run: Path, config: TrainConfig, *, bad: tuple[int, ...] = (), absent: tuple[int, ...] = (),
    stop: int = 0,
) -> list[list[int]]:  # fmt: skip
    """Train with `n` processes; the steps that each of them skipped."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = []
    for rank in range(n):
        environment = {
            **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port, "STOP": str(stop), "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }  # fmt: skip
        arguments = [str(tokens), str(run), json.dumps(config.to_dict()), json.dumps(bad), json.dumps(absent)]
        command = [sys.executable, "-c", WORKER, *arguments]
        processes.append(subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True))
    skipped = []
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        skipped.append(json.loads(output.splitlines()[-1]))
    return skipped


def losses(run: Path) -> list[float | None]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.fixture(scope="module")
def alone(
    options: Callable[..., TrainConfig], tokens: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = tmp_path_factory.mktemp("runs") / "alone"
    train(tokens, run, config=options(dropout=0.1, micro_batch_size=1, max_steps=8))
    return run


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_train_by_the_modern_recipe_as_one(
    options: Callable[..., TrainConfig], tokens: Path, tmp_path: Path, kind: str
) -> None:
    config = options(recipe="modern", micro_batch_size=1, max_steps=8)
    train(tokens, tmp_path / "alone", config=config)
    launch(2, tokens, tmp_path / "run", config.with_options(parallel=kind))
    # Muon makes each update orthogonal in bfloat16, so the last bits of a sum's order are seen.
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "alone"), abs=2e-3)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_have_the_losses_of_one(
    options: Callable[..., TrainConfig], alone: Path, tokens: Path, tmp_path: Path, kind: str
) -> None:
    config = options(dropout=0.1, micro_batch_size=1, max_steps=8, parallel=kind)
    launch(2, tokens, tmp_path / "run", config)
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), abs=1e-6)
    summaries = [json.loads((run / "summary.json").read_text()) for run in (alone, tmp_path / "run")]
    assert summaries[0]["val_loss"] == pytest.approx(summaries[1]["val_loss"], abs=1e-6)


def test_the_number_of_processes_may_change_between_halves(
    options: Callable[..., TrainConfig], alone: Path, tokens: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    parts = [(1, "ddp", 2), (2, "fsdp", 5), (4, "fsdp", 7), (1, "ddp", 0)]
    for n, kind, stop in parts if os.environ.get("FOURHORN_FULL") else parts[:2] + parts[3:]:
        config = options(dropout=0.1, micro_batch_size=1, max_steps=8, parallel=kind)
        launch(n, tokens, run, config, stop=stop)
    assert losses(run) == pytest.approx(losses(alone), abs=1e-6)


def test_bad_gradients_on_one_process_are_skipped_by_all_as_if_the_batches_were_not_there(
    options: Callable[..., TrainConfig], tokens: Path, tmp_path: Path
) -> None:
    bad = tuple(sorted(random.Random(0).sample(range(60), 20)))
    config = options(max_steps=60, max_bad_steps=20, save_every=0)
    assert launch(2, tokens, tmp_path / "run", config, bad=bad) == [list(bad)] * 2
    assert [step for step, value in enumerate(losses(tmp_path / "run")) if value is None] == list(bad)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["n_skipped"] == 20
    launch(2, tokens, tmp_path / "without", config, absent=bad)
    digests = [latest(tmp_path / run / "states").meta["files"] for run in ("run", "without")]
    assert digests[0] == digests[1]


def test_what_differs_between_processes_is_named() -> None:
    first = {"host": "a", "rank": 0, "folder": True, "clock": 0.0, "torch": "2.13.0", "tokens": "x"}
    run = Path("runs/one")
    assert first_problem([first, {**first, "rank": 1}], run) == ""
    for change, words in (
        ({"torch": "2.14.0"}, "torch is '2.14.0' on rank 1 on b"), ({"folder": False}, "does not see runs/one"),
        ({"clock": 90.0}, "clock of rank 1 on b is +90 s"), ({"tokens": "y"}, "tokens is 'y'"),
    ):  # fmt: skip
        assert words in first_problem([first, {**first, "rank": 1, "host": "b", **change}], run)
