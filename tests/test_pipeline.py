"""The whole paper at smoke scale: every stage for real, the funnel adds up, kills change nothing."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fourhorn.files import read_json, read_manifest, sha256_file
from fourhorn.report.page import report
from fourhorn.reproduce.reproduce import reproduce

FULL = bool(os.environ.get("FOURHORN_FULL"))
FUNNEL = ("links", "pages", "raw", "clean", "unique", "webtext")


def data_hashes(root: Path) -> dict[str, str]:
    """Every shard of the dataset, the tokenizer and the tokens."""
    paths = [
        p for name in ("webtext", "tokenizer", "tokens") for p in (root / name).rglob("*") if p.is_file()
    ]
    return {
        str(p.relative_to(root)): sha256_file(p)
        for p in paths
        if p.name != "manifest.json" and p.suffix != ".md" and not p.name.startswith(".")
    }


def test_the_report_stands_at_the_end(workspace: Path) -> None:
    page = (workspace / "report" / "index.html").read_text()
    for part in (
        "Table 3",
        "Table 4",
        "Table 5",
        "Table 6",
        "Figure 1",
        "Figure 2",
        "Figure 3",
        "Figure 4",
        "Figure 5",
    ):
        assert part in page
    assert (workspace / "report" / "report.md").exists()


def test_a_report_of_a_relative_folder_has_the_same_numbers(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.parent)
    report([Path(workspace.name)], tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "the run is not finished" not in text
    assert "weights of the largest model" in text


def test_the_funnel_adds_up_stage_by_stage(workspace: Path) -> None:
    manifests = {name: read_manifest(workspace / name) for name in FUNNEL}
    for name, manifest in manifests.items():
        assert manifest is not None, name
        assert manifest.n_in == manifest.n_kept + sum(manifest.drops.values()), name
    kept = [m.n_kept for m in manifests.values() if m]
    taken = [m.n_in for m in manifests.values() if m]
    assert taken[1:] == kept[:-1]  # what one stage keeps is what the next takes in


def test_faults_of_the_web_are_counted_by_reason(workspace: Path) -> None:
    pages = read_manifest(workspace / "pages")
    assert pages is not None
    assert {"http_404", "http_500", "not_html", "robots_denied", "wikipedia"} <= set(pages.drops)
    clean = read_manifest(workspace / "clean")
    assert clean is not None
    assert clean.drops["other_language"] > 50


def test_four_models_were_trained_and_evaluated_on_every_experiment(workspace: Path) -> None:
    folders = sorted((workspace / "results").iterdir())
    assert len(folders) == 4
    for folder in folders:
        tasks = {p.stem for p in folder.glob("*.json")} - {"missing"}
        assert {
            "lambada",
            "cbt_cn",
            "cbt_ne",
            "winograd",
            "coqa",
            "cnn_dailymail",
            "natural_questions",
        } <= tasks
        assert {"webtext", "webtext_perplexity", "wmt14_fr_en", "wmt14_en_fr"} <= tasks
        assert read_json(workspace / "runs" / folder.name / "summary.json")["val_loss"] > 0


def test_a_second_call_finds_all_work_done(workspace: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in workspace.rglob("*.zst")}
    reproduce(workspace, scale="smoke", last="tokens")
    assert {p: p.stat().st_mtime_ns for p in workspace.rglob("*.zst")} == before


def test_killed_at_any_time_and_run_again_ends_in_the_same_bytes(workspace: Path, tmp_path: Path) -> None:
    dice = random.Random(20190214)
    root = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "fourhorn.cli.app",
        "reproduce",
        str(root),
        "--scale",
        "smoke",
        "--to",
        "tokens",
    ]
    kills = 20 if FULL else 3
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(1.0, 9.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert data_hashes(root) == data_hashes(workspace)
