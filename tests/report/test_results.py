"""Reading a workspace with suspicion."""

from pathlib import Path

from fourhorn.report.results import Workspace, clean, number, thinned


def test_only_finite_numbers_are_numbers():
    assert [number(v) for v in (1, 2.5, True, "3", None, float("nan"), float("inf"), 10**400, [1])] == [
        1.0,
        2.5,
        *[None] * 7,
    ]


def test_text_loses_what_no_page_should_hold():
    assert clean("a\x00b\u202ec\ud800d\ne\tf") == "a\ufffdb\ufffdc\ufffdd\ne\tf"
    assert clean(12) == "12"


def test_a_long_curve_is_thinned_to_means_of_neighbors_and_keeps_its_end():
    points = [(float(i), float(i)) for i in range(1, 1001)]
    short = thinned(points)
    assert len(short) == 250
    assert short[0] == (4.0, 2.5)
    assert short[-1] == (1000.0, 998.5)
    assert thinned(points[:300]) == points[:300]


def test_a_metric_is_scaled_with_its_interval_and_chance():
    row = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100, "chance": 0.1}
    work = Workspace(
        "w", Path("."), results={"m": {"lambada": {"metrics": {"accuracy": row}, "scale": "pocket"}}}
    )
    value = work.value("m", "lambada", "accuracy", 100)
    assert value is not None
    assert (value.value, value.low, value.high, value.n, value.chance, value.scale) == (
        50.0,
        40.0,
        60.0,
        100,
        10.0,
        "pocket",
    )
    assert work.value("m", "lambada", "other") is None
    assert work.is_pocket
