"""Progress in log files is plain lines without control characters."""

import pytest

from fourhorn.progress import Bar, duration, progress


def test_durations_read_well() -> None:
    assert [duration(s) for s in (0.12, 9.94, 42, 185, 7800)] == [
        "0.1 s",
        "9.9 s",
        "42 s",
        "3 min 05 s",
        "2 h 10 min",
    ]


def test_a_line_has_count_rate_and_figures() -> None:
    bar = Bar("train", 100, "steps")
    bar.done, bar.figures = 40, {"loss": 3.21456, "kept": 1024}
    bar.started -= 10
    text = bar.text()
    assert text.startswith("train: 40/100 steps, 4.0 steps/s, 15 s left, loss 3.215, kept 1,024")


def test_short_work_logs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("quick", total=3) as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""


def test_long_work_logs_a_last_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("slow", total=3, unit="pages") as bar:
        bar.started -= 5
        bar.update(3, kept=2)
    err = capsys.readouterr().err
    assert err.startswith("slow: 3/3 pages, ")
    assert "\x1b" not in err
    assert "kept 2" in err
