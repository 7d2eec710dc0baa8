"""10,000 mutated dumps and WARC files: does anything crash, hang or grow?

    python benchmarks/webtext_warc_mutations.py [--n 10000]

Half are Reddit dumps (plain, zstd, gzip), half WARC files (a member per record, one stream, plain, zstd). Each is
changed by flipped bits, overwritten, removed, repeated and inserted stretches, or cut, and then read to its end.
Allowed are counted reasons and a `UserError`; anything else is a crash. Prints what happened, the longest time and by
how much memory grew.
"""

import argparse
import gzip
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
from table import write_table

from fourhorn import zstd
from fourhorn.errors import UserError
from fourhorn.files import iter_lines
from fourhorn.webtext import warc
from fourhorn.webtext.archive import page_members
from fourhorn.webtext.dumps import read_line
from fourhorn.webtext.fetch import Answer
from fourhorn.webtext.frontier import Visit
from fourhorn.webtext.links import judged
from fourhorn.webtext.pages import iter_pages
from fourhorn.webtext.sites import Sites
from fourhorn.webtext.urls import parse

HTML = b"<html><body>" + b"<p>Some words of a page, and \xc3\xa9.</p>" * 40 + b"</body></html>"


def make_warc() -> bytes:
    """A few pages with all that the writer writes, one of them compressed."""
    parts = [warc.info_member("fourhorn/test", "2017-01-01T00:00:00Z")]
    for i in range(4):
        url = f"http://site{i}.com/a?b={i}"
        visit = Visit(0, f"{i:032x}", b'{"id":"%032x","url":"%s","karma":3}' % (i, url.encode()), parse(url))
        headers = ((b"Content-Type", b"text/html"), *(((b"Content-Encoding", b"gzip"),) if i == 2 else ()))
        body = gzip.compress(HTML) if i == 2 else HTML
        parts.append(
            page_members(visit, Answer(200, "OK", headers, body, b"GET / HTTP/1.1\r\n\r\n"), "text/html")
        )
    return b"".join(parts)


def make_dump() -> bytes:
    """A few submissions of every kind."""
    rows = [
        {
            "url": f"http://s{i}.com/{i}?a=1&amp;b=2",
            "score": i,
            "created_utc": str(1400000000 + i),
            "title": "T é",
            "is_self": i == 3,
        }
        for i in range(12)
    ]
    return b"\n".join(map(orjson.dumps, rows)) + b"\nhttp://list.org/x\n"


def mutate(data: bytes, generator: random.Random) -> bytes:
    """One to four changes."""
    content = bytearray(data)
    for _ in range(generator.randrange(1, 5)):
        kind, at, n = (
            generator.randrange(6),
            generator.randrange(len(content) + 1),
            generator.randrange(1, 200),
        )
        if kind == 0 and at < len(content):
            content[at] ^= 1 << generator.randrange(8)
        elif kind == 1:
            content[at : at + n] = generator.randbytes(n)
        elif kind == 2:
            del content[at : at + n]
        elif kind == 3:
            content[at:at] = content[at : at + n] * generator.randrange(1, 50)
        elif kind == 4:
            content[at:at] = generator.choice(
                [b"\x00" * n, b"WARC/1.0\r\n", b"\x1f\x8b\x08", b"[" * 5000, b"9" * 400, b"\r\n"]
            )
        elif generator.random() < 0.5:
            del content[at:]
    return bytes(content)


def read_dump(path: Path, seen: Counter[str]) -> None:
    """All lines, judged as `links` judges them."""
    for line in iter_lines(path):
        found = read_line(line)
        if isinstance(found, str):
            seen[found] += 1
        else:
            reason, _ = judged(found, min_karma=3, last_second=1514764799, sites=SITES)
            seen[reason or "kept"] += 1


def read_warc(path: Path, seen: Counter[str]) -> None:
    """All pages."""
    drops: Counter[str] = Counter()
    seen["kept"] += sum(1 for _ in iter_pages(path, drops))
    seen.update(drops)


SITES = Sites()


def main() -> None:
    """Mutate, read, count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=10_000)
    n = parser.parse_args().n
    generator = random.Random(2)
    dump, members = make_dump(), make_warc()
    plain = gzip.decompress(members)
    kinds: dict[str, list[bytes]] = {
        "dump": [dump, zstd.compress(dump), gzip.compress(dump)],
        "WARC": [members, gzip.compress(plain), plain, zstd.compress(plain)],
    }
    readers: dict[str, Callable[[Path, Counter[str]], None]] = {"dump": read_dump, "WARC": read_warc}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated.warc"
        for kind, originals in kinds.items():
            seen: Counter[str] = Counter()
            longest = 0.0
            crashes: Counter[str] = Counter()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for _ in range(n // 2):
                path.write_bytes(mutate(generator.choice(originals), generator))
                started = time.process_time()
                try:
                    readers[kind](path, seen)
                except UserError:
                    seen["one sentence for the user"] += 1
                except Exception as error:
                    crashes[f"{type(error).__name__}: {error}"[:80]] += 1
                longest = max(longest, time.process_time() - started)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(seen.items()))
            rows.append(
                [
                    kind,
                    f"{n // 2:,}",
                    dict(crashes) or 0,
                    f"{longest * 1000:.0f} ms",
                    f"{grown / 1024:.0f} MB",
                    reasons,
                ]
            )
    head = ["kind", "files", "crashes", "longest", "memory grew by", "items by outcome"]
    write_table(__file__, "Mutated dumps and WARC files", head, rows)


if __name__ == "__main__":
    main()
