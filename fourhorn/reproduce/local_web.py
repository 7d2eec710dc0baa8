"""A small web on this machine: real prose on many hosts, with the faults that the real web has.

§2.1's pipeline starts from links on Reddit. `local_web` writes that web: the documentation pages of `prose`, each on
its package's host (`numpy-docs.test`), and beside them redirects, mirrors, outdated near-copies, pages in other
languages, stubs, spam, missing pages, broken servers, a slow host, an endless page, files that are no HTML, wrong
charsets and an area that robots.txt closes. `submissions` then posts links to all of it on a Reddit of its own.

In: the Python packages of this machine. Out: `pages.jsonl.zst` (one row per URL that exists: host, path, kind and
what to serve) and `manifest.json`. The same installation gives the same bytes. `server` serves the folder.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fourhorn.engine import map_shards
from fourhorn.files import Manifest, finished, sha256_file, write_manifest
from fourhorn.records import write_records
from fourhorn.reproduce.foreign import FOREIGN
from fourhorn.reproduce.prose import Block, Page, installed, pages_of

Row = dict[str, Any]
FAULTS = {"missing": 80, "broken": 20, "slow": 6, "endless": 4, "loop": 6, "binary": 40, "encyclopedia": 12}


def local_web(destination: Path, *, max_pages: int = 20_000, packages: Sequence[str] = ()) -> Manifest:
    """Write a web of real documentation pages, with the faults of the real one, to serve on loopback.

    Args:
        destination: Folder to write.
        max_pages: Most documentation pages to take, spread over all packages.
        packages: Packages to take them from; none given takes all that fourhorn brings along.
    """
    destination, started = Path(destination), time.monotonic()
    options = {"max_pages": max_pages, "packages": list(packages)}
    if done := finished(destination, "local_web", options, {}):
        return done
    rows = list(web(max_pages, packages or installed()))
    path = destination / "pages.jsonl.zst"
    write_records(path, rows)
    kinds = Counter(row["kind"] for row in rows)
    output = {"sha256": sha256_file(path), "n_bytes": path.stat().st_size, "n_items": len(rows)}
    manifest = Manifest(
        "local_web",
        options,
        n_in=len(rows),
        n_kept=len(rows),
        outputs={path.name: output},
        seconds=time.monotonic() - started,
        details={"kinds": dict(kinds), "hosts": len({row["host"] for row in rows})},
    )
    write_manifest(destination, manifest)
    return manifest


def web(max_pages: int, packages: Sequence[str]) -> Iterator[Row]:
    """Every row of the web, in a fixed order: documentation with its copies, then other kinds of pages."""
    tasks = [(package, {"package": package}) for package in packages]
    outcomes = map_shards(read_package, tasks, unit="packages", name="read documentation")
    pages = [page_from(row) for outcome in outcomes if outcome.value for row in outcome.value["pages"]]
    keep = sorted(pages, key=lambda page: draw(page.package, page.path))[:max_pages]
    for page in sorted(keep, key=lambda page: (page.package, page.path)):
        yield from with_copies(page)
    yield from foreign_pages()
    yield from poor_pages()
    yield from faulty_pages()


def read_package(package: str) -> Row:
    """All pages of one package, for a worker process to send back."""
    return {"pages": [asdict(page) for page in pages_of(package)]}


def page_from(row: Row) -> Page:
    """A page out of what `read_package` sent."""
    blocks = tuple(Block(**block) for block in row["blocks"])
    return Page(row["package"], row["path"], row["title"], blocks)


def draw(*parts: str) -> float:
    """A number in [0, 1) fixed by `parts`: the web's dice, the same in every run."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big") / 2**64


def host_of(package: str, kind: str = "docs") -> str:
    """The host of a package's documentation, or of its mirror."""
    return f"{package.lower().replace('_', '-')}-{kind}.test"


def with_copies(page: Page) -> Iterator[Row]:
    """A page, and for some also a redirect to it, a mirror or an outdated version."""
    host = host_of(page.package)
    blocks = [[block.kind, block.text] for block in page.blocks]
    path = page.path
    chance = draw("kind", page.package, page.path)
    if chance < 0.01:
        path = f"/private{path}"  # closed by robots.txt
    row = {"host": host, "path": path, "kind": "private" if chance < 0.01 else "page", "title": page.title}
    charset = "wrong" if 0.01 <= chance < 0.015 else "utf-8"
    yield {**row, "blocks": blocks, "language": "en", "charset": charset, "theme": "docs"}
    if 0.05 <= chance < 0.09:
        yield {"host": host, "path": f"/go/{int(chance * 1e9)}", "kind": "redirect", "title": page.title,
               "location": path}  # fmt: skip
    elif 0.10 <= chance < 0.16:
        yield {**row, "host": host_of(page.package, "mirror"), "kind": "mirror", "blocks": blocks,
               "language": "en", "charset": "utf-8", "theme": "plain"}  # fmt: skip
    elif 0.20 <= chance < 0.26 and len(blocks) > 6:
        yield {**row, "path": f"/old{path}", "kind": "older", "blocks": outdated(page.blocks),
               "language": "en", "charset": "utf-8", "theme": "docs"}  # fmt: skip


def outdated(blocks: tuple[Block, ...]) -> list[list[str]]:
    """Nearly the same page: a notice in front, one paragraph missing."""
    notice = "This page belongs to an older release. Some of what it describes has since been changed."
    missing = len(blocks) // 2
    kept = [[block.kind, block.text] for i, block in enumerate(blocks) if i != missing]
    return [["p", notice], *kept]


def foreign_pages() -> Iterator[Row]:
    """Pages that are not in English, each a different choice of paragraphs."""
    for language, paragraphs in FOREIGN.items():
        for number in range(20):
            drawn = [(draw("foreign", str(number), text), text) for text in paragraphs]
            chosen = [text for _, text in sorted(drawn)[:5]]
            yield {"host": f"{language}-blog.test", "path": f"/{number}.html", "kind": "foreign",
                   "title": f"{language} {number}", "blocks": [["p", text] for text in chosen],
                   "language": language, "charset": "utf-8", "theme": "plain"}  # fmt: skip


def poor_pages() -> Iterator[Row]:
    """Stubs too short to keep, and pages that say one thing many times."""
    for number in range(100):
        yield {"host": "stubs.test", "path": f"/{number}.html", "kind": "stub", "title": f"Stub {number}",
               "blocks": [["p", f"Page {number} is under construction. Come back soon."]],
               "language": "en", "charset": "utf-8", "theme": "plain"}  # fmt: skip
    for number in range(40):
        line = f"Buy the best cheap watches number {number} here, the best cheap watches are only here."
        yield {"host": "spam.test", "path": f"/{number}.html", "kind": "spam", "title": f"Offer {number}",
               "blocks": [["p", line]] * 60, "language": "en", "charset": "utf-8", "theme": "plain"}  # fmt: skip


def faulty_pages() -> Iterator[Row]:
    """What goes wrong on the real web; the server knows each kind by name."""
    for kind, n in FAULTS.items():
        for number in range(n):
            yield {
                "host": f"{kind}.test",
                "path": f"/{number}.html",
                "kind": kind,
                "title": f"{kind} {number}",
            }
