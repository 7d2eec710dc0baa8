"""The cleaning stage: repaired, English, not blocked, prose; everything else counted by reason."""

import pytest

from fourhorn.errors import UserError
from fourhorn.records import iter_records, write_records
from fourhorn.webtext.clean import clean, repair
from tests.webtext.test_language import SENTENCES
from tests.webtext.test_quality import PROSE


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("it wasnâ€™t the cafÃ©", "it wasn’t the café"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("a\x00b\x1b\ufeffc\u200b", "abc"),
        ("e\u0301", "é"),
        ("a\n\n \n\t\n\nb", "a\n\nb"),
        ("  keep\n    indented code\n", "keep\n    indented code"),
        ("lone \ud800 half", "lone ? half"),
        ("Â£ and ÅÄÖ are letters, “quotes” stay", "£ and ÅÄÖ are letters, “quotes” stay"),
        ("naïve café, Ñandú, ÃO", "naïve café, Ñandú, ÃO"),
    ],
)
def test_unicode_is_repaired_and_sound_text_left_alone(text, repaired):
    assert repair(text) == repaired
    assert repair(repaired) == repaired


def run(tmp_path, rows, **options):
    write_records(tmp_path / "raw" / "part-00000.jsonl", rows)
    manifest = clean(tmp_path / "raw", tmp_path / "clean", workers=1, **options)
    return manifest, list(iter_records(tmp_path / "clean"))


def test_every_document_is_kept_or_counted(tmp_path):
    rows = [
        {"text": PROSE, "url": "http://news.example.com/a"},
        {"text": SENTENCES["de"] * 20},
        {"text": "Too short to say anything."},
        {"text": PROSE + " Buy our Wonder Pills today!"},
        {"text": PROSE + " once more", "url": "http://www.spam.test/x"},
        {"text": PROSE.replace("it was too late", "it wasnâ€™t too late")},
    ]
    (tmp_path / "words").write_text("# comment\nwonder pills\n")
    (tmp_path / "domains").write_text("spam.test\n")
    manifest, kept = run(
        tmp_path, rows, blocked_words=tmp_path / "words", blocked_domains=tmp_path / "domains"
    )
    assert (manifest.n_in, manifest.n_kept) == (6, 2)
    assert manifest.drops == {
        "other_language": 1,
        "too_few_words": 1,
        "blocked_words": 1,
        "blocked_domain": 1,
    }
    assert [d["language"] for d in kept] == ["en", "en"]
    assert "it wasn’t too late" in kept[1]["text"]
    assert manifest.details["n_repaired"] == 1
    assert manifest.details["n_bytes_text"] == sum(len(d["text"].encode()) for d in kept)


def test_rules_and_language_can_be_switched_off(tmp_path):
    rows = [{"text": SENTENCES["fr"]}, {"text": "short"}]
    manifest, kept = run(tmp_path, rows, language="any", rules="none")
    assert manifest.n_kept == 2
    assert kept[0]["language"] == "fr"


def test_wrong_options_are_user_errors(tmp_path):
    write_records(tmp_path / "raw" / "part-00000.jsonl", [{"text": PROSE}])
    with pytest.raises(UserError, match="no language 'xx'"):
        clean(tmp_path / "raw", tmp_path / "clean", language="xx")
    with pytest.raises(UserError, match="between 0 and 1"):
        clean(tmp_path / "raw", tmp_path / "clean", min_language=65)
    with pytest.raises(UserError, match="no set of rules 'c4'"):
        clean(tmp_path / "raw", tmp_path / "clean", rules="c4")
    with pytest.raises(UserError, match="is not a file"):
        clean(tmp_path / "raw", tmp_path / "clean", blocked_words=tmp_path / "none")
