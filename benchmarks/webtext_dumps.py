"""How fast are Reddit dumps read, and in how much memory?

    python benchmarks/webtext_dumps.py [--rows 300000] [--long 5000000] [--rivals FOLDER]

Writes submissions in the real format (the fields of 2017, 1.5 KB a row) as one zstd frame with the real dumps'
window of 2 GiB, as many rows as fill it, and some with a window of 8 MB, and reads each with fourhorn, Polars, DuckDB
and Daft: url, score, is_self of every row. `--long` instead runs the whole `links` stage over that many submissions and
watches its memory. Rivals may live in a folder of their own (pip install --target FOLDER polars duckdb daft).
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
from table import write_table

from fourhorn.zstd import CompressionParameter, ZstdCompressor

FULL_WINDOW_ROWS = 1_600_000  # 2.4 GB

WORDS = [
    "the",
    "of",
    "a",
    "new",
    "how",
    "why",
    "first",
    "year",
    "world",
    "state",
    "found",
    "says",
    "city",
    "study",
]
ROW = {
    "archived": True,
    "author": "",
    "author_flair_css_class": None,
    "author_flair_text": None,
    "brand_safe": True,
    "contest_mode": False,
    "created_utc": 0,
    "distinguished": None,
    "domain": "",
    "edited": False,
    "gilded": 0,
    "hidden": False,
    "hide_score": False,
    "id": "",
    "is_crosspostable": True,
    "is_reddit_media_domain": False,
    "is_self": False,
    "is_video": False,
    "link_flair_css_class": None,
    "link_flair_text": None,
    "locked": False,
    "media": None,
    "media_embed": {},
    "name": "",
    "num_comments": 0,
    "num_crossposts": 0,
    "over_18": False,
    "parent_whitelist_status": "all_ads",
    "permalink": "",
    "pinned": False,
    "preview": {
        "enabled": True,
        "images": [
            {
                "id": "Zx8n3k2q",
                "resolutions": [
                    {
                        "height": h,
                        "url": f"https://i.redditmedia.example/preview-{h}.jpg?s=0a1b2c3d4e5f",
                        "width": w,
                    }
                    for h, w in ((81, 108), (162, 216), (240, 320))
                ],
                "source": {
                    "height": 480,
                    "url": "https://i.redditmedia.example/preview.jpg?s=0a1b2c",
                    "width": 640,
                },
                "variants": {},
            }
        ],
    },
    "retrieved_on": 0,
    "score": 0,
    "secure_media": None,
    "secure_media_embed": {},
    "selftext": "",
    "spoiler": False,
    "stickied": False,
    "subreddit": "",
    "subreddit_id": "",
    "suggested_sort": None,
    "thumbnail": "https://b.thumbs.redditmedia.example/0123456789abcdef.jpg",
    "thumbnail_height": 105,
    "thumbnail_width": 140,
    "title": "",
    "url": "",
    "whitelist_status": "all_ads",
}


def submissions(n: int) -> Iterator[bytes]:
    """`n` rows: four in ten self posts, most scores low, a third of the links posted before."""
    generator = random.Random(1)
    pick, integer = generator.random, generator.getrandbits
    for number in range(n):
        chance = pick()
        page = integer(24) if chance < 0.3 else number + (1 << 24)
        site = page % 50_021
        row = dict(ROW)
        row["id"] = f"{number:x}"
        row["name"] = f"t3_{number:x}"
        row["author"] = f"user_{integer(20)}"
        row["created_utc"] = 1_483_228_800 + number
        row["is_self"] = chance > 0.6
        row["domain"] = f"site{site}.example"
        row["url"] = f"http://www.site{site}.example/{page % 7}/{page}-{WORDS[page % len(WORDS)]}.html"
        row["title"] = " ".join(WORDS[integer(8) % len(WORDS)] for _ in range(4)) + f" {page}"
        row["score"] = int(1.5 / (pick() + 1e-4))
        row["subreddit"] = f"subreddit{integer(10)}"
        row["permalink"] = f"/r/{row['subreddit']}/comments/{number:x}/_/"
        yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def write_dump(path: Path, n: int, window_log: int) -> int:
    """One zstd frame; how many bytes it holds."""
    options = {
        CompressionParameter.compression_level: 1,
        CompressionParameter.window_log: window_log,
        CompressionParameter.enable_long_distance_matching: int(window_log > 23),
    }
    n_bytes = 0
    stream = ZstdCompressor(options=options)
    with path.open("wb") as file:
        for row in submissions(n):
            n_bytes += len(row)
            file.write(stream.compress(row))
        file.write(stream.flush())
    return n_bytes


# Each reader runs alone in a process; it prints rows, CPU seconds, wall seconds, greatest memory in MB.
TIMED = """
import sys, time
path = sys.argv[1]
{imports}
started, cpu = time.perf_counter(), time.process_time()
{body}
memory = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(n, time.process_time() - cpu, time.perf_counter() - started, memory / 1000)
"""
READERS = {
    "fourhorn": """
from fourhorn.files import iter_lines
from fourhorn.webtext.dumps import read_line
---
n = sum(1 for line in iter_lines(path) if read_line(line))
""",
    "decompression alone": """
from fourhorn.files import read_chunks
---
n = sum(chunk.count(b"\\n") for chunk in read_chunks(path))
""",
    "polars": """
import polars as pl
---
n = pl.scan_ndjson(path).select("url", "score", "is_self").collect(engine="streaming").height
""",
    "duckdb": """
import duckdb
---
duckdb.sql("set threads=1")
rows = f"read_json('{path}', format='newline_delimited', compression='zstd')"
n = len(duckdb.sql(f"select url, score, is_self from {rows}").fetchnumpy()["url"])
""",
    "daft": """
import os
os.environ["DAFT_ANALYTICS_ENABLED"] = "0"
import daft
---
n = daft.read_json(path).select("url", "score", "is_self").to_arrow().num_rows
""",
}


def read_alone(reader: str, path: Path, rivals: str | None) -> str:
    """Rows a second in the best of three processes, or the error."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), rivals]))}
    environment |= {"POLARS_MAX_THREADS": "1", "RAYON_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
    imports, body = READERS[reader].split("---\n")
    command = [sys.executable, "-c", TIMED.format(imports=imports, body=body), str(path)]
    runs = []
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            return lines[-1][:90] if lines else "failed"
        runs.append([float(value) for value in done.stdout.split()[-4:]])
    n = runs[0][0]
    cpu, wall, memory = (min(run[i] for run in runs) for i in (1, 2, 3))
    return f"{n / cpu:,.0f} ({n / wall:,.0f} by the clock, {memory:,.0f} MB)"


def version(name: str, rivals: str | None) -> str:
    """An installed version, looked up where the rivals are."""
    if name in ("fourhorn", "decompression alone"):
        return "this one"
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    environment = {**os.environ, "PYTHONPATH": rivals or ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    return done.stdout.strip() or "absent"


STAGE = """
import json, sys, time
from fourhorn.webtext.links import links
started = time.perf_counter()
manifest = links(sys.argv[1], sys.argv[2], workers=1)
memory = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([manifest.n_in, manifest.n_kept, time.perf_counter() - started, time.process_time(), memory * 1024,
                  manifest.drops]))
"""


def long_run(folder: Path, n: int, window_log: int) -> tuple[list[object], str]:
    """The whole `links` stage over one dump of `n` rows."""
    dump = folder / f"RS_{window_log}.zst"
    started = time.perf_counter()
    n_bytes = write_dump(dump, n, window_log)
    print(
        f"wrote {n:,} rows, {n_bytes / 1e9:.1f} GB, in {time.perf_counter() - started:.0f} s", file=sys.stderr
    )
    destination = folder / f"links_{window_log}_{n}"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", STAGE, dump, destination], capture_output=True, text=True, env=environment
    )
    dump.unlink()
    if done.returncode:
        raise SystemExit(done.stderr)
    n_in, n_kept, wall, cpu, memory, drops = json.loads(done.stdout.splitlines()[-1])
    window = min(1 << window_log, n_bytes)
    row = [
        f"{n_in:,}",
        f"{n_bytes / 1e9:.1f} GB",
        f"{window / 1e6:,.0f} MB",
        f"{n_in / wall:,.0f}",
        f"{n_bytes / wall / 1e6:,.0f}",
        f"{n_in / cpu:,.0f}",
        f"{memory / 1e6:,.0f} MB",
        f"{(memory - window) / 1e6:,.0f} MB",
    ]
    return row, f"{n:,} rows: {n_kept:,} links kept; drops {drops}."


def measure_stage(folder: Path, n: int) -> None:
    """The whole stage over a tenth of `n` rows, `n`, and `n` with the real dumps' window."""
    runs = [long_run(folder, n // 10, 23), long_run(folder, n, 23), long_run(folder, n, 31)]
    head = ["rows", "dump", "window", "rows/s", "MB/s", "rows a CPU second", "memory", "beyond the window"]
    title = "The whole `links` stage, one process (decompress, parse, judge, key, spill, deduplicate, write)"
    stage = Path(__file__).with_name("webtext_dumps_stage.py")
    write_table(str(stage), title, head, [row for row, _ in runs], [runs[1][1]])


def measure_readers(folder: Path, n: int, rivals: str | None) -> None:
    """Every reader on the same rows, with a short and a long window."""
    paths, sizes = {}, []
    for label, window_log, n_rows in (("8 MB window", 23, n), ("2 GiB window", 31, max(n, FULL_WINDOW_ROWS))):
        paths[label] = folder / f"{window_log}.json.zst"
        n_bytes = write_dump(paths[label], n_rows, window_log)
        sizes.append(f"{n_rows:,} rows, {n_bytes / 1e6:,.0f} MB, with the {label}")
    rows = [
        [reader, version(reader, rivals), *(read_alone(reader, path, rivals) for path in paths.values())]
        for reader in READERS
    ]
    notes = [
        f"{'; '.join(sizes)}. Url, score and is_self of each row; rows a CPU second of one thread, best of three runs."
    ]
    write_table(__file__, "Reading Reddit dumps", ["reader", "version", *paths], rows, notes)


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--long", type=int, default=0)
    parser.add_argument("--rivals")
    parser.add_argument("--folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        if options.long:
            measure_stage(Path(name), options.long)
        else:
            measure_readers(Path(name), options.rows, options.rivals)


if __name__ == "__main__":
    main()
