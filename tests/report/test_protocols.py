"""What stands beneath a table: the protocol in words, and whose set it was."""

from pathlib import Path

import pytest

from fourhorn.report.protocols import protocol, words
from fourhorn.report.results import Workspace
from fourhorn.report.tables import marks, measured


def test_a_protocol_says_its_strides_and_units_but_not_its_example_texts():
    choices = {
        "unit": "words",
        "accuracy": "of another metric",
        "strides": [1024, 32],
        "units": {"words": 245_569, "bytes": 1_256_449},
        "example_pairs": [["question", "answer"]],
        "nested": {"splits": {"words": 3}},
    }
    assert words(choices, "word_perplexity") == (
        "unit: words; strides: 1,024, 32; units: 245,569 words, 1,256,449 bytes"
    )


@pytest.mark.parametrize(
    ("scale", "label"),
    [("official", "official"), ("pocket", "pocket scale"), ("other", "another file"), (None, "–")],
)
def test_only_an_official_file_is_called_official(scale, label):
    result = {"metrics": {"rouge_avg": {"value": 31.5, "n": 100}}, "dataset": "articles"}
    result |= {"scale": scale} if scale else {}
    work = Workspace("run", Path("."), results={"m": {"cnn_dailymail": result}})
    table = protocol([work], [("Summarization", "cnn_dailymail", "rouge_avg", 1.0)])
    assert table is not None
    assert [cell.text for cell in table.rows[0]][2:5] == ["articles", label, "100"]


def test_beside_official_sets_a_number_of_another_set_is_marked():
    def result(scale):
        return {"metrics": {"accuracy": {"value": 0.5, "n": 10}}, "scale": scale}

    pocket = {"lambada": result("pocket")}
    mixed = {**pocket, "winograd": result("official"), "cbt_cn": result("other")}
    for results, texts in ((mixed, ["0.50†", "0.50", "0.50‡"]), (pocket, ["0.50"])):
        work = Workspace("run", Path("."), results={"m": results})
        cells = [measured(work.value("m", task, "accuracy"), work) for task in results]
        assert [cell.text for cell in cells] == texts
        assert bool(marks([work])) == (results is mixed)
