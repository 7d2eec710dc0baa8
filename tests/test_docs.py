"""The documentation is true: links lead somewhere, commands exist, and every block of code runs."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fourhorn.cli.app import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PREAMBLE = "from pathlib import Path; folder = Path('.')"  # what pages call the folder they work in
NAMES = {name for rows in COMMANDS.values() for name, _, _ in rows}


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for language, text in BLOCK.findall(page.read_text()):
        if language in languages:
            yield text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_named_exists(page: Path) -> None:
    for block in blocks(page, "bash", "console"):
        for words in re.findall(r"^(?:\$ )?fourhorn +([a-z]+)(?: +([a-z]+))?", block, re.MULTILINE):
            one, two = words
            assert one in NAMES or f"{one} {two}" in NAMES, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_code_runs(page: Path, workspace: Path, tmp_path: Path) -> None:
    """A page's Python and shell blocks run in order, in one folder that holds a finished workspace."""
    code = list(blocks(page, "python", "bash"))
    if not code:
        return
    for path in workspace.iterdir():
        if path.name not in {"web", ".lock"}:
            (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    python = "\n".join([PREAMBLE, *blocks(page, "python")])  # later blocks use what earlier ones made
    for command in (["bash", "-euo", "pipefail", "-c", b] for b in blocks(page, "bash")):
        run(command, tmp_path, environment)
    run([sys.executable, "-c", python], tmp_path, environment)


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Run one block; its output is shown when it fails."""
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, f"{command[-1]}\n{result.stdout}\n{result.stderr}"
