"""Does any call, fitting the server's own description or not, bring a 5xx or a body it does not describe?

    python benchmarks/serving_schemathesis.py

Runs the test that makes some 60 calls in the suite with all of them, and writes down how they were answered.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from table import write_table


def main() -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "-q", "-s", "tests/serving/test_protocol.py", "-k", "5xx"]
    run = subprocess.run(
        command, cwd=root, env={**os.environ, "FOURHORN_FULL": "1"}, capture_output=True, text=True
    )
    found = re.search(r"Schemathesis (\S+): (\d+) calls, \{(.*?)\}", run.stdout)
    if run.returncode or found is None:
        sys.exit(run.stdout[-3000:] + run.stderr[-1000:])
    answers = [pair.split(": ") for pair in found[3].split(", ")]
    rows = [[f"status {status}", f"{int(n):,}"] for status, n in answers]
    rows.append(["all", f"{int(found[2]):,}"])
    note = f"Schemathesis {found[1]}, valid and invalid data, 9 operations; every body as described, no 5xx."
    write_table(__file__, "Calls generated from the server's description", ["answer", "calls"], rows, [note])


if __name__ == "__main__":
    main()
