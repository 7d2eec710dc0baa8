"""Official files are found under their names, recognized by hash and counts, and refused when they are others."""

import shutil
from pathlib import Path

import pytest

from fourhorn.errors import UserError
from fourhorn.evaluation import datasets
from fourhorn.evaluation.load import TASKS, DataOptions, load_task


def test_every_task_of_the_paper_has_an_official_set() -> None:
    own = {"webtext", "webtext_perplexity"}
    assert set(datasets.OFFICIAL) == set(TASKS) - own
    for spec in datasets.OFFICIAL.values():
        assert spec.urls, spec.name
        assert spec.license, spec.name


def test_check_tells_official_from_other_and_missing(real: Path) -> None:
    found = datasets.check(real)
    status = {name: f.status if isinstance(f, datasets.Found) else f for name, f in found.items()}
    official = {"wikitext2", "lambada", "winograd", "wmt14_en_fr", "wmt14_fr_en", "natural_questions"}
    assert {name for name, s in status.items() if s == "official"} == official
    assert status["cbt_ne"] == "counts agree"
    assert status["cnn_dailymail"] == "other"
    assert all(
        status[name] is None for name in ("coqa", "cbt_cn", "enwik8", "text8", "ptb", "1bw", "wikitext103")
    )


def test_a_wrong_file_is_refused_with_expected_and_found_figures(tmp_path: Path) -> None:
    (tmp_path / "NQ-open.dev.jsonl").write_text('{"question": "who", "answer": ["me"]}\n')
    with pytest.raises(
        UserError, match=r"1 questions, expected 3,610.*fourhorn data fetch natural_questions"
    ):
        load_task("natural_questions", DataOptions(data=tmp_path))
    task = load_task("natural_questions", DataOptions(data=tmp_path, other_files=True))
    assert not isinstance(task, str)
    assert (task.n_items, task.source.scale) == (1, "other")


def test_malformed_items_are_refused_or_counted(tmp_path: Path) -> None:
    text = '{"question": "who", "answer": ["me"]}\n{"question": "what", "answer": []}\n'
    (tmp_path / "NQ-open.dev.jsonl").write_text(text)
    with pytest.raises(UserError, match="line 2: an empty answer"):
        load_task("natural_questions", DataOptions(data=tmp_path, other_files=True))
    task = load_task("natural_questions", DataOptions(data=tmp_path, other_files=True, skip_malformed=True))
    assert not isinstance(task, str)
    assert (task.n_items, task.skipped) == (1, {"malformed": 1})


def test_wikitext_103_is_not_taken_for_wikitext_2(tmp_path: Path) -> None:
    (tmp_path / "wikitext-103").mkdir()
    (tmp_path / "wikitext-103" / "wiki.test.tokens").write_text(" = A = \n")
    assert datasets.find("wikitext2", tmp_path) is None
    assert datasets.find("wikitext103", tmp_path) is not None


def test_a_set_without_any_data_is_reported_missing() -> None:
    assert load_task("ptb", DataOptions()) == "no file of Penn Treebank test (Mikolov)"
    assert "held-out" in str(load_task("webtext", DataOptions()))


def test_compressed_official_files_are_read(tmp_path: Path, real: Path) -> None:
    import gzip

    with (
        open(real / "nq_open" / "NQ-open.dev.jsonl", "rb") as source,
        gzip.open(tmp_path / "NQ-open.dev.jsonl.gz", "wb") as target,
    ):
        shutil.copyfileobj(source, target)
    found = datasets.verify("natural_questions", datasets.find("natural_questions", tmp_path) or ())
    assert (found.n_items, found.status) == (3610, "official")
