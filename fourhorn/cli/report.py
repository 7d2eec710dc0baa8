"""The command `fourhorn report`: every table and figure of the paper beside the numbers of one or several runs."""

from pathlib import Path


def report(roots: list[Path], /, *, destination: Path | None = None) -> None:
    """Build `index.html` and `report.md` from the manifests and results of one or several runs.

    Args:
        roots: workspace folders, as `fourhorn reproduce` makes them; several stand side by side.
        destination: folder for the two files; default `report` in the first workspace.
    """
    from fourhorn.report.page import report as build

    built = build([str(root) for root in roots], destination or roots[0] / "report")
    gaps = built["n_gaps"]
    print(
        f"Wrote {built['html']} and {built['markdown']}; {gaps} files missing or damaged, named at the end."
    )
    print(f"Next: open {built['html']} in a browser.")
