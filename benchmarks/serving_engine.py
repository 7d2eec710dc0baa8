"""Do 500 streams at once stay apart, and does work end when 1,000 clients leave?

    python benchmarks/serving_engine.py

Runs the tests that do this in the suite with 40 and 24, with all of them, and writes down what they print. The model is
small and its steps are slowed down to those of a larger one; the figures are of how the server behaves, not of speed.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from table import write_table

LEAVING = re.compile(r"stream=(\w+): (\d+) of (\d+) ended within one step, most tokens after leaving (\d+)")
STREAMS = re.compile(
    r"(\d+) streams: (\d+) tokens/s; first token p50 (\S+) s, p99 (\S+) s; between tokens p50 (\d+) ms, p99 (\d+) ms"
)


def main() -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "-q", "-s", "tests/serving/test_engine.py"]
    run = subprocess.run(
        command, cwd=root, env={**os.environ, "FOURHORN_FULL": "1"}, capture_output=True, text=True
    )
    streams = STREAMS.search(run.stdout)
    if run.returncode or streams is None:
        sys.exit(run.stdout[-3000:] + run.stderr[-1000:])
    rows = []
    for stream, within, n, most in LEAVING.findall(run.stdout):
        way = "streaming" if stream == "True" else "not streaming"
        rows.append(
            [f"clients leaving at random tokens, {way}", n, f"{within} within one step, {most} at most"]
        )
    n, rate, first, slowest, gap, longest = streams.groups()
    rows += [
        ["streams at once, each as if alone", n, f"{n} equal to the single client's, {rate} tokens/s"],
        ["their first token, p50 / p99", n, f"{first} / {slowest} s"],
        ["between their tokens, p50 / p99", n, f"{gap} / {longest} ms"],
    ]
    note = "Small model, all on one machine; 8 slots for those who leave, 32 for the streams."
    write_table(__file__, "Many clients at once", ["", "clients", "found"], rows, [note])


if __name__ == "__main__":
    main()
