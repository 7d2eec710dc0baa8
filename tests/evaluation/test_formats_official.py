"""Readers take the official formats, count what real files hold, and name file, line and reason of what is wrong."""

from pathlib import Path

import pytest

from fourhorn.errors import UserError
from fourhorn.evaluation import formats
from fourhorn.evaluation.load import POCKET

CBT = "".join(f"{i} Sentence number {i} . \n" for i in range(1, 21))
QUERY = "21 The XXXXX slept .\tcat\t\ta|b|c|cat|d|e|f|g|h|i\n"


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_official_files_hold_the_official_counts(real: Path) -> None:
    assert len(formats.read_lambada(real / "lambada" / "lambada_test.openai.jsonl")) == 5153
    assert len(formats.read_childrens_book(real / "cbt" / "cbtest_NE_valid_2000ex.reconstructed.txt")) == 2000
    assert len(formats.read_winograd(real / "wsc273" / "WSCollection.xml")) == 285
    assert len(formats.read_questions(real / "nq_open" / "NQ-open.dev.jsonl")) == 3610
    assert (
        len(formats.read_articles(real / "cnn_dm_sample" / "src.txt", real / "cnn_dm_sample" / "ref.txt"))
        == 100
    )
    for side in ("src.en", "src.fr", "ref.en", "ref.fr"):
        assert len(formats.read_segments(real / "wmt14_fren" / f"newstest2014-fren-{side}.sgm")) == 3003


def test_the_pocket_sets_are_well_formed_and_large_enough() -> None:
    schemata = formats.read_winograd(POCKET / "winograd.xml")
    conversations = formats.read_coqa(POCKET / "coqa.json")
    articles = formats.read_articles(POCKET / "articles.src.txt", POCKET / "articles.ref.txt")
    pairs = [formats.read_segments(POCKET / name) for name in ("pairs-src.en.sgm", "pairs-ref.fr.sgm")]
    questions = formats.read_questions(POCKET / "questions.jsonl")
    assert (len(schemata), sum(s.label for s in schemata)) == (72, 36)
    assert (len(conversations), sum(len(c.questions) for c in conversations)) == (21, 140)
    assert len(articles) == 22
    assert [len(side) for side in pairs] == [66, 66]
    assert len(questions) == 109


def test_a_candidate_may_be_the_separator_itself() -> None:
    assert formats.split_candidates("a|b|||c") == ("a", "b", "|", "c")
    assert formats.split_candidates("a|b||") == ("a", "b", "|")
    assert formats.split_candidates("||a|b") == ("|", "a", "b")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CBT + QUERY.replace("|i", "|i|j"), "line 21: 11 candidates where 10 must stand"),
        (CBT + QUERY.replace("\tcat\t", "\tdog\t"), "line 21: the answer 'dog' is none of the candidates"),
        (CBT + QUERY.replace("\tcat\t", "\t\t"), "line 21: an empty answer"),
        (CBT + QUERY.replace("XXXXX", "cat"), "line 21: the query needs exactly one XXXXX"),
        (CBT + "21 The XXXXX sl", "line 21: 1 tab-separated fields"),
        (CBT, "line 20: a question of 20 lines where 21 must stand"),
        (CBT.replace("7 Sen", "9 Sen") + QUERY, "line 21: line '9' where number 7"),
    ],
)
def test_a_malformed_cloze_question_names_line_and_reason(tmp_path: Path, text: str, reason: str) -> None:
    path = write(tmp_path, "cbt.txt", text)
    with pytest.raises(UserError, match=reason) as error:
        formats.read_childrens_book(path)
    assert str(path) in str(error.value)
    problems: list[str] = []
    assert (
        len(formats.read_childrens_book(write(tmp_path, "two.txt", f"{text}\n\n{CBT}{QUERY}"), problems)) == 1
    )
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("name", "text", "reader", "reason"),
    [
        ("a.jsonl", '{"text": "one two"}\n{"text": "cut', formats.read_lambada, "line 2: cut off or not JSON"),
        ("a.jsonl", '{"text": "word"}\n', formats.read_lambada, 'line 1: needs a "text" of two words'),
        ("a.jsonl", b'{"text": "one tw\xff"}\n', formats.read_lambada, "line 1: not UTF-8 .byte 0xff at 16"),
        ("q.jsonl", '{"question": "who", "answer": [""]}\n', formats.read_questions, "line 1: an empty answer"),
        ("q.jsonl", '{"question": "who"}\n', formats.read_questions, "line 1: needs"),
        ("w.xml", "<collection><schema></collection>", formats.read_winograd, "line 1: not well-formed XML"),
        ("w.xml", "<c><schema><answer>a</answer></schema></c>", formats.read_winograd, "schema 1: 1 answers"),
        ("c.json", "[]", formats.read_coqa, "not a CoQA file"),
        ("c.json", '{"data": [{"id": 1}]}', formats.read_coqa, "conversation 1: field 'answers' is missing"),
        ("s.sgm", '<seg id="1">a</seg>\n<seg id="2">b', formats.read_segments, "line 2: 2 segments opened but 1"),
    ],
)  # fmt: skip
def test_a_malformed_file_names_file_line_and_reason(tmp_path: Path, name, text, reader, reason) -> None:  # type: ignore[no-untyped-def]
    path = write(tmp_path, name, text)
    with pytest.raises(UserError, match=reason) as error:
        reader(path)
    assert str(path) in str(error.value)


def test_articles_and_summaries_must_be_as_many(tmp_path: Path) -> None:
    source, reference = write(tmp_path, "src.txt", "one\ntwo\n"), write(tmp_path, "ref.txt", "<t> one </t>\n")
    with pytest.raises(UserError, match="2 articles but .* 1 summaries"):
        formats.read_articles(source, reference)
