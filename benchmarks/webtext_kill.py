"""SIGKILL at random moments in every stage of the document side, then a restart: are the bytes the same?

    python benchmarks/webtext_kill.py PAGES [--kills 50] [--stages extract clean dedup split stats] [--engine local]

PAGES is a folder of page shards. Each stage is run unbroken once, then killed (the whole run, at a random moment of its
time) and started again in the same folder until so many kills are counted; whenever it finishes, its shards and
manifest are compared with the unbroken run's. At each kill every visible shard must be whole. With `--worker` a random
worker process is killed instead of the run, as the system does when memory runs out.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from table import write_table

from fourhorn.files import read_manifest, sha256_file

FLOW = {
    "extract": ("pages", "raw"),
    "clean": ("raw", "clean"),
    "dedup": ("clean", "unique"),
    "split": ("unique", "webtext"),
    "stats": ("webtext/train", "stats"),
}
CODE = """import sys
from pathlib import Path
from fourhorn.webtext.{0} import {0}
{0}(Path(sys.argv[1]), Path(sys.argv[2]), workers=2, engine=sys.argv[3])"""


def start(stage: str, source: Path, destination: Path, engine: str) -> subprocess.Popen:
    arguments = [sys.executable, "-c", CODE.format(stage), str(source), str(destination), engine]
    return subprocess.Popen(arguments, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def result(folder: Path) -> dict:
    """Everything that must not depend on kills: the bytes of all files, and the manifests but for seconds."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        if path.name != "manifest.json":
            files[str(path.relative_to(folder))] = sha256_file(path)
            continue
        manifest = read_manifest(path.parent)
        files[str(path.relative_to(folder))] = (
            manifest.n_in,
            manifest.n_kept,
            manifest.drops,
            manifest.outputs,
            manifest.details,
        )
    return files


def visible(folder: Path) -> dict:
    """The files that a reader could see in an unfinished folder."""
    paths = [
        p
        for p in folder.rglob("part-*")
        if p.is_file() and not any(x.startswith(".") for x in p.relative_to(folder).parts)
    ]
    return {str(p.relative_to(folder)): sha256_file(p) for p in paths}


def children(pid: int) -> list[int]:
    try:
        return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def campaign(stage: str, root: Path, kills: int, engine: str, worker: bool) -> list:
    source, name = FLOW[stage]
    whole = root / name
    started = time.monotonic()
    if start(stage, root / source, whole, engine).wait():
        raise SystemExit(f"{stage} fails without any kill")
    seconds = time.monotonic() - started
    expected, rng = result(whole), random.Random(stage)
    broken = root / f"broken-{stage}"
    n_kills = n_finished = n_partial = n_different = 0
    while n_kills < kills:
        process = start(stage, root / source, broken, engine)
        try:
            process.wait(timeout=rng.uniform(0.1, seconds))
        except subprocess.TimeoutExpired:
            victims = children(process.pid) if worker else [process.pid]
            if victims:
                os.kill(rng.choice(victims), signal.SIGKILL)
                n_kills += 1
            if worker:
                process.wait()
        process.wait()
        if broken.exists() and read_manifest(broken) is None:
            n_partial += sum(expected.get(name) != value for name, value in visible(broken).items())
        if (broken / "manifest.json").exists():
            if start(
                stage, root / source, broken, engine
            ).wait():  # finishes a clean-up that the kill cut off
                raise SystemExit(f"{stage} fails after a kill")
            n_finished += 1
            n_different += result(broken) != expected
            shutil.rmtree(broken)
    while not (broken / "manifest.json").exists():
        start(stage, root / source, broken, engine).wait()
    n_finished += 1
    n_different += result(broken) != expected
    leftovers = list(broken.rglob(".*"))
    shutil.rmtree(broken)
    row = [stage, f"{seconds:.1f}", n_kills, n_finished, n_partial, n_different, len(leftovers)]
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pages", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--stages", nargs="+", default=list(FLOW), choices=list(FLOW))
    parser.add_argument("--engine", default="local")
    parser.add_argument("--worker", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(arguments.pages, root / "pages")
        rows = []
        for stage in FLOW:
            kills = arguments.kills if stage in arguments.stages else 0
            rows.append(campaign(stage, root, kills, arguments.engine, arguments.worker))
    head = [
        "stage",
        "seconds unbroken",
        "kills",
        "finished runs",
        "partial shards seen",
        "results that differ",
        "left over",
    ]
    what = "a random worker" if arguments.worker else "the whole run"
    write_table(__file__, f"SIGKILL of {what} at random moments, engine {arguments.engine}", head, rows)


if __name__ == "__main__":
    main()
