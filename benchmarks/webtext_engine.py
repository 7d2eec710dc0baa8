"""Whole-stage extraction on two workers: our engine beside a bare process pool, Ray, datatrove, Ray Data and Daft.

    python benchmarks/webtext_engine.py FOLDER [--shards 8] [--repeat 8] [--rounds 2] [--memory]

FOLDER holds real pages as `html/*.html.gz`; they are written `repeat` times into WARC shards. Every contestant reads
the same shards, finds the main text with the same function (datatrove: its own trafilatura step, without a time limit
in a second row) and writes shards of documents. Wall time in a fresh process, start-up included, contestants taken in
turn. The fastest round of each counts. `--memory` instead watches memory while the input grows.
"""

import argparse
import gzip
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from table import write_table

SHARDS = "part-{:05d}.warc.gz"
WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
PACKAGES = {"datatrove": "datatrove", "ray data": "ray", "daft": "daft", "fourhorn, ray": "ray"}


def write_pages(source: Path, folder: Path, n_shards: int, repeat: int) -> int:
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    bodies = [gzip.decompress(path.read_bytes()) for path in sorted(source.glob("html/*.html.gz"))] * repeat
    random.Random(0).shuffle(bodies)
    folder.mkdir(parents=True)
    for shard in range(n_shards):
        with open(folder / SHARDS.format(shard), "wb") as file:
            writer = WARCWriter(file, gzip=True)
            for number in range(shard, len(bodies), n_shards):
                head = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
                record = writer.create_warc_record(
                    f"http://a.example/{number}",
                    "response",
                    payload=io.BytesIO(bodies[number]),
                    http_headers=head,
                    warc_headers_dict={"WARC-Identified-Payload-Type": "text/html"},
                )
                writer.write_record(record)
    return len(bodies)


OPTIONS = {"extractor": "trafilatura", "page_seconds": 30.0, "max_page_bytes": 5_000_000, "max_depth": 500}


def one_shard(shard: str, output: str) -> int:
    """The stage's own function on one shard, without any engine."""
    from fourhorn.webtext.extract import extract_shard

    return extract_shard(shard, Path(output), run="bench", **OPTIONS)["n_kept"]


def bare_pool(pages: Path, destination: Path, workers: int) -> None:
    from concurrent.futures import ProcessPoolExecutor

    shards = sorted(pages.glob("*.warc.gz"))
    outputs = [str(destination / shard.name.replace(".warc.gz", ".jsonl.zst")) for shard in shards]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(one_shard, map(str, shards), outputs))


def fourhorn(pages: Path, destination: Path, workers: int, engine: str = "local") -> None:
    from fourhorn.webtext.extract import extract

    extract(pages, destination, page_seconds=30.0, workers=workers, engine=engine)


def datatrove(pages: Path, destination: Path, workers: int, extractor: object = None) -> None:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.readers import WarcReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter

    LocalPipelineExecutor(
        pipeline=[
            WarcReader(str(pages), glob_pattern="*.warc.gz"),
            Trafilatura(timeout=30),
            JsonlWriter(str(destination), output_filename="${rank}.jsonl.gz"),
        ],
        tasks=len(list(pages.glob("*.warc.gz"))),
        workers=workers,
        logging_dir=str(destination / "logs"),
    ).run()


def _texts(shard: str) -> list[dict[str, str]]:
    from fourhorn.webtext.extract import text_of
    from fourhorn.webtext.pages import iter_pages

    rows = ((page.url, text_of(page, "trafilatura", 500)[0]) for page in iter_pages(shard))
    return [{"url": url, "text": text} for url, text in rows if text]


def ray_data(pages: Path, destination: Path, workers: int) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    from fourhorn.webtext.pages import iter_pages

    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    ray.init(
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )

    def read(row):
        for page in iter_pages(row["item"]):
            yield {"url": page.url, "body": page.body}

    def find(batch):
        from fourhorn.webtext.charset import decode
        from fourhorn.webtext.extractors import extract_text

        return {
            "url": batch["url"],
            "text": [extract_text(decode(bytes(body))) or "" for body in batch["body"]],
        }

    shards = [str(path) for path in sorted(pages.glob("*.warc.gz"))]
    data = ray.data.from_items(shards, override_num_blocks=len(shards)).flat_map(read)
    data.map_batches(find, batch_size=32).write_parquet(str(destination))


def daft(pages: Path, destination: Path, workers: int) -> None:
    os.environ.update(DO_NOT_TRACK="1", DAFT_ANALYTICS_ENABLED="0")
    import daft as module

    @module.udf(return_dtype=module.DataType.string(), concurrency=workers, batch_size=32)
    def find(contents):
        from fourhorn.webtext.charset import decode
        from fourhorn.webtext.extractors import extract_text

        bodies = [content.partition(b"\r\n\r\n")[2] for content in contents.to_pylist()]
        return [extract_text(decode(body)) or "" for body in bodies]

    frame = module.read_warc(str(pages / "*.warc.gz"))
    frame = frame.where(frame["WARC-Type"] == "response")
    frame.select(frame["WARC-Target-URI"], find(frame["warc_content"]).alias("text")).write_parquet(
        str(destination)
    )


CONTESTANTS = {
    "bare process pool": bare_pool,
    "fourhorn": fourhorn,
    "fourhorn, ray": lambda pages, destination, workers: fourhorn(pages, destination, workers, "ray"),
    "datatrove": datatrove,
    "ray data": ray_data,
    "daft": daft,
}


def timed(name: str, pages: Path, destination: Path, workers: int) -> tuple[float, float] | None:
    """Seconds by the clock and processor seconds of one fresh run with all its children."""
    arguments = [sys.executable, __file__, str(pages), "--run", name]
    arguments += ["--destination", str(destination), "--workers", str(workers)]
    started, used = time.monotonic(), processor_seconds()
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started, processor_seconds() - used
    shutil.rmtree(destination, ignore_errors=True)
    if done.returncode:
        print(name, "failed:", done.stderr[-1500:], file=sys.stderr)
        return None
    return seconds


def memory(source: Path, n_shards: int) -> None:
    """The largest resident size of the driver and of any worker, with 1, 4 and 16 times the pages in as many shards."""
    rows = []
    for repeat in (1, 4, 16):
        with tempfile.TemporaryDirectory() as temporary:
            pages, destination = Path(temporary) / "pages", Path(temporary) / "out"
            n = write_pages(source, pages, n_shards, repeat)
            n_bytes = sum(path.stat().st_size for path in pages.iterdir())
            arguments = [sys.executable, __file__, str(pages), "--run", "fourhorn"]
            arguments += ["--destination", str(destination), "--workers", "2"]
            done = subprocess.run(arguments, capture_output=True, text=True, check=True)
            driver, worker = json.loads(done.stdout.splitlines()[-1])
            rows.append([f"{n:,}", f"{n_bytes / 1e6:,.0f} MB", f"{worker:,.0f} MB", f"{driver:,.0f} MB"])
            print(rows[-1], flush=True)
    head = ["pages", "WARC files", "largest worker", "driver"]
    notes = [f"{n_shards} shards on two workers; a worker takes 100 shards before it is replaced."]
    script = Path(__file__).with_name("webtext_engine_memory.py")
    write_table(str(script), "Memory of the extraction stage", head, rows, notes)


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=list(CONTESTANTS))
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--run")
    parser.add_argument("--destination", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.run:
        arguments.destination.mkdir(parents=True)
        CONTESTANTS[arguments.run](arguments.folder, arguments.destination, arguments.workers)
        peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in WHO]
        print(json.dumps(peaks))
        return
    if arguments.memory:
        memory(arguments.folder, arguments.shards)
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        n = write_pages(arguments.folder, root / "pages", arguments.shards, arguments.repeat)
        seconds: dict[str, list[tuple[float, float]]] = {}
        for _ in range(arguments.rounds):
            for name in [*arguments.only, "fourhorn, one worker"]:
                workers = 1 if name == "fourhorn, one worker" else 2
                contestant = "fourhorn" if workers == 1 else name
                found = timed(contestant, root / "pages", root / "out", workers)
                if found is not None:
                    seconds.setdefault(name, []).append(found)
                    print(name, f"{found[0]:.1f} s by the clock, {found[1]:.1f} processor s", flush=True)
    report(seconds, n)


def report(seconds: dict[str, list[tuple[float, float]]], n: int) -> None:
    def fastest(name: str, kind: int) -> float:
        return min(found[kind] for found in seconds[name])

    rows = []
    for name in seconds:
        package = PACKAGES.get(name)
        try:
            found_version = version(package) if package else ""
        except PackageNotFoundError:
            found_version = "?"
        clock, used = fastest(name, 0), fastest(name, 1)
        bare = [fastest("bare process pool", kind) for kind in (0, 1)]
        figures = [
            f"{clock:.1f}",
            f"{n / clock:.0f}",
            f"{bare[0] / clock:.2f}",
            f"{used:.1f}",
            f"{bare[1] / used:.2f}",
        ]
        rows.append([name, found_version, *figures])
    notes = [
        f"{n:,} pages; the best of {len(seconds['fourhorn'])} rounds. Processor seconds count all child processes that "
        "end before their parent, which Ray's do not; they do not depend on what else the machine does."
    ]
    if "fourhorn, one worker" in seconds:
        notes.append(
            f"From one worker to two: {fastest('fourhorn, one worker', 0) / fastest('fourhorn', 0):.2f}×."
        )
    head = [
        "engine",
        "version",
        "seconds",
        "pages/s",
        "of the bare pool",
        "processor seconds",
        "of the bare pool",
    ]
    write_table(__file__, "Extraction as a whole stage, two workers", head, rows, notes)


if __name__ == "__main__":
    main()
