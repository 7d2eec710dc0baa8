"""Stages run in order, go on where they stopped, and refuse what would mix two runs."""

from pathlib import Path

import pytest

import fourhorn.reproduce.reproduce as module
from fourhorn.errors import UserError
from fourhorn.reproduce.ladder import scale_named
from fourhorn.reproduce.reproduce import discard, locked, reproduce
from fourhorn.reproduce.stages import Stage, Workspace, make_models


def made(name: str, log: list[str]) -> Stage:
    def run(w: Workspace) -> str:
        log.append(name)
        (w / name).mkdir(parents=True, exist_ok=True)
        return f"made {name}"

    return Stage(name, "§0", f"makes {name}", run, (name,), 1)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    called: list[str] = []
    monkeypatch.setattr(module, "STAGES", tuple(made(name, called) for name in ("links", "crawl", "clean")))
    return called


def test_all_stages_run_in_order(tmp_path: Path, log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(tmp_path, scale="smoke") == tmp_path / "clean"
    assert log == ["links", "crawl", "clean"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("[ 1/3] §0     links      makes links")
    assert "made links" in lines[1]


def test_to_stops_after_a_stage(tmp_path: Path, log: list[str]) -> None:
    reproduce(tmp_path, scale="smoke", last="crawl")
    assert log == ["links", "crawl"]


def test_from_runs_a_stage_and_all_after_it_afresh(tmp_path: Path, log: list[str]) -> None:
    reproduce(tmp_path, scale="smoke")
    (tmp_path / "crawl" / "old").touch()
    (tmp_path / "links" / "old").touch()
    reproduce(tmp_path, scale="smoke", first="crawl")
    assert (tmp_path / "links" / "old").exists()
    assert not (tmp_path / "crawl" / "old").exists()


def test_from_needs_the_earlier_stages(tmp_path: Path, log: list[str]) -> None:
    with pytest.raises(UserError, match="Stage links is not finished"):
        reproduce(tmp_path, scale="smoke", first="clean")


def test_unknown_stage_and_wrong_order_are_named(tmp_path: Path, log: list[str]) -> None:
    with pytest.raises(UserError, match="There is no stage 'crwal'. Did you mean 'crawl'"):
        reproduce(tmp_path, scale="smoke", last="crwal")
    with pytest.raises(UserError, match="Stage clean comes after links"):
        reproduce(tmp_path, scale="smoke", first="clean", last="links")


def test_a_workspace_of_another_scale_is_refused(tmp_path: Path, log: list[str]) -> None:
    reproduce(tmp_path, scale="smoke")
    with pytest.raises(UserError, match="was begun with .*smoke.*, not with .*pocket"):
        reproduce(tmp_path, scale="pocket")


def test_two_runs_in_one_workspace_are_refused(tmp_path: Path, log: list[str]) -> None:
    with locked(tmp_path), pytest.raises(UserError, match="Another fourhorn is at work"):
        reproduce(tmp_path, scale="smoke")


def test_a_data_folder_that_is_none_is_named(tmp_path: Path, log: list[str]) -> None:
    with pytest.raises(UserError, match="is no folder"):
        reproduce(tmp_path, scale="smoke", data=tmp_path / "nothing")


def test_discard_keeps_what_is_not_a_stages(tmp_path: Path, log: list[str]) -> None:
    reproduce(tmp_path, scale="smoke")
    (tmp_path / "notes.txt").write_text("mine")
    discard(Workspace(tmp_path, scale_named("smoke"), None), 0)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != ".lock") == ["notes.txt", "reproduce.json"]


def test_a_training_that_is_asked_to_stop_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fourhorn.training.loop.train", lambda *a, **k: {"stopped": "asked", "val_loss": None}
    )
    with pytest.raises(KeyboardInterrupt):
        make_models(Workspace(tmp_path, scale_named("smoke"), None))


def test_missing_extras_are_told_before_the_first_stage(
    tmp_path: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.LIBRARY_OF_EXTRA, "eval", "no_such_library")
    monkeypatch.setitem(module.LIBRARY_OF_EXTRA, "report", "no_such_library")
    with pytest.raises(UserError, match=r"pip install 'fourhorn\[eval,report\]'"):
        reproduce(tmp_path / "x")
    assert log == []
    assert not (tmp_path / "x").exists()
