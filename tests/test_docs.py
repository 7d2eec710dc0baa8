"""README and documentation are true: links lead somewhere, and every block of code and every command runs.

Python and bash blocks run in order. The commands of console blocks run, too, on a finished workspace; those of
`NOT_RUN` are only held to the options and types that the command really has, for the reason given there.
"""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fourhorn.cli.app import COMMANDS, build, run

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PREAMBLE = "from pathlib import Path; folder = Path('.')"  # what pages call the folder they work in
NAMED_IN_FILE = re.compile(r"((?:`\w+`(?:, | and )?)+)(?: of| in) \[`[^`]+`\]\(\.\./([^)#]+)\)")
NAMES = {name for rows in COMMANDS.values() for name, _, _ in rows}

# What pages call a folder, and what stands for it in the workspace.
STANDS_FOR = {
    "runs/pocket": "runs/pocket-1542M",
    "runs/124M": "runs/pocket-117M",
    "runs/mine": "runs/pocket-117M",
    "samples/124M": "samples/pocket-1542M",
    "results/124M": "results/pocket-117M",
    "results/355M": "results/pocket-345M",
    "results/pocket": "results/pocket-1542M",
    "gpt2": "tokenizer",
    "other": "tokenizer",
}
# Commands that are held to their options only, and why.
NOT_RUN = {
    r"(git|pip|make|torchrun) ": "sets up a machine, or needs several devices",
    r"source ": "changes the shell that reads it; tests/cli/test_completion.py",
    r"fourhorn (download|data fetch) ": "fetches from the public network; tests/checkpoints, tests/evaluation serve it",
    r"fourhorn serve ": "runs until it is stopped; tests/serving",
    r"fourhorn reproduce ": "takes minutes; tests/test_pipeline.py",
    r"fourhorn train .*": "takes hours at its size; tests/training, runs/",
    r"fourhorn finetune ": "takes minutes; tests/training, examples/05_finetune.py",
    r"fourhorn .*--interactive": "asks a person",
    r"fourhorn .*--n-samples 1000": "takes minutes; tests/sampling",
    r"fourhorn (evaluate|data check) .*(official|data/)": "needs the official sets; tests/evaluation",
    r"fourhorn convert (gpt2-finetuned/|ckpt.pt) ": "needs a reader's own weights; tests/checkpoints",
    r"fourhorn overlap .*data/wiki": "needs WikiText; tests/memorization",
    r"fourhorn report a b ": "needs two workspaces; tests/report",
    r"fourhorn tokenizer (compare|train|decode) ": "needs a reader's own texts and vocabulary; tests/tokenizer",
}


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for language, text in BLOCK.findall(page.read_text()):
        if language in languages:
            yield text


def commands(page: Path) -> Iterator[list[str]]:
    """The commands of a page's console blocks, as words; where a block has `$`, other lines are output."""
    for block in blocks(page, "console"):
        lines = block.replace("\\\n", " ").splitlines()
        if any(line.startswith("$ ") for line in lines):
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        for line in lines:
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words:
                yield words


def reason(words: list[str]) -> str | None:
    """Why a command is not run, if it is not."""
    line = " ".join(words) + " "
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, line)), None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


def test_what_the_paper_page_names_is_in_the_file_that_it_names() -> None:
    found = NAMED_IN_FILE.findall((ROOT / "docs" / "paper.md").read_text())
    assert len(found) > 60
    for names, file in found:
        text = (ROOT / file).read_text()
        for name in re.findall(r"\w+", names.replace(" and ", " ")):
            assert re.search(
                rf"\b(def|class) {name}\b|^\s*{name}(: [^=]+)? =|^    {name}: ", text, re.MULTILINE
            ), (name, file)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_has_the_options_that_are_shown(page: Path) -> None:
    for block in blocks(page, "bash", "text"):
        for words in re.findall(r"^(?:\$ )?fourhorn +([a-z]+)(?: +([a-z]+))?", block, re.MULTILINE):
            assert words[0] in NAMES or " ".join(words) in NAMES, words
    for words in commands(page):
        if words[0] == "torchrun":
            words = ["fourhorn", *words[words.index("fourhorn.cli.app") + 1 :]]
        if words[0] == "fourhorn" and "|" not in words:
            build().parse_args(words[1:], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_code_runs(page: Path, workspace: Path, tmp_path: Path) -> None:
    """A page's Python and shell blocks run in order, in one folder that holds a finished workspace."""
    code = list(blocks(page, "python", "bash"))
    if not code:
        return
    copy_workspace(workspace, tmp_path)
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    python = "\n".join([PREAMBLE, *blocks(page, "python")])  # later blocks use what earlier ones made
    for command in (["bash", "-euo", "pipefail", "-c", b] for b in blocks(page, "bash")):
        run_block(command, tmp_path, environment)
    run_block([sys.executable, "-c", python], tmp_path, environment)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_runs(
    page: Path, workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [words for words in commands(page) if not reason(words)]
    if not chosen:
        return
    copy_workspace(workspace, tmp_path)
    for name, target in STANDS_FOR.items():
        if not (tmp_path / name).exists():
            (tmp_path / name).symlink_to(tmp_path / target)
    with contextlib.chdir(tmp_path):
        for words in chosen:
            assert words[0] == "fourhorn", f"{words[0]}: neither run nor in NOT_RUN"
            assert run(words[1:]) == 0, f"{words}\n{capsys.readouterr().err}"


def test_every_reason_for_not_running_is_used() -> None:
    used = {reason(words) for page in PAGES for words in commands(page)}
    assert set(NOT_RUN.values()) <= used


def copy_workspace(workspace: Path, folder: Path) -> None:
    """A finished workspace of one's own, without what is large and not read."""
    for path in workspace.iterdir():
        if path.name not in {"web", "stats", ".lock"}:
            (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / path.name)


def run_block(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Run one block; its output is shown when it fails."""
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, f"{command[-1]}\n{result.stdout}\n{result.stderr}"
