"""One workspace of the whole paper at smoke scale, shared by the tests that look at a finished run."""

import os
from pathlib import Path

import pytest
from filelock import FileLock


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `fourhorn reproduce --scale smoke` leaves behind; do not write into it."""
    from fourhorn.reproduce.reproduce import reproduce

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "paper"  # one for all workers
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            reproduce(folder / "reproduction", scale="smoke")
            (folder / "done").touch()
    return folder / "reproduction"
