"""The Ray engine on one machine: the same outcomes as the local one, dead workers included."""

import pytest
from test_engine import die, die_at_three, hang_in_c, raise_user_error, tasks

from fourhorn.engine import map_shards
from fourhorn.errors import UserError

ray = pytest.importorskip("ray", reason="the ray engine needs the extra 'ray'")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One local cluster for the whole file: starting it takes seconds."""
    from fourhorn.engine_ray import _connect

    assert _connect(ray, 2) is False
    yield
    ray.shutdown()


def test_a_shard_that_kills_its_worker_is_quarantined_alone_on_ray():
    outcomes = map_shards(die_at_three, tasks(6), workers=2, engine="ray")
    assert [o.value for o in outcomes] == [None if x == 3 else {"x": 2 * x} for x in range(6)]
    assert outcomes[3].error == "worker died (WorkerCrashedError)"
    assert outcomes[3].attempts == 2


def test_a_ray_worker_killed_once_is_retried(tmp_path):
    kwargs = {"x": 4, "flag": str(tmp_path / "died")}
    (outcome,) = map_shards(die, [("a", kwargs)], workers=1, engine="ray")
    assert (outcome.value, outcome.attempts) == ({"x": 8}, 2)


def test_a_hang_in_c_code_is_cut_off_on_ray():
    outcomes = map_shards(hang_in_c, tasks(5), workers=2, engine="ray", time_limit_seconds=2, attempts=1)
    assert [o.value for o in outcomes] == [{"x": 0}, {"x": 2}, {"x": 4}, None, {"x": 8}]


def test_a_user_error_crosses_the_cluster():
    with pytest.raises(UserError, match="shard 0 is damaged"):
        map_shards(raise_user_error, tasks(1), workers=1, engine="ray")
