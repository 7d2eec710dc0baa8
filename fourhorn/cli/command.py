"""A stage function as a command: the same name, options and help, plus a last line that says what to do next.

    links = command("fourhorn.webtext.links:links", next_command="fourhorn webtext crawl {destination} pages")

The stage's own signature and docstring are the command's, so each option is written once, where it is used.
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

from fourhorn.files import Manifest


def command(path: str, *, next_command: str = "") -> Callable[..., Any]:
    """The function at `module:name`, printing what it wrote and `next_command` filled with its arguments."""
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        result = function(*args, **kwargs)
        arguments = inspect.signature(function).bind(*args, **kwargs)
        arguments.apply_defaults()
        if isinstance(result, Manifest):
            print(summary(result, arguments.arguments.get("destination", "")))
        if next_command:
            print(f"Next: {next_command.format(**arguments.arguments)}", file=sys.stdout)

    return run


def summary(manifest: Manifest, destination: Any) -> str:
    """What a stage wrote, in one line: items kept, dropped by reason, where."""
    dropped = sum(manifest.drops.values())
    most = sorted(manifest.drops.items(), key=lambda item: -item[1])[:4]
    reasons = f" ({', '.join(f'{reason} {n:,}' for reason, n in most)})" if most else ""
    drops = f", {dropped:,} dropped{reasons}" if dropped else ""
    return f"{manifest.stage}: {manifest.n_kept:,} of {manifest.n_in:,} kept{drops} → {destination}"
