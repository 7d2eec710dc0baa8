"""Completion scripts: commands, options and choices, as a shell itself completes them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fourhorn.cli import completion as module
from fourhorn.cli.app import run

BASH = """
source "$1"
COMP_WORDS=(fourhorn "${@:2}"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_fourhorn fourhorn "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
echo "${COMPREPLY[@]}"
"""


@pytest.fixture
def scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    for shell in ("bash", "zsh", "fish"):
        assert run(["completion", shell]) == 0
        (tmp_path / shell).write_text(capsys.readouterr().out)
    return tmp_path


def test_bash_completes_commands_options_and_choices(scripts: Path) -> None:
    for words, expected in [
        (["tr"], "train"),
        (["webtext", "cr"], "crawl"),
        (["webtext", "crawl", "--cont"], "--contact"),
        (["convert", "a", "b", "--to", "gg"], "gguf"),
    ]:
        command = ["bash", "-c", BASH, "bash", str(scripts / "bash"), *words]
        assert subprocess.run(command, capture_output=True, text=True).stdout.split() == [expected]


def test_zsh_and_fish_scripts_are_whole(scripts: Path) -> None:
    assert re.search(r"^compdef (\w+) fourhorn$", (scripts / "zsh").read_text(), re.MULTILINE)
    assert "complete -c fourhorn" in (scripts / "fish").read_text()
    for shell in ("zsh", "fish"):
        if shutil.which(shell):
            assert subprocess.run([shell, "-n", str(scripts / shell)]).returncode == 0


def test_commands_without_their_extra_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fourhorn.webtext.fetch", raising=False)
    monkeypatch.delitem(sys.modules, "fourhorn.webtext.crawl", raising=False)
    monkeypatch.delitem(sys.modules, "fourhorn.webtext.crawler", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert not module.is_installed("webtext:crawl")
    assert module.is_installed("training:doctor")
