"""`fourhorn evaluate`, `compare` and `data`: results, the paper beside them, mistakes in one sentence."""

import json
from pathlib import Path

import pytest
import torch

from fourhorn.checkpoints.native import save
from fourhorn.cli.app import run
from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model whose tokens are bytes."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer.train(["the cat sat on the mat and the dog ran off"], n_vocab=260)
    torch.manual_seed(1)
    config = GPT2Config(n_layer=1, n_head=1, n_embd=8, n_ctx=512, n_vocab=tokenizer.n_vocab)
    save(GPT2(config), tokenizer, folder / "tiny")
    return folder / "tiny"


def test_evaluate_prints_results_beside_the_papers(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", str(checkpoint), str(tmp_path / "a"), "--tasks", "winograd", "--tasks", "ptb"]
    arguments += ["--limit", "6"]
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    assert "winograd (§3.4, pocket set, written for this project, pocket, n = 6)" in shown
    assert "| Winograd, partial | 61.54 | 70.7 |" in shown
    assert "missing: ptb: no file of Penn Treebank" in shown
    assert f"Next: fourhorn compare {tmp_path / 'a'}" in shown
    assert json.loads((tmp_path / "a" / "winograd.json").read_text())["n"] == 6
    assert run([*arguments[:2], str(tmp_path / "b"), *arguments[3:]]) == 0
    assert (
        run(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json-file", str(tmp_path / "d.json")])
        == 0
    )
    assert "| winograd | accuracy |" in capsys.readouterr().out
    assert json.loads((tmp_path / "d.json").read_text())[0]["difference"] == 0.0


def test_data_list_and_check_say_what_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "list"]) == 0
    assert "NQ-open.dev.jsonl: 3,610 questions, 391,316 bytes, sha256 f15567f3" in capsys.readouterr().out
    (tmp_path / "WSCollection.xml").write_text("<collection></collection>")
    assert run(["data", "check", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "winograd: other: 0 schemata" in shown
    assert "0 schemata, expected 285" in shown
    assert "lambada: missing (lambada_test.jsonl)" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nowhere", "--tasks", "lambda"], "Did you mean 'lambada'"),
        (["data", "check", "nowhere"], "nowhere is no folder"),
        (["data", "fetch", "coqua"], "Did you mean 'coqa'"),
        (["compare", "nowhere", "nowhere"], "nowhere is no folder of results"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


def test_a_wrong_official_file_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "WSCollection.xml").write_text("<collection></collection>")
    arguments = [
        "evaluate",
        str(checkpoint),
        str(tmp_path / "r"),
        "--tasks",
        "winograd",
        "--data",
        str(tmp_path),
    ]
    assert run(arguments) == 2
    assert "0 schemata, expected 285" in capsys.readouterr().err
