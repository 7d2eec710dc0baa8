"""One workspace of the whole paper at smoke scale, shared by the tests that look at a finished run."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `fourhorn reproduce --scale smoke` leaves behind; do not write into it."""
    from fourhorn.reproduce.reproduce import reproduce

    root = tmp_path_factory.mktemp("paper") / "reproduction"
    reproduce(root, scale="smoke")
    return root
