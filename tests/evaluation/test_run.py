"""`evaluate` writes whole results, goes on after a kill, and never depends on the batch size."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fourhorn.errors import UserError
from fourhorn.evaluation import run as run_module
from fourhorn.evaluation.compare import compare
from fourhorn.evaluation.load import POCKET, DataOptions, load_task
from fourhorn.evaluation.run import evaluate, run_task
from fourhorn.evaluation.scoring import Scorer

TASKS = ["winograd", "coqa", "natural_questions"]


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file but the seconds a task took."""
    found = {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        if path.suffix == ".json" and path.stem != "missing":
            value = json.loads(data)
            value.pop("seconds")
            value["details"].pop("tokens")
            data = json.dumps(value).encode()
        found[path.name] = data
    return found


def test_each_task_writes_its_result_its_items_and_what_is_missing(wide, tokenizer, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    results = evaluate(wide, tokenizer, tasks=[*TASKS, "ptb"], destination=tmp_path, limit=4, name="tiny")
    assert list(results) == TASKS
    assert {p.name for p in tmp_path.iterdir()} == {"missing.json"} | {
        f"{t}{s}" for t in TASKS for s in (".json", ".items.jsonl")
    }
    assert json.loads((tmp_path / "missing.json").read_text()) == {
        "ptb": "no file of Penn Treebank test (Mikolov)"
    }
    value = json.loads((tmp_path / "winograd.json").read_text())
    assert (value["n"], value["scale"], value["section"]) == (4, "pocket", "3.4")
    assert value["model"]["name"] == "tiny"
    assert value["metrics"]["accuracy"]["chance"] == 0.5
    assert value["protocol"]["accuracy"].startswith("partial")
    assert value["protocol"]["limit"] == "at most 4 items"
    assert len((tmp_path / "winograd.items.jsonl").read_text().splitlines()) == 4


def test_what_is_missing_stays_named_when_other_tasks_follow(wide, tokenizer, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    evaluate(wide, tokenizer, tasks=["ptb"], destination=tmp_path)
    evaluate(wide, tokenizer, tasks=["winograd", "text8"], destination=tmp_path, limit=2)
    assert set(json.loads((tmp_path / "missing.json").read_text())) == {"ptb", "text8"}
    (tmp_path / "missing.json").write_text("{cut off")
    evaluate(wide, tokenizer, tasks=["enwik8"], destination=tmp_path)
    assert set(json.loads((tmp_path / "missing.json").read_text())) == {"enwik8"}


def test_results_do_not_depend_on_the_batch_size(wide, tokenizer) -> None:  # type: ignore[no-untyped-def]
    def scores(batch_size: int) -> dict[str, float]:
        results = evaluate(wide, tokenizer, tasks=TASKS, limit=3, batch_size=batch_size)
        return {f"{t}/{name}": m.value for t, r in results.items() for name, m in r.metrics.items()}

    expected = scores(1)
    for batch_size in (3, 8, 32):
        assert scores(batch_size) == pytest.approx(expected, abs=1e-6)


class Killed(Exception):
    pass


@pytest.mark.parametrize("seed", range(20 if os.environ.get("FOURHORN_FULL") else 4))
def test_a_run_that_breaks_off_goes_on_and_ends_in_the_same_files(  # type: ignore[no-untyped-def]
    wide, tokenizer, tmp_path: Path, monkeypatch, seed: int
) -> None:
    options = {"tasks": ["winograd", "natural_questions"], "limit": 20, "batch_size": 4}
    evaluate(wide, tokenizer, destination=tmp_path / "whole", **options)
    left = random.Random(seed).randint(1, 12)

    def counting(self, scorer, batch, original):  # type: ignore[no-untyped-def]
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return original(self, scorer, batch)

    from fourhorn.evaluation.tasks.question_answering import QuestionAnswering
    from fourhorn.evaluation.tasks.winograd import Winograd

    with monkeypatch.context() as patch:
        for task in (Winograd, QuestionAnswering):
            original = task.score
            patch.setattr(task, "score", lambda self, s, b, o=original: counting(self, s, b, o))
        with pytest.raises(Killed):
            evaluate(wide, tokenizer, destination=tmp_path / "broken", **options)
    for partial in (tmp_path / "broken").glob("*.partial.jsonl"):  # a line cut off by the kill
        with partial.open("a") as file:
            file.write('{"key": "cut o')
    evaluate(wide, tokenizer, destination=tmp_path / "broken", **options)
    assert files_of(tmp_path / "broken") == files_of(tmp_path / "whole")


def test_finished_work_is_not_done_again_but_other_options_are(
    wide, tokenizer, tmp_path: Path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    evaluate(wide, tokenizer, tasks=["winograd"], destination=tmp_path, limit=6)
    calls = []
    original = run_module._score_all
    monkeypatch.setattr(run_module, "_score_all", lambda *a: calls.append(1) or original(*a))
    again = evaluate(wide, tokenizer, tasks=["winograd"], destination=tmp_path, limit=6)
    assert (calls, again["winograd"].n) == ([], 6)
    assert evaluate(wide, tokenizer, tasks=["winograd"], destination=tmp_path, limit=8)["winograd"].n == 8
    assert calls == [1]


def test_two_processes_share_the_items_and_agree_with_one(
    wide, tokenizer, tmp_path: Path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    alone = evaluate(wide, tokenizer, tasks=["winograd"], limit=20, batch_size=4)["winograd"]
    task = load_task("winograd", DataOptions(limit=20))
    assert not isinstance(task, str)
    monkeypatch.setenv("WORLD_SIZE", "2")
    merged = {}

    def gather(folder: Path, name: str, key: str) -> dict[int, list[dict[str, object]]]:
        for path in sorted(folder.glob(f"{name}.partial.*.jsonl")):
            merged.update(run_module._read_partial(path, key))
        return dict(merged)

    monkeypatch.setattr(run_module, "_gather", gather)
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        result = run_task(task, Scorer(wide, tokenizer, 4), tmp_path)
    assert result.n == 20
    assert result.metrics == alone.metrics


def no_forward(*_arguments: object) -> None:
    raise AssertionError("scored before everything was checked")


def test_a_wrong_file_of_the_last_task_is_refused_before_the_first_is_scored(  # type: ignore[no-untyped-def]
    wide, tokenizer, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "NQ-open.dev.jsonl").write_text('{"question": "who", "answer": ["me"]}\n')
    monkeypatch.setattr(Scorer, "loglikelihoods", no_forward)
    with pytest.raises(UserError, match="1 questions, expected 3,610"):
        evaluate(wide, tokenizer, tasks=["winograd", "natural_questions"], data=tmp_path)


def test_a_library_that_the_last_task_lacks_is_named_before_the_first_is_scored(  # type: ignore[no-untyped-def]
    wide, tokenizer, monkeypatch
) -> None:
    monkeypatch.setattr(Scorer, "loglikelihoods", no_forward)
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(UserError, match=r"wmt14_fr_en needs sacrebleu.*pip install 'fourhorn\[eval\]'"):
        evaluate(wide, tokenizer, tasks=["winograd", "wmt14_fr_en"])
    with pytest.raises(AssertionError):  # tasks without it go ahead
        evaluate(wide, tokenizer, tasks=["winograd"])


@pytest.mark.parametrize(
    ("option", "value"), [("limit", 0), ("limit", -3), ("strides", []), ("strides", [512, 0])]
)
def test_an_option_out_of_range_is_refused(wide, tokenizer, option: str, value: object) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=f"{option} (is|are) .*1"):
        evaluate(wide, tokenizer, tasks=["winograd"], **{option: value})


def test_an_unknown_task_names_the_nearest(wide, tokenizer) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match="Did you mean 'lambada'"):
        evaluate(wide, tokenizer, tasks=["lambda"])


def test_comparison_is_paired_and_needs_the_same_data(wide, tokenizer, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    options = {"tasks": ["winograd", "coqa", "cnn_dailymail", "wmt14_en_fr"], "limit": 3}
    evaluate(wide, tokenizer, destination=tmp_path / "a", **options)
    evaluate(wide, tokenizer, destination=tmp_path / "b", **options)
    rows = compare(tmp_path / "a", tmp_path / "b")
    assert {row.task for row in rows} == set(options["tasks"])  # type: ignore[call-overload]
    assert all((row.difference, row.low, row.high, row.clear) == (0.0, 0.0, 0.0, False) for row in rows)
    value = json.loads((tmp_path / "b" / "coqa.json").read_text())
    (tmp_path / "b" / "coqa.json").write_text(json.dumps({**value, "data_sha256": "0"}))
    with pytest.raises(UserError, match="coqa was scored on different data"):
        compare(tmp_path / "a", tmp_path / "b")


def test_a_paired_difference_is_clear_where_the_items_say_so(tmp_path: Path) -> None:
    for name, right in (("a", [0, 0, 0, 1] * 25), ("b", [0, 1, 0, 1] * 25)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "winograd.json").write_text('{"data_sha256": "x"}')
        lines = [json.dumps({"id": str(i), "correct": bool(flag)}) for i, flag in enumerate(right)]
        (folder / "winograd.items.jsonl").write_text("\n".join(lines))
    (row,) = compare(tmp_path / "a", tmp_path / "b")
    assert (row.a, row.b, row.difference, row.only_a, row.only_b) == (0.25, 0.5, 0.25, 0, 25)
    assert row.clear
    assert row.low == pytest.approx(0.17, abs=0.03)


KILLED_PROGRAM = """
import sys
sys.path[:0] = {path!r}
from tests.evaluation.conftest import WordTokenizer
import torch
from fourhorn.evaluation.run import evaluate
from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
torch.set_num_threads(1)
torch.manual_seed(7)
model = GPT2(GPT2Config(n_layer=2, n_head=2, n_embd=16, n_ctx=512, n_vocab=300))
print("ready", flush=True)
evaluate(model, WordTokenizer(), tasks=["winograd", "natural_questions"], limit=24,
    destination={folder!r}, batch_size=2)
"""


@pytest.mark.parametrize("seconds", [0.2])
def test_a_killed_process_goes_on_and_ends_in_the_same_files(tmp_path: Path, seconds: float) -> None:
    path = [str(Path(__file__).parent), str(POCKET.parents[2])]

    def start(folder: str) -> subprocess.Popen[str]:
        program = KILLED_PROGRAM.format(path=path, folder=str(tmp_path / folder))
        return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)

    whole = start("whole")
    assert whole.wait() == 0
    process = start("killed")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start("killed").wait() == 0
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
