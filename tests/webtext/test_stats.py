"""Statistics of a set of documents, and the funnel of the stages before."""

import pytest

from fourhorn.errors import UserError
from fourhorn.files import Manifest, read_json, write_manifest
from fourhorn.records import write_records
from fourhorn.webtext.stats import percentiles, read_domains, stats


def test_domains_lengths_languages_and_funnel(tmp_path):
    rows = [
        {
            "text": "one two",
            "url": "http://www.github.com/a",
            "language": "en",
            "date": "2016-02-01T00:00:00Z",
        },
        {"text": "three", "url": "http://github.com/b", "language": "en", "date": "2017-02-01T00:00:00Z"},
        {"text": "Über", "url": "http://news.example.org/c", "language": "de"},
    ]
    write_records(tmp_path / "unique" / "part-00000.jsonl", rows)
    write_manifest(tmp_path / "unique", Manifest("dedup", {}, n_in=5, n_kept=3, drops={"exact_duplicate": 2}))
    (tmp_path / "domains.txt").write_text("60 google\n40 github\n")
    stats(tmp_path / "unique", tmp_path / "stats", domains=tmp_path / "domains.txt", workers=1)
    value = read_json(tmp_path / "stats" / "stats.json")
    assert (value["n_documents"], value["n_bytes_text"], value["n_words"]) == (3, 17, 4)
    assert value["languages"] == {"en": 2, "de": 1}
    assert value["years"] == {"2016": 1, "2017": 1, "unknown": 1}
    assert value["domains"] == [
        {"domain": "github.com", "n": 2, "share": 0.666667, "reference_share": 0.4},
        {"domain": "example.org", "n": 1, "share": 0.333333, "reference_share": None},
    ]
    assert value["reference_absent"] == ["google"]
    assert value["funnel"] == [{"stage": "dedup", "n_in": 5, "n_kept": 3, "drops": {"exact_duplicate": 2}}]
    assert (tmp_path / "stats" / "domains.txt").read_text() == "2 github.com\n1 example.org\n"


def test_percentiles_of_a_table():
    assert percentiles({10: 50, 20: 49, 30: 1}) == {
        "1": 10,
        "5": 10,
        "25": 10,
        "50": 10,
        "75": 20,
        "95": 20,
        "99": 20,
    }
    assert percentiles({}) == {}


def test_a_list_of_something_else_is_a_user_error(tmp_path):
    (tmp_path / "list").write_text("just words\n")
    with pytest.raises(UserError, match="no list of domains"):
        read_domains(tmp_path / "list")
    with pytest.raises(UserError, match="give at least 1"):
        stats(tmp_path, tmp_path / "out", top=0)
