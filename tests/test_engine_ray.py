"""The Ray engine on one machine: outcomes and bytes of the local one, dead workers included."""

import os
import signal
import threading
from pathlib import Path

import pytest

from fourhorn.engine import map_shards
from fourhorn.errors import UserError
from fourhorn.records import write_records
from fourhorn.webtext.dedup import dedup
from fourhorn.webtext.extract import extract, extract_shard
from fourhorn.webtext.stage import Where, open_source, run_shards
from tests.test_engine import die_at_three, hang_in_c, raise_user_error, tasks

ray = pytest.importorskip("ray", reason="the ray engine needs the extra 'ray'")

SENTENCE = (
    "The road went up the hill, and those who walked it in the evening could see the lights of three towns."
)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One local cluster for the whole file: starting it takes seconds."""
    from fourhorn.engine_ray import _connect

    assert _connect(ray, 2) is False
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "pages"
    for shard in range(3):
        rows = []
        for number in range(40):
            text = "".join(f"<p>{SENTENCE} Town {number} of {shard}, view {i}.</p>" for i in range(6))
            rows.append(
                {"url": f"http://hill-{shard}.example/{number}", "html": f"<html><body>{text}</body></html>"}
            )
        write_records(folder / f"part-{shard:05d}.jsonl.zst", rows)
    return folder


def dying_once(shard: str, output: Path, *, flag: str, **kwargs) -> dict:
    """Extraction whose worker is killed from outside in the middle of the first attempt."""
    if not Path(flag).exists():
        Path(flag).touch()
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return extract_shard(shard, output, **kwargs)


def test_a_shard_that_kills_its_worker_is_quarantined_alone_on_ray():
    outcomes = map_shards(die_at_three, tasks(6), workers=2, engine="ray")
    assert [o.value for o in outcomes] == [None if x == 3 else {"x": 2 * x} for x in range(6)]
    assert outcomes[3].error == "worker died (WorkerCrashedError)"
    assert outcomes[3].attempts == 2


def test_a_hang_in_c_code_is_cut_off_on_ray():
    outcomes = map_shards(hang_in_c, tasks(5), workers=2, engine="ray", time_limit_seconds=5, attempts=1)
    assert [o.value for o in outcomes] == [{"x": 0}, {"x": 2}, {"x": 4}, None, {"x": 8}]


def test_a_user_error_crosses_the_cluster():
    with pytest.raises(UserError, match="shard 0 is damaged"):
        map_shards(raise_user_error, tasks(1), workers=1, engine="ray")


def test_stages_write_the_same_bytes_on_ray(pages, tmp_path):
    outputs = {}
    for engine in ("local", "ray"):
        root = tmp_path / engine
        stages = (
            extract(pages, root / "raw", workers=2, engine=engine),
            dedup(root / "raw", root / "unique", workers=2, engine=engine),
        )
        outputs[engine] = [(m.outputs, m.n_kept, m.drops, m.details) for m in stages]
    assert outputs["local"] == outputs["ray"]
    assert outputs["local"][0][1] == 120


def test_a_ray_worker_killed_in_mid_stage_changes_no_byte(pages, tmp_path):
    whole = extract(pages, tmp_path / "whole", workers=2)
    shards = open_source(pages, sorted(pages.iterdir()))
    kwargs = {**whole.options, "run": "a", "flag": str(tmp_path / "killed")}
    results = run_shards(
        dying_once,
        shards,
        tmp_path / "broken",
        phase="extract",
        where=Where(2, "ray", deaths=9),
        kwargs=kwargs,
    )
    assert (tmp_path / "killed").exists()
    assert [r["output"]["sha256"] for r in results] == [line["sha256"] for line in whole.outputs.values()]
