"""Every example runs as its first line says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fourhorn.records import write_records

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(name: str, *arguments: object, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_examples_are_eight_and_short() -> None:
    assert [path.name[:2] for path in EXAMPLES] == [f"0{n}" for n in range(1, 9)]
    assert all(len(path.read_text().splitlines()) < 80 for path in EXAMPLES)


def test_generate_prints_the_same_text_twice(workspace: Path, tmp_path: Path) -> None:
    out = run("01_generate.py", workspace / "runs/pocket-1542M", "The function", cwd=tmp_path)
    assert len(out) > 20


def test_tokenizer_says_what_it_made(tmp_path: Path) -> None:
    assert "tokens of 600" in run("02_tokenizer.py", ROOT / "README.md", cwd=tmp_path)


def test_webtext_cleans_own_documents(workspace: Path, tmp_path: Path) -> None:
    rows = [
        {"text": "The quick brown fox jumps over the lazy dog and the dog is not amused at all. " * 9}
    ] * 3
    write_records(tmp_path / "documents.jsonl", rows)
    assert "dropped:" in run("03_webtext.py", tmp_path / "documents.jsonl", tmp_path / "out", cwd=tmp_path)


def test_train_ends_with_a_held_out_loss(workspace: Path, tmp_path: Path) -> None:
    assert "held-out loss" in run("04_train.py", workspace / "tokens", tmp_path / "run", cwd=tmp_path)


def test_finetune_goes_on_from_a_checkpoint(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "my.txt").write_text("A horn, two horns, three horns, four horns. " * 400)
    out = run(
        "05_finetune.py", tmp_path / "my.txt", workspace / "runs/pocket-117M", tmp_path / "mine", cwd=tmp_path
    )
    assert "held-out loss" in out


def test_evaluate_prints_intervals(workspace: Path, tmp_path: Path) -> None:
    assert "accuracy" in run("06_evaluate.py", workspace / "runs/pocket-117M", "winograd", cwd=tmp_path)


def test_overlap_counts_ngrams(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "my.txt").write_text("one two three four five six seven eight nine ten eleven twelve")
    out = run("07_overlap.py", workspace, tmp_path / "my.txt", cwd=tmp_path)
    assert out.startswith("mine: ")


def test_report_writes_a_page(workspace: Path, tmp_path: Path) -> None:
    run("08_report.py", workspace, tmp_path / "report", cwd=tmp_path)
    assert (tmp_path / "report" / "index.html").stat().st_size > 50_000


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_says_how_to_run_it(path: Path) -> None:
    assert f"python examples/{path.name}" in path.read_text().splitlines()[0]


def test_every_cell_of_the_notebook_runs(workspace: Path, tmp_path: Path) -> None:
    cells = json.loads((ROOT / "examples" / "tour.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    (tmp_path / "tour.py").write_text(code.replace('Path("reproduction")', f"Path({str(workspace)!r})"))
    result = subprocess.run([sys.executable, "tour.py"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "8-grams" in result.stdout
