"""The report: `index.html`, one file that needs nothing else, and `report.md` with the same content.

It reads manifests and JSON of one or several workspace roots and writes nothing into them. All text is escaped by the
renderer, in HTML by jinja2's autoescape; the only markup passed through is the SVG drawn here. The page has no script,
and a content security policy that allows none, nor anything from elsewhere.

Raises `UserError` for a root that is no folder.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from fourhorn.errors import UserError
from fourhorn.files import atomic_write, version
from fourhorn.report.markdown import markdown
from fourhorn.report.paper import paper
from fourhorn.report.results import Workspace, read_workspace
from fourhorn.report.sections import sections


def report(roots: Sequence[str | Path], destination: str | Path) -> dict[str, Any]:
    """Build the report of one or several runs, side by side.

    Args:
        roots: workspace folders, as `fourhorn reproduce` makes them.
        destination: folder for `index.html` and `report.md`.

    Returns:
        The paths written, under `html` and `markdown`, and how many gaps there are, under `n_gaps`.
    """
    works = read_all(roots)
    parts = sections(works)
    destination = Path(destination)
    title, lead = heading(works)
    context: dict[str, Any] = {
        "title": title,
        "lead": lead,
        "works": works,
        "sections": parts,
        "version": version(),
    }
    context |= {
        "paper": paper(),
        "pocket": any(work.is_pocket for work in works),
        "css": _resource("page.css"),
    }
    with atomic_write(destination / "index.html", "w") as file:
        file.write(_template().render(context))
    with atomic_write(destination / "report.md", "w") as file:
        file.write(markdown(title, lead, parts, pocket=context["pocket"]))
    n_gaps = sum(len(work.gaps) for work in works)
    return {"html": destination / "index.html", "markdown": destination / "report.md", "n_gaps": n_gaps}


def read_all(roots: Sequence[str | Path]) -> list[Workspace]:
    """The workspaces, each with a label of its own."""
    if not roots:
        raise UserError("No run is given: fourhorn report FOLDER [FOLDER …].")
    works: list[Workspace] = []
    for root in roots:
        work = read_workspace(Path(root))
        same = sum(other.label == work.label or other.label.startswith(f"{work.label} (") for other in works)
        work.label = f"{work.label} ({same + 1})" if same else work.label
        works.append(work)
    return works


def heading(works: Sequence[Workspace]) -> tuple[str, str]:
    """The page's title and the paragraph beneath it."""
    title = "The paper beside this run" if len(works) == 1 else "The paper beside these runs"
    authors = f"{paper()['authors'][0].split()[-1]} et al., {paper()['year']}"
    lead = (
        f"Every table and figure of “{paper()['title']}” ({authors}), in its order: the number printed there beside "
        "the number measured here. Scores carry a 95 % interval; protocol and sample size stand beneath each table. "
        "What was not measured is left empty, and what was missing or damaged is named at the end."
    )
    return title, lead


def _resource(name: str) -> str:
    return (files("fourhorn.report") / name).read_text(encoding="utf-8")


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_resource("page.html.j2"))
