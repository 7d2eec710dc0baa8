"""Live progress of a crawl in several processes, read from the indexes they append to.

The workers say nothing to each other or to their parent; what they have done stands in `part-NNNNN.index.jsonl`,
in the work folder and then in the destination. A thread follows these files and counts outcomes, so progress is
the truth on disk.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson

from fourhorn.progress import progress

WATCH_SECONDS = 1.0


@contextlib.contextmanager
def watching(folders: list[Path], total: int) -> Iterator[None]:
    """Show how many of `total` links have an outcome, and the most frequent outcomes, while the block runs."""
    ended = threading.Event()
    with progress("crawl", total=total, unit="links") as bar:
        tail = Tail(folders)

        def look() -> None:
            n = tail.follow()
            bar.update(n, **dict(tail.outcomes.most_common(4)))

        def loop() -> None:
            while not ended.wait(WATCH_SECONDS):
                look()

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            look()


class Tail:
    """Counts the outcomes in growing indexes; a file may move from one folder to the next between two looks."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders
        self._read: dict[str, int] = {}  # bytes taken of each index, by its name
        self.outcomes: Counter[str] = Counter()

    def follow(self) -> int:
        """Take what was appended since the last look; how many rows."""
        n = 0
        for path in [path for folder in self._folders for path in folder.glob("part-*.index.jsonl")]:
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
                file.seek(self._read.get(path.name, 0))
                data = file.read()
                whole = data.rfind(b"\n") + 1
                rows = [orjson.loads(line) for line in data[:whole].splitlines()]
                self.outcomes.update(row["outcome"] for row in rows)
                self._read[path.name] = self._read.get(path.name, 0) + whole
                n += len(rows)
        return n
