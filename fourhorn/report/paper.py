"""The paper's own numbers, as `paper.json` holds them.

Sizes are called what the paper calls them (117M … 1542M); `n_params` gives the counts that the released models have.
Percentages are in percent. Nothing here is measured by fourhorn.
"""

import functools
import json
from importlib.resources import files
from typing import Any


@functools.cache
def paper() -> dict[str, Any]:
    """The whole of `paper.json`."""
    value: dict[str, Any] = json.loads((files("fourhorn.report") / "paper.json").read_text(encoding="utf-8"))
    return value


def sizes() -> list[str]:
    """The paper's four sizes, smallest first."""
    return list(paper()["sizes"])


def n_params(size: str) -> int:
    """How many weights the released model of a size has."""
    return int(paper()["sizes_today"][size]["n_params"])
