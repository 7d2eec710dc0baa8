"""Counters and latencies in Prometheus' text format, without a client library.

In: observations. Out: text for GET /metrics. Raises: nothing. Times are in seconds.
Source: Prometheus' exposition format 0.0.4.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Histogram:
    """How many observations lie at or below each bound."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Add one observation."""
        self.counts[bisect_left(BUCKETS, value)] += 1
        self.total += value

    def lines(self, name: str) -> Iterable[str]:
        """The histogram's lines."""
        yield f"# TYPE {name} histogram"
        n = 0
        for bound, count in zip([*map(str, BUCKETS), "+Inf"], self.counts, strict=True):
            n += count
            yield f'{name}_bucket{{le="{bound}"}} {n}'
        yield f"{name}_sum {self.total:.6f}"
        yield f"{name}_count {n}"


class Metrics:
    """What the server counts about itself."""

    def __init__(self) -> None:
        self.responses: Counter[tuple[str, int]] = Counter()
        self.n_disconnects = 0
        self.first_token_seconds = Histogram()
        self.inter_token_seconds = Histogram()

    def text(self, gauges: dict[str, dict[str, int]]) -> str:
        """Everything as text.

        Args:
            gauges: figure → model → value, read off the engines at this moment; names ending in _total are counters.
        """
        lines = ["# TYPE fourhorn_responses_total counter"]
        for (route, status), count in sorted(self.responses.items()):
            lines.append(f'fourhorn_responses_total{{route="{label(route)}",status="{status}"}} {count}')
        lines += [
            "# TYPE fourhorn_disconnects_total counter",
            f"fourhorn_disconnects_total {self.n_disconnects}",
        ]
        for name, by_model in gauges.items():
            lines.append(f"# TYPE fourhorn_{name} {'counter' if name.endswith('_total') else 'gauge'}")
            lines += [
                f'fourhorn_{name}{{model="{label(model)}"}} {value}' for model, value in by_model.items()
            ]
        lines += self.first_token_seconds.lines("fourhorn_first_token_seconds")
        lines += self.inter_token_seconds.lines("fourhorn_inter_token_seconds")
        return "\n".join(lines) + "\n"


def label(text: str) -> str:
    """A label's value with what the format reserves escaped."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
