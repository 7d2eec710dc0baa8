"""Numbers as a reader wants them: digits that mean something, thousands apart, units in words.

In: plain numbers. Out: short text; "–" stands for what is absent. Sources: none, house style.
"""

from fourhorn.report.results import Value

ABSENT = "–"


def count(value: float | None) -> str:
    """`12,345`."""
    return ABSENT if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """`3.4M`, `124M`, `1.56B`: three digits and a magnitude."""
    if value is None:
        return ABSENT
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def decimal(value: float | None) -> str:
    """Two digits after the point below a thousand, none above, powers of ten far beyond."""
    if value is None:
        return ABSENT
    size = abs(value)
    n_digits = 0 if size >= 1000 else 1 if size >= 100 else 2
    text = scientific(size) if size >= 1e6 else f"{size:,.{n_digits}f}"
    return f"−{text}" if value < 0 and text.strip("0.") else text


def interval(value: Value | None) -> str:
    """`11.80 to 12.92`, or nothing."""
    if value is None or value.low is None or value.high is None:
        return ""
    return f"{decimal(value.low)} to {decimal(value.high)}"


def percent(share: float | None) -> str:
    """A share in [0, 1] as `12.3 %`."""
    return ABSENT if share is None else f"{100 * share:.3g} %" if share < 0.1 else f"{100 * share:.1f} %"


def surest(percent_: float | None) -> str:
    """A probability in percent as Table 5 prints it, `83.4`; below a twentieth of one in powers of ten."""
    if percent_ is None:
        return ABSENT
    return f"{percent_:.1f}" if percent_ >= 0.05 or percent_ == 0 else f"{percent_:.0e}".replace("e-0", "e-")


def n_bytes(value: float | None) -> str:
    """`8.2 MB`."""
    if value is None:
        return ABSENT
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} bytes"


def seconds(value: float | None) -> str:
    """`42 s`, `3.5 min`, `2.1 h`."""
    if value is None:
        return ABSENT
    if value < 90:
        return f"{value:.3g} s"
    return f"{value / 60:.3g} min" if value < 5400 else f"{value / 3600:.3g} h"


def rate(value: float | None) -> str:
    """A learning rate as `6.3e-4`."""
    if value is None:
        return ABSENT
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def flops(value: float | None) -> str:
    """`1.23e15`."""
    return ABSENT if value is None else scientific(value)


def scientific(value: float) -> str:
    """`1.23e6`: three digits and a power of ten."""
    return f"{value:.2e}".replace("e+0", "e").replace("e+", "e")
