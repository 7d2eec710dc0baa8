"""Run every benchmark, one after another, each beside its rivals where they are installed: `make bench`.

Each script prints a Markdown table and writes `benchmarks/results/<its name>.md` with hardware, date and versions.
"""

import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
NO_CLAIMS = {"run_all", "table"}  # this script, and what the others share


def main() -> int:
    """Run the scripts named on the command line, or all; the number that failed."""
    chosen = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NO_CLAIMS)
    failed = []
    for name in chosen:
        started = time.monotonic()
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, str(FOLDER / f"{name}.py")]).returncode:
            failed.append(name)
        print(f"== {name}: {time.monotonic() - started:.0f} s\n", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
