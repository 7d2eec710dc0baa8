"""The paper's numbers: checks that they agree with one another, as they do in print."""

import pytest

from fourhorn.report.paper import n_params, paper, sizes


def test_the_four_sizes_and_their_weights():
    assert sizes() == ["117M", "345M", "762M", "1542M"]
    assert [n_params(size) for size in sizes()] == [124439808, 354823168, 774030080, 1557611200]


def test_table_3_has_ten_columns_for_every_size_and_the_state_of_the_art():
    table = paper()["table_3"]
    keys = {column["key"] for column in table["columns"]}
    assert len(keys) == 10
    assert all(set(table["rows"][size]) == keys for size in ("SOTA", *sizes()))
    assert table["rows"]["1542M"]["lambada_acc"] == 63.24


def test_the_rouge_averages_of_table_4_are_means_of_the_three():
    for values in paper()["table_4"]["rows"].values():
        assert sum(values[:3]) / 3 == pytest.approx(values[3], abs=0.011)


def test_table_5_has_thirty_answers_in_order_of_probability_of_which_22_are_right():
    rows = paper()["table_5"]["rows"]
    assert len(rows) == 30
    assert sum(row["correct"] for row in rows) == paper()["table_5"]["n_correct"] == 22
    assert [row["probability"] for row in rows] == sorted((row["probability"] for row in rows), reverse=True)


def test_the_means_of_table_6_are_those_of_the_text():
    table = paper()["table_6"]
    assert sum(table["own"]) / 6 == pytest.approx(table["mean_own"], abs=0.05)
    assert sum(table["webtext"]) / 6 == pytest.approx(table["mean_webtext"], abs=0.05)


def test_figure_points_agree_with_the_tables_they_share():
    for panel, column in zip(paper()["figure_2"]["panels"], ("cbt_cn_acc", "cbt_ne_acc"), strict=True):
        rows = paper()["table_3"]["rows"]
        assert panel["series"][0]["values"] == [rows[size][column] for size in sizes()]
    partial = paper()["figure_3"]["panels"][0]["series"][0]["values"]
    assert [round(value * 273 / 100) for value in partial] == [168, 170, 189, 193]
