"""`fourhorn completion`: what a shell needs to complete commands, options and their values with the Tab key.

The script is printed, not installed: a person's start-up files are theirs to change.
"""

import importlib
import re
from typing import Literal

from fourhorn.cli.app import COMMANDS, EXTRAS, build


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the completion script of a shell; it knows the commands whose extras are installed.

    bash: source <(fourhorn completion bash) in ~/.bashrc
    zsh: source <(fourhorn completion zsh) in ~/.zshrc, after compinit
    fish: fourhorn completion fish | source in ~/.config/fish/config.fish

    Args:
        shell: The shell that completes.
    """
    rows = {title: [row for row in rows if is_installed(row[1])] for title, rows in COMMANDS.items()}
    script = build(commands=rows).generate_completion(prog_name="fourhorn", shell=shell)
    function = re.search(r"^(\w+)\(\)", script, re.MULTILINE)
    if shell == "zsh" and function:
        script += f"\ncompdef {function[1]} fourhorn"
    print(script)


def is_installed(target: str) -> bool:
    """Whether a command's own module loads with the extras that are here."""
    module, _, name = target.partition(":")
    try:
        getattr(importlib.import_module(f"fourhorn.cli.{module}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in EXTRAS:
            return False
        raise
    return True
