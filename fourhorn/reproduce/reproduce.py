"""The whole paper in one command: every stage in order, going on where it stopped.

A workspace is one folder with the layout of all fourhorn runs (`links/ pages/ raw/ … report/`). Each stage is the
same function that its own command runs on real data; a finished one returns at once, a killed one goes on. Nothing
here computes anything: `stages` says what runs, this says in which order and shows it.
"""

import contextlib
import importlib.util
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fourhorn.errors import UserError, unknown
from fourhorn.files import read_json, write_json
from fourhorn.progress import duration
from fourhorn.reproduce.ladder import scale_named
from fourhorn.reproduce.stages import STAGES, Stage, Workspace

# One library of each extra that some stage needs, so that the last stage does not fail for want of it.
LIBRARY_OF_EXTRA = {"webtext": "trafilatura", "eval": "sacrebleu", "report": "matplotlib"}


def reproduce(
    destination: Path, *, scale: str = "pocket", first: str = "", last: str = "", data: Path | None = None
) -> Path:
    """Run the stages of the paper in `destination`; the path of the report, or of the last stage's folder.

    Args:
        destination: Workspace folder; a run that was stopped there goes on.
        scale: smoke (a minute), pocket (10 to 15 minutes on 2 cores) or desk (hours).
        first: Stage to run afresh, with all after it; earlier ones must be finished.
        last: Stage to stop after.
        data: Folder with official evaluation sets to use instead of the pocket ones.
    """
    names = [stage.name for stage in STAGES]
    for name in filter(None, (first, last)):
        if name not in names:
            raise unknown("stage", name, names)
    if first and last and names.index(first) > names.index(last):
        raise UserError(
            f"Stage {first} comes after {last}; give --from and --to in order: {', '.join(names)}."
        )
    if data is not None and not data.is_dir():
        raise UserError(f"{data} is no folder. Give the folder of official sets, see: fourhorn data list.")
    if not last:
        check_extras()
    workspace = Workspace(Path(destination), scale_named(scale), data)
    with locked(workspace.root):
        remember(workspace)
        if first:
            discard(workspace, names.index(first))
        chosen = STAGES[: names.index(last) + 1] if last else STAGES
        run(workspace, chosen)
    return workspace.root / chosen[-1].folders[0]


def check_extras() -> None:
    """Refuse to begin a whole run whose later stages lack their libraries."""
    missing = [
        name for name, library in LIBRARY_OF_EXTRA.items() if importlib.util.find_spec(library) is None
    ]
    if missing:
        raise UserError(f"The whole paper needs more libraries: pip install 'fourhorn[{','.join(missing)}]'.")


def run(workspace: Workspace, stages: tuple[Stage, ...]) -> None:
    """Run stages one after another, a line for each, with the time left estimated from what is done."""
    started, share = time.monotonic(), 0.0
    total = sum(stage.share for stage in stages)
    for number, stage in enumerate(stages, start=1):
        since = time.monotonic()
        say(f"[{number:2}/{len(stages)}] {stage.section:<6} {stage.name:<10} {stage.title}")
        summary = stage.run(workspace)
        seconds = time.monotonic() - since
        share += stage.share
        elapsed = time.monotonic() - started
        left = (
            f", about {duration(elapsed / share * (total - share))} left"
            if total > share and elapsed > 5
            else ""
        )
        say(f"        {'':<6} {'':<10} {summary} ({duration(seconds)}{left})")


def say(line: str) -> None:
    """One line for the reader, kept above any live progress bar."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the workspace for this process; a second run in it is refused. The lock dies with the process."""
    import fcntl

    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"Another fourhorn is at work in {root}. Wait for it, or choose another folder."
            ) from None
        yield


def remember(workspace: Workspace) -> None:
    """Keep the run's choices beside it; a later call with others is refused rather than mixed in."""
    path = workspace.root / "reproduce.json"
    options = {"scale": workspace.scale.name, "data": str(workspace.data) if workspace.data else None}
    if path.exists() and (before := read_json(path)) != options:
        raise UserError(
            f"{workspace.root} was begun with {before}, not with {options}. Use those, or choose another folder."
        )
    write_json(path, options)


def discard(workspace: Workspace, position: int) -> None:
    """Remove what stage `position` and all after it have made; earlier stages must be finished."""
    for stage in STAGES[:position]:
        if not all((workspace.root / folder).exists() for folder in stage.folders):
            raise UserError(
                f"Stage {stage.name} is not finished in {workspace.root}; run it first, without --from."
            )
    for stage in STAGES[position:]:
        for folder in stage.folders:
            shutil.rmtree(workspace.root / folder, ignore_errors=True)
