"""Cut off the page that hangs or crashes its worker, and only that page.

Some of the millions of pages of §2.1 keep an extractor busy for minutes inside C code, where no Python signal handler
and no thread can stop it, and a few crash it. Each page therefore gets a budget of processor time, which unlike wall
time does not depend on what else the machine does. When it is used up the kernel's SIGPROF makes faulthandler (C code,
needs no GIL) write a report into the flight file and ends the process. The engine starts the shard again in a new
worker; the guard finds the report behind the number of the page that was in flight, and from then on that page is
condemned. A worker killed without a report (by the system when memory runs out, or by an operator) condemns a page
only the second time that it was in flight under the same run, so killing a whole run condemns nothing.

Raises `RuntimeError` when workers die before any page: then the shard itself cannot be worked on.
"""

import faulthandler
import os
import signal
from collections import Counter
from pathlib import Path
from types import TracebackType

from fourhorn.files import read_json, write_json

TIMED_OUT, CRASHED, KILLED = "timed_out", "crashed", "killed_worker"
_HEADER_BYTES = 64  # run id and page number, padded; faulthandler's report follows
_NO_PAGE = -1


class PageGuard:
    """A context around the pages of one shard: `enter(number)` before each, `condemned` to leave out."""

    def __init__(self, path: Path, *, page_seconds: float, run: str) -> None:
        self.flight_path = path.with_suffix(".flight")
        self.verdict_path = path.with_suffix(".verdict.json")
        self.page_seconds, self.run = page_seconds, run
        self.condemned: dict[int, str] = {}
        self._silent: Counter[str] = Counter()

    def __enter__(self) -> "PageGuard":
        self._judge()
        self._file = open(self.flight_path, "w+b", buffering=0)
        self._note(_NO_PAGE)
        os.lseek(self._file.fileno(), _HEADER_BYTES, os.SEEK_SET)
        faulthandler.enable(self._file, all_threads=False)
        faulthandler.register(signal.SIGPROF, self._file, all_threads=False, chain=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.unregister(signal.SIGPROF)
        faulthandler.disable()
        self._file.close()
        self.flight_path.unlink(missing_ok=True)

    def enter(self, number: int) -> None:
        """Note the page now in flight and start its budget."""
        self._note(number)
        signal.setitimer(signal.ITIMER_PROF, self.page_seconds)

    def leave(self) -> None:
        """Stop the budget: what follows is no page's fault."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _note(self, number: int) -> None:
        os.pwrite(self._file.fileno(), f"{self.run} {number}".ljust(_HEADER_BYTES).encode(), 0)

    def _judge(self) -> None:
        """Read what the last worker at this shard left behind, and condemn the page that ended it."""
        if self.verdict_path.exists():
            verdict = read_json(self.verdict_path)
            self.condemned = {int(number): reason for number, reason in verdict["condemned"].items()}
            self._silent.update(verdict["silent"] if verdict["run"] == self.run else {})
        left = self.flight_path.read_bytes() if self.flight_path.exists() else b""
        header = left[:_HEADER_BYTES].decode("ascii", "replace").split()
        if len(header) != 2:
            return
        run, number = header
        report = left[_HEADER_BYTES:].lstrip(b"\x00")
        if report and int(number) != _NO_PAGE:
            self.condemned[int(number)] = CRASHED if report.startswith(b"Fatal") else TIMED_OUT
        elif run == self.run:
            self._silent[number] += 1
            if self._silent[number] > 1:
                if int(number) == _NO_PAGE:
                    raise RuntimeError("workers die before the first page")
                self.condemned[int(number)] = KILLED
        write_json(
            self.verdict_path,
            {
                "run": self.run,
                "condemned": {str(n): r for n, r in self.condemned.items()},
                "silent": self._silent,
            },
        )
        self.flight_path.unlink()
