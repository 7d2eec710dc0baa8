"""Figures are kept line by line and drawn."""

from pathlib import Path
from xml.etree import ElementTree

from fourhorn.files import write_json
from fourhorn.training.config import TrainConfig
from fourhorn.training.log import Metrics, draw_loss, read_metrics


def test_a_resumed_run_drops_the_lines_past_its_state(tmp_path: Path) -> None:
    log = Metrics(tmp_path, step=0)
    for step in range(1, 6):
        log.write(step=step, loss=float(step))
    log.close()
    Metrics(tmp_path, step=3).close()
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3]


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert [row["step"] for row in read_metrics(tmp_path)] == [1]


def test_the_picture_is_valid_and_shows_both_losses(tmp_path: Path) -> None:
    log = Metrics(tmp_path, step=0)
    for step in range(1, 50):
        log.write(step=step, loss=5.0 / step)
    log.write(step=49, val_loss=1.0)
    log.close()
    root = ElementTree.parse(draw_loss(tmp_path)).getroot()
    assert root.tag.endswith("svg")
    assert len(root.findall("{*}polyline")) == 1
    assert len(root.findall("{*}circle")) == 1


def test_the_picture_of_a_run_on_web_text_shows_the_reference_band(tmp_path: Path) -> None:
    log = Metrics(tmp_path, step=0)
    for step in range(100, 5000, 100):
        log.write(step=step, loss=11.0 / step**0.12)
    log.close()
    for n_vocab, n_bands in ((50257, 1), (4096, 0)):
        write_json(tmp_path / "options.json", TrainConfig(n_vocab=n_vocab).to_dict())
        root = ElementTree.parse(draw_loss(tmp_path)).getroot()
        assert len(root.findall("{*}polygon")) == n_bands
