"""Where a benchmark's figures go: a Markdown table on the screen and in results/, with hardware, date and versions."""

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path


def write_table(
    script: str, title: str, head: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str] = ()
) -> None:
    """Print the table and write it to results/<script's name>.md."""
    lines = [f"# {title}", "", f"{machine()}; {datetime.date.today()}.", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(value) for value in row) + " |" for row in rows]
    lines += ["", *notes] if notes else []
    text = "\n".join(lines) + "\n"
    print(text)
    path = Path(script).resolve()
    (path.parent / "results").mkdir(exist_ok=True)
    (path.parent / "results" / f"{path.stem}.md").write_text(text)


def kept_rows(script: str) -> list[list[str]]:
    """The rows that results/<script's name>.md holds, for a benchmark that is run in parts."""
    path = Path(script).resolve()
    path = path.parent / "results" / f"{path.stem}.md"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [row for row in rows[1:] if set(row[0]) != {"-"}]


def machine() -> str:
    """Processor, usable cores, Python."""
    name = platform.processor() or "processor unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.split(":", 1)[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        name = models[0] if models else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores, Python {platform.python_version()}"
