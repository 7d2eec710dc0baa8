"""`fourhorn reproduce`: the whole paper in one command."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def reproduce(
    destination: Path = Path("reproduction"),
    /,
    *,
    scale: str = "pocket",
    first: Annotated[str, Parameter(name="--from")] = "",
    last: Annotated[str, Parameter(name="--to")] = "",
    data: Path | None = None,
) -> None:
    """Run every stage of the paper, in order, at pocket scale; run it again to go on where it stopped.

    Args:
        destination: Workspace folder.
        scale: smoke (a minute), pocket (about 12 minutes on 2 cores) or desk (hours).
        first: Stage to run afresh, with all after it. Stages: web dump links crawl extract clean dedup split
            tokenizer tokens train samples evaluate overlap report.
        last: Stage to stop after.
        data: Folder with official evaluation sets to use instead of the pocket ones (see: fourhorn data list).
    """
    from fourhorn.reproduce.reproduce import reproduce

    result = reproduce(destination, scale=scale, first=first, last=last, data=data)
    print(f"Wrote {result / 'index.html' if (result / 'index.html').exists() else result}")
    if not last:
        print(
            f"Next: open {result / 'index.html'} in a browser; then fourhorn sample {destination}/runs/pocket-1542M"
        )
