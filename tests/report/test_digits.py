"""Numbers as words."""

from fourhorn.report import digits
from fourhorn.report.results import Value


def test_numbers_get_the_digits_that_mean_something():
    assert [digits.decimal(v) for v in (0.98, 35.131, 605.24, 1234.5, 1.55e7, None)] == [
        "0.98",
        "35.13",
        "605.2",
        "1,234",
        "1.55e7",
        "–",
    ]
    assert [digits.decimal(v) for v in (-0.8, -2274.2, -0.001, -0.0)] == ["−0.80", "−2,274", "0.00", "0.00"]
    assert [digits.short(v) for v in (88_500, 6_140_000, 1_557_611_200, 12, None)] == [
        "88.5k",
        "6.14M",
        "1.56B",
        "12",
        "–",
    ]
    assert [digits.n_bytes(v) for v in (8_640_000, 40e9, 12)] == ["8.64 MB", "40 GB", "12 bytes"]
    assert [digits.seconds(v) for v in (42, 232, 7200)] == ["42 s", "3.87 min", "2 h"]
    assert [digits.rate(v) for v in (2e-3, 6.25e-4, 1e-3)] == ["2e-3", "6.25e-4", "1e-3"]
    assert digits.flops(1.78e14) == "1.78e14"
    assert [digits.percent(v) for v in (0.0661, 0.5, 0.0)] == ["6.61 %", "50.0 %", "0 %"]
    assert [digits.surest(v) for v in (83.41, 0.05, 0.0, 0.0145, 3.1e-7, None)] == [
        "83.4",
        "0.1",
        "0.0",
        "1e-2",
        "3e-7",
        "–",
    ]


def test_an_interval_needs_both_ends():
    assert digits.interval(Value(14.0, 11.2, 16.8)) == "11.20 to 16.80"
    assert digits.interval(Value(14.0, 11.2)) == ""
    assert digits.interval(None) == ""
