"""Ten thousand mutated pages through the extraction stage: no crash, every page counted, time and memory bounded.

    python benchmarks/webtext_mutations.py FOLDER [--pages 10000] [--extractor trafilatura]

FOLDER holds real pages as `html/*.html.gz`. Each mutation flips, cuts, repeats or mixes bytes, nests tags by the
thousand, lies about the encoding or breaks markup in other ways; one in a hundred is built to keep an extractor busy.
"""

import argparse
import gzip
import random
import resource
import tempfile
import time
from pathlib import Path

from table import write_table

from fourhorn.records import write_records
from fourhorn.webtext.extract import extract

N_SHARDS = 100
PAGE_SECONDS = 2.0


def flip(rng: random.Random, body: bytearray, _: list[bytes]) -> bytearray:
    for _n in range(rng.choice([1, 10, 1000])):
        if body:
            body[rng.randrange(len(body))] = rng.randrange(256)
    return body


def cut(rng, body, _):
    return body[: rng.randrange(len(body) + 1)]


def drop_middle(rng, body, _):
    start = rng.randrange(len(body) + 1)
    return body[:start] + body[start + rng.randrange(1, 5000) :]


def splice(rng, body, pages):
    other = rng.choice(pages)
    return body[: rng.randrange(len(body) + 1)] + other[rng.randrange(len(other)) :]


def repeat(rng, body, _):
    start = rng.randrange(len(body) + 1)
    part = body[start : start + rng.randrange(1, 300)]
    return body[:start] + part * rng.randrange(2, 800) + body[start:]


def insert(rng, body, _):
    start = rng.randrange(len(body) + 1)
    odd = [
        b"<div>", b"<table><tr><td>", b"<font>", b"<!--", b"-->", b"<![CDATA[", b"\x00", b"<svg><math>",
        b"</body></html>", b"<p " + b"a=b " * 500 + b">", b"&#x110000;", b"&" * 100, b"<script>", b"<textarea>",
        b"<noscript><iframe>",
        b"<base href='javascript:'>", b"<meta charset=utf-7>", b"<meta charset=utf-16>", b"\xed\xa0\x80", b"\xff\xfe",
        b"<a href='http://[::1'>", b"<article>", b"<time datetime='99999-99-99'>", b"<plaintext>", b"<xmp>",
        b"<li>" * 50,
    ]  # fmt: skip
    return body[:start] + rng.choice(odd) * rng.choice([1, 3, 50, 3000]) + body[start:]


def recode(rng, body, _):
    text = body.decode("utf-8", "replace")
    return bytearray(
        text.encode(rng.choice(["utf-16", "utf-32", "cp500", "utf-7", "shift_jis", "latin-1"]), "replace")
    )


def noise(rng, body, _):
    return bytearray(rng.randbytes(rng.randrange(20_000)))


MUTATIONS = (flip, cut, drop_middle, splice, repeat, insert, recode)


def mutate(rng: random.Random, pages: list[bytes]) -> bytes:
    body = bytearray(rng.choice(pages))
    start = rng.randrange(max(1, len(body) - 40_000))
    body = body[start : start + 40_000] if rng.random() < 0.7 else body[:120_000]
    for mutation in rng.choices(MUTATIONS, k=rng.randrange(1, 4)):
        body = mutation(rng, body, pages)
    if rng.random() < 0.02:
        body = noise(rng, body, pages)
    if rng.random() < 0.01:
        unit = rng.choice(
            [b"<p><a href=x>y</a> z</p>", b"<tr><td>1<td>2", b"<div><p>a</p>", b"<b><i>", b"<p>w</p>"]
        )
        body = bytearray(b"<html><body>" + unit * rng.randrange(1000, 150_000))
    return bytes(body)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--extractor", default="trafilatura")
    arguments = parser.parse_args()
    pages = [gzip.decompress(path.read_bytes()) for path in sorted(arguments.folder.glob("html/*.html.gz"))]
    rng = random.Random(1)
    n_bytes = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for shard in range(N_SHARDS):
            rows = []
            for number in range(shard, arguments.pages, N_SHARDS):
                body = mutate(rng, pages)
                n_bytes += len(body)
                rows.append({"url": f"http://a.example/{number}", "html": body})
            write_records(root / "pages" / f"part-{shard:05d}.parquet", rows)
        started = time.monotonic()
        manifest = extract(
            root / "pages", root / "raw", extractor=arguments.extractor, page_seconds=PAGE_SECONDS, workers=2
        )
        seconds = time.monotonic() - started
    assert manifest.n_in == arguments.pages, f"{manifest.n_in} of {arguments.pages} pages were counted"
    assert "quarantined" not in manifest.drops
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    rows = [[reason, f"{n:,}"] for reason, n in manifest.drops.items()]
    rows = [["kept", f"{manifest.n_kept:,}"], *rows, ["in", f"{manifest.n_in:,}"]]
    notes = [
        f"{n_bytes / 1e6:,.0f} MB in {seconds:,.0f} s on two workers, {PAGE_SECONDS:g} processor seconds a page; "
        f"the largest worker took {peak:,.0f} MB. Extractor: {arguments.extractor}."
    ]
    write_table(
        __file__, "Mutated pages through the extraction stage", ["what became of them", "pages"], rows, notes
    )


if __name__ == "__main__":
    main()
