"""A run that is stopped and goes on is the run that never stopped."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fourhorn
from fourhorn.errors import UserError
from fourhorn.tokenizer import Tokenizer
from fourhorn.tokenizer.tokens import tokens as make_tokens
from fourhorn.training import loop, state
from fourhorn.training.config import TrainConfig
from fourhorn.training.loop import train
from fourhorn.training.state import latest, steps_saved
from fourhorn.training.tokens import TokenFolder

Options = Callable[..., TrainConfig]


def final(run: Path) -> dict[str, str]:
    state = latest(run / "states")
    return {name: entry["sha256"] for name, entry in state.meta["files"].items()}


@pytest.fixture(scope="module")
def unbroken(options: Options, tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    train(tokens, run, config=options(dropout=0.1))
    return run


def test_a_run_takes_the_tokenizer_of_its_tokens_along(options: Options, tmp_path: Path) -> None:
    """From text to a sampled word, the vocabulary being named once."""
    (tmp_path / "text.txt").write_text("the four horns of the unicorn<|endoftext|>" * 40)
    Tokenizer.train(["the four horns of the unicorn"] * 9, n_vocab=280).save(tmp_path / "vocabulary")
    for split in ("train", "val"):
        make_tokens(tmp_path / "text.txt", tmp_path / "tokens" / split, tokenizer=tmp_path / "vocabulary")
    shutil.rmtree(tmp_path / "vocabulary")
    train(tmp_path / "tokens", tmp_path / "run", config=options(max_steps=2))
    model, tokenizer = fourhorn.load(tmp_path / "run")
    assert fourhorn.generate(model, tokenizer, "the four", max_new_tokens=2, seed=0)
    assert tokenizer == TokenFolder(tmp_path / "tokens").tokenizer()


def test_a_run_leaves_what_is_promised(unbroken: Path) -> None:
    names = {p.name for p in unbroken.iterdir()}
    assert names == {"options.json", "metrics.jsonl", "checkpoint", "states", "summary.json", "loss.svg"}
    assert TrainConfig.from_dict(json.loads((unbroken / "options.json").read_text())).max_steps == 12
    rows = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 13))
    assert {"loss", "learning_rate", "tokens_per_second", "mfu", "grad_norm"} <= set(rows[0])
    assert rows[-1]["val_loss"] < 4.2


def test_the_progress_line_never_claims_more_than_the_hardware_has(
    options: Options, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        loop, "peak_flops", lambda place: 1.0
    )  # as measured while other programs took the machine
    train(tokens, tmp_path / "run", config=options(max_steps=4))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    shares = [row["mfu"] for row in rows if "mfu" in row]
    assert shares[0] == 1.0
    assert all(0 < share <= 1 for share in shares)


def test_the_first_losses_are_golden(options: Options, tokens: Path, tmp_path: Path) -> None:
    train(tokens, tmp_path / "run", config=options(dropout=0.0, max_steps=4))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows if "loss" in row] == pytest.approx(
        [4.190, 4.111, 4.055, 3.944], abs=0.002
    )


@pytest.mark.parametrize("stop_at", [3, 8])
def test_resume_is_bit_identical(
    options: Options,
    unbroken: Path,
    tokens: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at: int,
) -> None:
    real = loop.Loop.one_step

    def crash(self: loop.Loop, bar: object) -> str:
        if self.trainer.step == stop_at:
            raise KeyboardInterrupt
        return real(self, bar)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "one_step", crash)
        with pytest.raises(KeyboardInterrupt):
            train(tokens, run, config=options(dropout=0.1))
    train(tokens, run, config=options(dropout=0.1))
    assert final(run) == final(unbroken)
    timeless = [
        [
            {k: v for k, v in json.loads(line).items() if k in ("step", "loss", "val_loss")}
            for line in open(r / "metrics.jsonl")
        ]
        for r in (run, unbroken)
    ]
    assert timeless[0] == timeless[1]


def test_sigterm_saves_and_the_run_goes_on(
    options: Options, unbroken: Path, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, run = loop.Loop.one_step, tmp_path / "run"

    def ask(self: loop.Loop, bar: object) -> str:
        if self.trainer.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, bar)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "one_step", ask)
        summary = train(tokens, run, config=options(dropout=0.1))
    assert (summary["steps"], summary["stopped"]) == (7, "asked")
    train(tokens, run, config=options(dropout=0.1))
    assert final(run) == final(unbroken)


def test_no_step_counts_before_the_state_before_it_is_whole(
    options: Options, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a kill at any moment loses one interval at most, however long a state takes to write."""
    write, record, lost = state.write_tensors, loop.Metrics.write, []

    def slowly(*args: Any) -> dict[str, Any]:
        time.sleep(0.1)  # several steps long
        return write(*args)

    def watch(self: loop.Metrics, **row: Any) -> None:
        record(self, **row)
        if "loss" in row:
            lost.append(row["step"] - max(steps_saved(tmp_path / "run" / "states"), default=0))

    monkeypatch.setattr(state, "write_tensors", slowly)
    monkeypatch.setattr(loop.Metrics, "write", watch)
    summary = train(tokens, tmp_path / "run", config=options(max_steps=9, save_every=2))
    assert lost == [1, 2, 1, 2, 1, 2, 1, 2, 1]
    assert summary["save_stall_seconds"] > 0.02


def test_a_finished_run_returns_its_summary(options: Options, unbroken: Path, tokens: Path) -> None:
    assert train(tokens, unbroken, config=options(dropout=0.1)) == json.loads(
        (unbroken / "summary.json").read_text()
    )


def test_other_options_are_refused_on_resume(options: Options, unbroken: Path, tokens: Path) -> None:
    with pytest.raises(UserError, match="started with seed 1 and cannot go on with 2"):
        train(tokens, unbroken, config=options(dropout=0.1, seed=2))


def test_a_longer_schedule_goes_on(options: Options, unbroken: Path, tokens: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tokens, run, config=options(max_steps=3))
    assert train(tokens, run, config=options(max_steps=5))["steps"] == 5


def test_steps_that_are_not_finite_change_nothing_and_are_counted(
    options: Options, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, weights = loop.Trainer._loss, []

    def poison(self, batch, scale):
        weights.append([p.detach().clone() for p in self.model.parameters()])
        value = real(self, batch, scale)
        return value * torch.nan if self.step in (2, 5) and self.model.training else value

    monkeypatch.setattr(loop.Trainer, "_loss", poison)
    summary = train(tokens, tmp_path / "run", config=options(max_steps=8))
    assert summary["n_skipped"] == 2
    for step in (2, 5):  # two micro-batches a step
        assert all(torch.equal(a, b) for a, b in zip(weights[2 * step], weights[2 * step + 2], strict=True))
        assert not torch.equal(weights[2 * step][0], weights[2 * step - 2][0])


def test_many_bad_steps_in_a_row_stop_the_run(
    options: Options, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.Trainer._loss
    monkeypatch.setattr(
        loop.Trainer, "_loss", lambda self, batch, scale: real(self, batch, scale) * torch.nan
    )
    with pytest.raises(UserError, match="not finite in 5 steps in a row, up to step 5"):
        train(tokens, tmp_path / "run", config=options())


def test_the_modern_recipe_trains_and_resumes(options: Options, tokens: Path, tmp_path: Path) -> None:
    config = options(recipe="modern", max_steps=4)
    train(tokens, tmp_path / "a", config=config)
    train(tokens, tmp_path / "b", config=config.with_options(max_steps=4))
    assert final(tmp_path / "a") == final(tmp_path / "b")


def test_the_best_rate_of_the_sweep_is_used_and_all_are_recorded(
    options: Options, tokens: Path, tmp_path: Path
) -> None:
    config = options(learning_rate=0.0, sweep=(1e-5, 1e-2), sweep_steps=15, max_steps=3)
    summary = train(tokens, tmp_path / "run", config=config)
    sweep = json.loads((tmp_path / "run" / "sweep.json").read_text())
    assert summary["learning_rate"] == sweep["best"] == 0.01
    assert [t["learning_rate"] for t in sweep["tried"]] == [1e-5, 1e-2]
    assert sweep["n_held_out_tokens"] == 200


def test_a_folder_without_tokens_is_named(options: Options, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no token shards"):
        train(tmp_path, tmp_path / "run", config=options())
