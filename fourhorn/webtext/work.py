"""The hidden folder where links and crawl keep unfinished work: named by what is being done, gone when it is done.

`.work-<digest>` stands inside the destination; the digest is of options and inputs, so a run with the same ones
goes on there, and one with others starts afresh. A folder that has one and no manifest is not finished, and no
stage may read it.
"""

import shutil
from pathlib import Path
from typing import Any

import orjson

from fourhorn.errors import UserError
from fourhorn.files import sha256_bytes

_PREFIX = ".work-"


def open_work(destination: Path, options: dict[str, Any], inputs: dict[str, str]) -> Path:
    """The work folder for these options and inputs, with what an earlier run left in it; others are removed."""
    digest = sha256_bytes(orjson.dumps([options, inputs], option=orjson.OPT_SORT_KEYS))[:16]
    work = destination / f"{_PREFIX}{digest}"
    clear_work(destination, keep=work)
    work.mkdir(parents=True, exist_ok=True)
    return work


def clear_work(destination: Path, keep: Path | None = None) -> None:
    """Remove work folders, and files that a killed run was about to rename."""
    for folder in destination.glob(f"{_PREFIX}*"):
        if folder != keep:
            shutil.rmtree(folder)
    for leftover in destination.glob(".*.tmp"):
        leftover.unlink()


def check_finished(source: Path) -> None:
    """Raise a `UserError` when a stage is still to finish its work in `source`."""
    if not (source / "manifest.json").exists() and any(source.glob(f"{_PREFIX}*")):
        raise UserError(
            f"{source} is not finished. Run the stage that writes it again; it goes on where it stopped."
        )
