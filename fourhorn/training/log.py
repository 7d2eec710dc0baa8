"""What a run leaves to read: one line of figures per step, a picture of the loss, and optional trackers.

`metrics.jsonl` gets one JSON object per step (`step loss learning_rate grad_norm tokens_per_second mfu`) and one per
measurement of the held-out loss (`step val_loss`). A resumed run first drops the lines past its state, so the file
reads as if the run had never stopped. `loss.svg` is drawn by hand: a line needs no plotting library.

Losses are in nats per token.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fourhorn.errors import UserError
from fourhorn.files import atomic_write, read_json
from fourhorn.training.config import TrainConfig
from fourhorn.training.reference import BEFORE, expected_loss


class Metrics:
    """Appends to `metrics.jsonl`, and to a tracker where one is asked for."""

    def __init__(
        self, run: Path, *, step: int, track: str = "", options: dict[str, Any] | None = None
    ) -> None:
        self.path = run / "metrics.jsonl"
        kept = [row for row in read_metrics(run) if row["step"] <= step]
        with atomic_write(self.path, "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in kept)
        self._file = open(self.path, "a", buffering=1)
        self._send, self._end = _tracker(track, run, options or {})

    def write(self, **row: Any) -> None:
        """Add one line."""
        self._file.write(json.dumps(row) + "\n")
        self._send(row)

    def close(self) -> None:
        """Sync the file and end the tracker."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._end()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run so far; a last one cut off by a crash is left out."""
    rows = []
    try:
        with open(run / "metrics.jsonl", encoding="utf-8") as file:
            for line in file:
                try:
                    rows.append(json.loads(line))
                except ValueError:
                    break
    except FileNotFoundError:
        pass
    return rows


def _tracker(
    name: str, run: Path, options: dict[str, Any]
) -> tuple[Callable[[dict[str, Any]], None], Callable[[], None]]:
    if not name:
        return (lambda row: None), (lambda: None)
    try:
        if name == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            board = SummaryWriter(run / "tensorboard")

            def send(row: dict[str, Any]) -> None:
                for key, value in row.items():
                    if key != "step" and isinstance(value, int | float):
                        board.add_scalar(key, value, row["step"])

            return send, board.close
        module = __import__(name)
    except ImportError:
        raise UserError(f"--track {name} needs the extra `track`: pip install 'fourhorn[track]'.") from None
    module.init(project="fourhorn", name=run.name, config=options)
    return (lambda row: module.log(row)), (lambda: module.finish())


# ----------------------------------------------------------------------------------------------------- the picture

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 360, 52, 36, 16


def draw_loss(run: Path) -> Path:
    """Draw `loss.svg` from `metrics.jsonl`: the training loss, smoothed, held-out losses, the reference band."""
    rows = read_metrics(run)
    train = [(row["step"], row["loss"]) for row in rows if row.get("loss") is not None]
    held = [(row["step"], row["val_loss"]) for row in rows if row.get("val_loss") is not None]
    points = _smoothed(train)
    path = run / "loss.svg"
    with atomic_write(path, "w") as file:
        band = _band(run, rows[-1]["step"]) if rows else []
        file.write(
            _svg(points, held, band) if points + held else '<svg xmlns="http://www.w3.org/2000/svg"/>\n'
        )
    return path


def _band(run: Path, last: int) -> list[tuple[int, float]]:
    """The outline of the reference band up to a step; empty where no curve holds."""
    if not (run / "options.json").exists():
        return []
    config = TrainConfig.from_dict(read_json(run / "options.json"))
    steps = range(BEFORE, last + 1, max((last - BEFORE) // 100, 1))
    found = [(step, expected_loss(config.model(), step, config.tokens_per_step)) for step in steps]
    held = [(step, expected) for step, expected in found if expected]
    return [(step, e.low) for step, e in held] + [(step, e.high) for step, e in reversed(held)]


def _smoothed(points: list[tuple[int, float]], n_bins: int = 200) -> list[tuple[float, float]]:
    size = max(len(points) // n_bins, 1)
    bins = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(s for s, _ in part) / len(part), sum(v for _, v in part) / len(part)) for part in bins]


def _svg(train: list[Any], held: list[Any], band: list[Any]) -> str:
    every = train + held + band
    last = max(s for s, _ in every) or 1
    low, high = min(v for _, v in every), max(v for _, v in every)
    span = (high - low) or 1.0

    def place(step: float, value: float) -> str:
        x = _LEFT + (_WIDTH - _LEFT - 12) * step / last
        y = _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / span
        return f"{x:.1f},{y:.1f}"

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<title>Loss by step</title><rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for i in range(5):
        value = low + span * i / 4
        x, y = place(0, value).split(",")
        out.append(f'<line x1="{x}" y1="{y}" x2="{_WIDTH - 12}" y2="{y}" stroke="#ddd"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{value:.2f}</text>')
        at = last * i / 4
        out.append(
            f'<text x="{place(at, low).split(",")[0]}" y="{_HEIGHT - 16}" text-anchor="middle">{at:,.0f}</text>'
        )
    if band:
        outline = " ".join(place(*point) for point in band)
        out.append(f'<polygon points="{outline}" fill="#3567a8" opacity="0.12"/>')
    line = " ".join(place(*point) for point in train)
    out.append(f'<polyline points="{line}" fill="none" stroke="#3567a8" stroke-width="1.5"/>')
    for point in held:
        x, y = place(*point).split(",")
        out.append(f'<circle cx="{x}" cy="{y}" r="3" fill="#c1432f"/>')
    out.append(
        f'<text x="{_WIDTH - 16}" y="{_TOP + 8}" text-anchor="end" fill="#3567a8">training loss</text>'
    )
    out.append(
        f'<text x="{_WIDTH - 16}" y="{_TOP + 24}" text-anchor="end" fill="#c1432f">held-out loss</text>'
    )
    if band:
        out.append(
            f'<text x="{_WIDTH - 16}" y="{_TOP + 40}" text-anchor="end" fill="#777">band: others on web text</text>'
        )
    out.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 2}" text-anchor="middle">step</text></svg>\n')
    return "\n".join(out)
