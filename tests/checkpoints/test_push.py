"""Pushing: the card says what the run noted, and the Hub gets a folder that loads."""

import json
import sys

import pytest

from fourhorn.checkpoints import native
from fourhorn.checkpoints.load import load
from fourhorn.checkpoints.push import push
from fourhorn.cli.app import run as run_command
from fourhorn.errors import UserError

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def run(checkpoint, tmp_path):
    native.write(checkpoint, tmp_path / "run" / "checkpoint")
    (tmp_path / "run" / "options.json").write_text(json.dumps({"max_steps": 1200, "learning_rate": 6e-4}))
    (tmp_path / "run" / "summary.json").write_text(json.dumps({"n_tokens": 1234567, "val_loss": 3.21987}))
    metrics = {"accuracy": {"value": 0.4567, "low": 0.44, "high": 0.47}}
    (tmp_path / "results").mkdir()
    result = {"task": "lambada", "metrics": metrics, "n": 5153, "scale": "official"}
    (tmp_path / "results" / "lambada.json").write_text(json.dumps(result))
    return tmp_path / "run"


def test_a_dry_run_writes_an_export_with_a_card(run, tmp_path):
    where = push(run, "ada/unicorn", results=tmp_path / "results", data="Talks.", dry_run=tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert where == str(tmp_path / "out")
    assert text.startswith("---\nlicense: mit\nlibrary_name: transformers\n")
    for line in (
        "# unicorn",
        "Talks.",
        "| steps | 1,200 |",
        "| learning rate | 0.0006 |",
        "| tokens seen | 1,234,567 |",
        "| validation loss (nats/token) | 3.22 |",
        "| lambada | accuracy | 0.4567 (0.44 to 0.47) | 5,153 | official |",
    ):
        assert f"\n{line}\n" in text, line
    assert "clearly marked" in text.replace("\n", " ")
    load(tmp_path / "out")


def test_the_hub_gets_the_folder(run, monkeypatch):
    calls = []

    class Hub:
        def create_repo(self, repository, *, private, exist_ok):
            calls.append((repository, private, exist_ok))

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            calls.append((repo_id, load(folder_path)[0].config.n_embd))

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert push(run, "ada/unicorn", private=True) == "https://huggingface.co/ada/unicorn"
    assert calls == [("ada/unicorn", True, True), ("ada/unicorn", 64)]


def test_a_refusal_by_the_hub_is_one_sentence(run, monkeypatch):
    class Hub:
        def create_repo(self, *arguments, **options):
            raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    with pytest.raises(UserError, match="could not be reached: no route"):
        push(run, "ada/unicorn")


@pytest.mark.parametrize("name", ["unicorn", "a/b/c", "/b", "a/"])
def test_a_repository_needs_an_owner_and_a_name(run, name):
    with pytest.raises(UserError, match="OWNER/NAME"):
        push(run, name)


def test_without_the_hubs_library_its_extra_is_named(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert run_command(["push", str(run), "ada/unicorn"]) == 2
    assert "pip install 'fourhorn[interop]'" in capsys.readouterr().err
