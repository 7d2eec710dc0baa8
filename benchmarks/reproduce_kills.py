"""Kill `fourhorn reproduce` with SIGKILL in every stage, start it again, and compare with an unbroken run.

    python benchmarks/reproduce_kills.py [--scale smoke] [--folder /tmp/kills]

In each stage the process is killed at a random moment after the stage's line appears, then started again. At the end
the dataset, the tokenizer and the tokens must have the bytes of a run that was never killed.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from table import write_table

from fourhorn.files import sha256_file
from fourhorn.reproduce.stages import STAGES


def hashes(root: Path) -> dict[str, str]:
    """Every shard of the dataset, the tokenizer and the tokens."""
    found = {}
    for name in ("webtext", "tokenizer", "tokens"):
        for path in sorted((root / name).rglob("*")):
            if path.is_file() and path.name != "manifest.json" and not path.name.startswith("."):
                found[str(path.relative_to(root))] = sha256_file(path)
    return found


def command(root: Path, scale: str) -> list[str]:
    """The command under test."""
    return [sys.executable, "-u", "-m", "fourhorn.cli.app", "reproduce", str(root), "--scale", scale]


def kill_in(stage: str, root: Path, scale: str, dice: random.Random) -> float:
    """Start the run, wait for the stage's line, kill it a random moment later; seconds into the stage."""
    process = subprocess.Popen(
        command(root, scale), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        words = line.split("]")[-1].split()
        if line.startswith("[") and stage in words[:2]:
            break
    delay = dice.uniform(0.0, 3.0)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return delay


def main() -> None:
    """Kill once in every stage and say whether the bytes are the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="smoke")
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    whole, killed = folder / "whole", folder / "killed"
    subprocess.run(
        command(whole, options.scale), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    dice = random.Random(1)
    rows = [(s.name, f"{kill_in(s.name, killed, options.scale, dice):.2f}") for s in STAGES]
    subprocess.run(
        command(killed, options.scale), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    same = hashes(whole) == hashes(killed)
    rows.append(("files of dataset, tokenizer and tokens identical", f"{same} ({len(hashes(whole))} files)"))
    write_table(__file__, "SIGKILL in every stage", ("killed in stage", "seconds into it"), rows)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
