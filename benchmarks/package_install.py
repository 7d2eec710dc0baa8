"""What does fourhorn's core bring beside PyTorch: distributions, megabytes, and time to start?

    python benchmarks/package_install.py FOLDER [--wheel dist/fourhorn-….whl]

With --wheel a fresh environment is made in FOLDER: torch first, then the wheel without extras. Without it FOLDER is
such an environment. Sizes are those of installed files without compiled bytecode; what torch needs by itself is
torch's. Times are medians of 15 fresh processes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from table import write_table

INVENTORY = """
import importlib.metadata as m, json, re
def key(name): return re.sub(r"[-_.]+", "-", name).lower()
rows = {}
for d in m.distributions():
    files = [f for f in d.files or [] if f.suffix != ".pyc"]
    needs = [key(re.match(r"[\\w.-]+", r)[0]) for r in d.requires or [] if "extra ==" not in r]
    n_bytes = sum(path.stat().st_size for f in files if (path := f.locate()).is_file())
    rows[key(d.metadata["Name"])] = (d.version, n_bytes, needs)
print(json.dumps(rows))
"""
INSTALLERS = {"pip", "setuptools", "wheel"}
COMPILER = {"numba", "llvmlite"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wheel", type=Path)
    parser.add_argument("--torch", default="torch==2.13.0")
    arguments = parser.parse_args()
    python = arguments.folder / "bin" / "python"
    if arguments.wheel:
        subprocess.run([sys.executable, "-m", "venv", arguments.folder], check=True)
        for what in (arguments.torch, str(arguments.wheel)):
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", what], check=True)
    found = json.loads(
        subprocess.run([python, "-c", INVENTORY], capture_output=True, text=True, check=True).stdout
    )
    torchs = needed_by("torch", found)
    ours = {name: row for name, row in found.items() if name not in torchs | INSTALLERS}
    others = sorted(set(ours) - COMPILER - {"fourhorn"}, key=lambda name: -ours[name][1])
    rows = [
        ["torch and what it needs", len(torchs & set(found)), megabytes(found, torchs), ""],
        ["fourhorn itself", 1, megabytes(ours, {"fourhorn"}), ours["fourhorn"][0]],
        ["Numba and LLVM", len(COMPILER), megabytes(ours, COMPILER), names(ours, sorted(COMPILER))],
        ["everything else of the core", len(others), megabytes(ours, others), names(ours, others)],
    ]
    rows += [[f"… of which {name}", 1, megabytes(ours, {name}), ours[name][0]] for name in others[:3]]
    lines = (["-c", "pass"], ["-c", "import fourhorn"], ["-m", "fourhorn.cli.app", "--help"])
    notes = [f"- `python {' '.join(line)}`: {seconds([python, *line])}" for line in lines]
    write_table(
        __file__,
        "The core's installation",
        ["what", "distributions", "MB", "versions"],
        rows,
        notes,
    )


def needed_by(name: str, found: dict[str, list]) -> set[str]:
    """A distribution and all that it requires, as far as installed."""
    todo, seen = [name], set()
    while todo:
        one = todo.pop()
        if one in found and one not in seen:
            seen.add(one)
            todo += found[one][2]
    return seen


def megabytes(found: dict[str, list], chosen) -> str:
    """Megabytes of some distributions together."""
    return f"{sum(found[name][1] for name in chosen if name in found) / 1e6:.0f}"


def names(found: dict[str, list], chosen) -> str:
    """Names with versions."""
    return ", ".join(f"{name} {found[name][0]}" for name in chosen)


def seconds(command: list) -> str:
    """Median and range of 15 runs."""
    times = []
    for _ in range(16):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", env={})
        times.append(time.perf_counter() - started)
    times = times[1:]  # the first compiles bytecode
    return f"{statistics.median(times) * 1e3:.0f} ms ({min(times) * 1e3:.0f} to {max(times) * 1e3:.0f})"


if __name__ == "__main__":
    main()
