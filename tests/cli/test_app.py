"""The command line: quick help, known commands, mistakes in one sentence and exit code 2."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fourhorn.cli.app import COMMANDS, EXTRAS, MENDABLE, run

ROWS = [row for rows in COMMANDS.values() for row in rows]


def test_help_names_every_command_and_loads_no_torch() -> None:
    code = (
        "import sys; from fourhorn.cli.app import run; run(['--help']);"
        "heavy = {'torch', 'numba', 'numpy', 'pyarrow', 'aiohttp'} & set(sys.modules); assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name, _, _ in ROWS:
        assert name.split()[0] in result.stdout


@pytest.mark.parametrize(("name", "target", "_"), ROWS, ids=[row[0] for row in ROWS])
def test_every_command_exists_and_documents_each_option(
    name: str, target: str, _: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module, _, function = target.partition(":")
    assert callable(getattr(importlib.import_module(f"fourhorn.cli.{module}"), function))
    assert run([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: fourhorn {name}")
    for line in shown.splitlines():
        cells = line.strip("│ ").split()
        if cells and cells[0].startswith("--") and cells[0] not in {"--help", "--version"}:
            assert len(cells) > 1, f"{name} {cells[0]} has no help"


def test_light_commands_import_no_torch() -> None:
    modules = sorted({f"fourhorn.cli.{row[1].partition(':')[0]}" for row in ROWS})
    code = f"import sys, importlib\nfor m in {modules!r}: importlib.import_module(m)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_mistyped_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trian"]) == 2
    assert capsys.readouterr().err.startswith("fourhorn: There is no command 'trian'. Did you mean 'train'?")


def test_a_mistyped_subcommand_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["webtext", "lnks"]) == 2
    assert "Did you mean 'links'?" in capsys.readouterr().err


def test_an_argument_too_many_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "runs/x"]) == 2
    said = capsys.readouterr().err
    assert "'runs/x' is more than this command takes" in said
    assert "See: fourhorn doctor --help" in said


def test_a_mistyped_option_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reproduce", "x", "--scal", "smoke"]) == 2
    assert "Did you mean --scale?" in capsys.readouterr().err


def test_an_unknown_key_in_a_config_file_names_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "options.json"
    path.write_text(json.dumps({"scael": "smoke"}))
    assert run(["reproduce", str(tmp_path / "x"), "--config", str(path)]) == 2
    assert "'scael'. Did you mean 'scale'?" in capsys.readouterr().err


def test_a_flag_goes_before_the_config_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "options.json"
    path.write_text(json.dumps({"scale": "smoke"}))
    assert run(["reproduce", str(tmp_path / "x"), "--config", str(path), "--scale", "wrong"]) == 2
    assert "There is no scale 'wrong'." in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_damaged_config_file_is_named(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "options.json"
    path.write_text(content)
    assert run(["reproduce", "--config", str(path)]) == 2
    assert "options.json" in capsys.readouterr().err


def test_a_system_error_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import fourhorn.cli.app as app

    for number, words in MENDABLE.items():

        def fail(arguments: object, number: int = number) -> None:
            raise OSError(number, "x", "pages/part-00000.warc.gz")

        monkeypatch.setattr(app, "take_config", fail)
        assert app.run(["anything"]) == 2
        assert capsys.readouterr().err == (
            f"fourhorn: pages/part-00000.warc.gz: {words}. Mend that and run the same command again.\n"
        )


def test_a_missing_library_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import fourhorn.cli.app as app

    def fail(arguments: object) -> None:
        raise ModuleNotFoundError("No module named 'fastapi'", name="fastapi")

    monkeypatch.setattr(app, "take_config", fail)
    assert app.run(["serve"]) == 2
    assert "pip install 'fourhorn[serve]'" in capsys.readouterr().err
    assert set(EXTRAS.values()) <= {"webtext", "eval", "serve", "report", "interop", "track", "ray"}
