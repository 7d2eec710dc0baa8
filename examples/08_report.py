"""The report of one or more workspaces, side by side: python examples/08_report.py reproduction report"""

import sys
from pathlib import Path

from fourhorn.report.page import report

*roots, destination = [Path(argument) for argument in sys.argv[1:]]
report(roots, destination)
print(f"Open {destination / 'index.html'} in a browser.")
