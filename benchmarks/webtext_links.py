"""How fast are links judged and deduplicated?

    python benchmarks/webtext_links.py [--rows 2000000] [--rivals FOLDER]

First the decision alone: of many submissions, the best one of each page, by karma. fourhorn decides on the 128-bit
hashes of the keys, and so do the rivals. Then the stage's own second half with everything in it: read the spill,
decide, write the shards. Then keys of URLs per second, beside public normalizers.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from table import write_table

from fourhorn.webtext import urls
from fourhorn.webtext.spill import N_BUCKETS, SpillReader, SpillWriter, write_lines

SEED = 1
MAKE = """
import sys, time
import numpy as np
sys.path[:0] = [sys.argv[2]]
generator = np.random.default_rng(1)
n = int(sys.argv[1])
pages = np.where(generator.random(n) < 0.3, generator.integers(0, n // 20, n), np.arange(n) + n)
karma = generator.integers(3, 5000, n)
high = pages.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
low = (pages.astype(np.uint64) ^ np.uint64(0xABCDEF)) * np.uint64(0xBF58476D1CE4E5B9)
"""
RIVALS = {
    "fourhorn, `best`": """
from fourhorn.webtext.spill import ROW, best
rows = np.zeros(n, dtype=ROW)
rows["high"], rows["low"], rows["rank"], rows["time"] = high, low, karma, np.arange(n)
best(rows[:1000])
started = time.process_time()
kept = len(best(rows))
""",
    "duckdb, group by": """
import duckdb, pyarrow as pa
rows = pa.table({"high": high, "low": low, "karma": karma})
duckdb.sql("set threads=1")
started = time.process_time()
kept = len(duckdb.sql("select high, low, max(karma) from rows group by high, low").fetchnumpy()["high"])
""",
    "polars, group_by": """
import polars as pl
frame = pl.DataFrame({"high": high, "low": low, "karma": karma})
started = time.process_time()
kept = frame.group_by("high", "low").agg(pl.col("karma").max()).height
""",
    "numpy, lexsort": """
started = time.process_time()
order = np.lexsort((np.arange(n), -karma, low, high))
kept = 1 + int(((high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])).sum())
""",
    "python, dict": """
keys, scores = list(zip(high.tolist(), low.tolist())), karma.tolist()
started = time.process_time()
best = {}
for i, key in enumerate(keys):
    held = best.get(key)
    if held is None or scores[held] < scores[i]:
        best[key] = i
kept = len(best)
""",
}


def decide(name: str, n: int, rivals: str | None) -> list[str]:
    """One rival alone in a process: rows a CPU second, links kept."""
    paths = [os.getcwd(), rivals] if rivals else [os.getcwd()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "POLARS_MAX_THREADS": "1"}
    code = f"{MAKE}\n{RIVALS[name]}\nprint(time.process_time() - started, kept)"
    command = [sys.executable, "-c", code, str(n), "."]
    best = None
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            return [name, done.stderr.strip().splitlines()[-1][:80], ""]
        seconds, kept = done.stdout.split()[-2:]
        best = min(best or 1e9, float(seconds))
    return [name, f"{n / best / 1e6:.1f} M", f"{int(kept):,}"]


def whole(n: int) -> list[str]:
    """The second half of the stage on `n` rows of about 300 bytes: spill, then read, decide and write."""
    generator = np.random.default_rng(SEED)
    pages = np.where(generator.random(n) < 0.3, generator.integers(0, n // 20, n), np.arange(n) + n).tolist()
    karma = generator.integers(3, 5000, n).tolist()
    notes = []
    with tempfile.TemporaryDirectory() as folder:
        spill = Path(folder) / "a.spill"
        writer = SpillWriter(spill)
        spent = 0.0
        for i, page in enumerate(pages):
            key = hashlib.blake2b(b"%d" % page, digest_size=16).digest()
            host = f"site{page % 50021}.example"
            line = (
                f'{{"id":"{key.hex()}","domain":"{host}","url":"http://www.{host}/{page}/a-page-about-something.html",'
                f'"key":"{host}/{page}/a-page-about-something.html","karma":{karma[i]},'
                f'"date":"2017-01-01T00:00:00Z","title":"a title of {page}","subreddit":"sub"}}\n'
            ).encode()
            started = time.process_time()
            writer.add(key, karma[i], i, line)
            spent += time.process_time() - started
        writer.close({})
        notes.append(
            f"spilled {n / spent / 1e6:.2f} M rows a CPU second, {spill.stat().st_size / n:.0f} bytes a row on disk"
        )
        started = time.process_time()
        reader = SpillReader([spill])
        kept = write_lines(
            Path(folder) / "part.jsonl.zst", (reader.best_rows(b)[0] for b in range(N_BUCKETS))
        )
        seconds = time.process_time() - started
        notes.append(
            f"read, decided and written {n / seconds / 1e6:.2f} M rows a CPU second ({kept:,} links kept)"
        )
    return notes


def keys() -> list[str]:
    """Keys a second, beside other normalizers."""
    texts = [
        f"http://www.site{i % 999}.com/{i}/A-page.html?utm_source=x&b=2&a={i}#top" for i in range(20_000)
    ]
    texts += [f"https://site{i % 999}.org/news/2016/{i}" for i in range(40_000)]

    def ours() -> None:
        for text in texts:
            url = urls.parse(text)
            if url:
                urls.page_key(url)

    functions = {"fourhorn parse + key": ours}
    try:
        import w3lib.url

        functions["w3lib canonicalize_url"] = lambda: [w3lib.url.canonicalize_url(t) for t in texts]
    except ImportError:
        pass
    try:
        import courlan

        functions["courlan clean_url"] = lambda: [courlan.clean_url(t) for t in texts]
    except ImportError:
        pass
    notes = []
    for name, function in functions.items():
        seconds = []
        for _ in range(3):
            started = time.process_time()
            function()
            seconds.append(time.process_time() - started)
        notes.append(f"{name}: {len(texts) / min(seconds):,.0f} URLs a CPU second")
    return notes


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rivals")
    options = parser.parse_args()
    if options.rivals:
        sys.path.append(options.rivals)
    rows = [decide(name, options.rows, options.rivals) for name in RIVALS]
    notes = [f"{options.rows:,} submissions, one core, CPU time, best of two.", ""]
    notes += [f"- {note}" for note in [*whole(options.rows // 5), *keys()]]
    versions = f"numpy {np.__version__}"
    for name in ("duckdb", "polars"):
        code = f"import importlib.metadata as m; print(m.version({name!r}))"
        environment = {**os.environ, "PYTHONPATH": options.rivals or ""}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        versions += f", {name} {done.stdout.strip() or 'absent'}"
    write_table(
        __file__,
        "Links, one per page",
        ["decision", "rows/s/core", "links kept"],
        rows,
        [*notes, "", versions],
    )


if __name__ == "__main__":
    main()
