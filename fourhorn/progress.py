"""One line of progress for work a user waits for: a bar at a terminal, plain log lines anywhere else.

    with progress("crawl", total=n, unit="pages") as bar:
        bar.update(1, kept=kept, dropped=dropped)

Bars opened inside one another share a single live display. Elsewhere than a terminal a line is logged to standard
error at most every ten seconds, and one at the end, so that log files hold no control characters.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

LOG_EVERY_SECONDS = 10.0


class Bar:
    """A running count with its rate and named figures; `update` is cheap enough to call per item."""

    def __init__(self, name: str, total: float | None, unit: str) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done, self.figures = 0.0, {}  # type: float, dict[str, Any]
        self.started = self._drawn = time.monotonic()

    def update(self, n: float = 1, **figures: Any) -> None:
        """Count `n` more items and set the figures shown beside the bar."""
        self.done += n
        self.figures.update(figures)
        now = time.monotonic()
        if now - self._drawn >= self.every:
            self._drawn = now
            self.draw()

    every = LOG_EVERY_SECONDS

    def draw(self, *, last: bool = False) -> None:
        """Show the present state; the plain bar writes one line."""
        print(self.text(last=last), file=sys.stderr, flush=True)

    def text(self, *, last: bool = False) -> str:
        """The state in one line: count, rate, time left, figures."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        rate = self.done / seconds
        of = f"/{self.total:,.0f}" if self.total else ""
        parts = [f"{self.name}: {self.done:,.0f}{of} {self.unit}", f"{rate:,.1f} {self.unit}/s"]
        if last:
            parts.append(f"in {duration(seconds)}")
        elif self.total and rate:
            parts.append(f"{duration(max(self.total - self.done, 0) / rate)} left")
        return ", ".join(parts + figures_text(self.figures))


def figures_text(figures: dict[str, Any]) -> list[str]:
    """Named figures as short words: `loss 3.214`, `kept 1,024`."""
    shown = {
        k: f"{v:,}" if isinstance(v, int) else f"{v:.4g}" if isinstance(v, float) else v
        for k, v in figures.items()
    }
    return [f"{name.replace('_', ' ')} {value}" for name, value in shown.items()]


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s` or `2 h 10 min`."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class _TerminalBar(Bar):
    every = 0.1

    def __init__(self, name: str, total: float | None, unit: str, display: Any) -> None:
        super().__init__(name, total, unit)
        self.display = display
        self.task = display.add_task(name, total=total, unit=unit, figures="")

    def draw(self, *, last: bool = False) -> None:
        self.display.update(
            self.task, completed=self.done, total=self.total, figures=", ".join(figures_text(self.figures))
        )


_display: Any = None  # the one live display of this process, while a bar is open at a terminal


@contextlib.contextmanager
def progress(name: str, *, total: float | None = None, unit: str = "items") -> Iterator[Bar]:
    """Show the progress of one piece of work while the block runs."""
    if not sys.stderr.isatty():
        bar = Bar(name, total, unit)
        yield bar
        if bar.done and time.monotonic() - bar.started > 1.0:
            bar.draw(last=True)
        return
    with live_display() as display:
        terminal_bar = _TerminalBar(name, total, unit, display)
        try:
            yield terminal_bar
        finally:
            terminal_bar.draw(last=True)
            display.remove_task(terminal_bar.task)
            if terminal_bar.done:
                display.console.print(terminal_bar.text(last=True), style="dim", highlight=False)


@contextlib.contextmanager
def live_display() -> Iterator[Any]:
    """The process's one rich display, opened by the outermost bar."""
    global _display
    if _display is not None:
        yield _display
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f} {task.fields[unit]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}", style="dim"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        _display = display
        try:
            yield display
        finally:
            _display = None
