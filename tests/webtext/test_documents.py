"""Any record with a text becomes a document; what is unknown is null."""

import pytest

from fourhorn.errors import UserError
from fourhorn.webtext.documents import FIELDS, document_of, with_text


def test_a_bare_text_gets_an_id_from_its_hash():
    document = document_of({"text": "hello"})
    assert tuple(document) == FIELDS
    assert document["text_sha256"] == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert document["id"] == document["text_sha256"][:32]
    assert document["url"] is document["domain"] is document["karma"] is None


def test_a_url_gives_id_and_domain():
    a = document_of({"text": "x", "url": "https://www.example.co.uk/a?utm_source=b"})
    b = document_of({"content": "y", "url": "http://example.co.uk/a"})
    assert a["id"] == b["id"]
    assert a["domain"] == "example.co.uk"


def test_fields_of_wrong_types_become_null():
    document = document_of({"text": "x", "date": 20170101, "karma": "many", "title": ["t"], "language": None})
    assert (document["date"], document["karma"], document["title"], document["language"]) == (
        None,
        None,
        None,
        None,
    )


def test_a_record_without_text_is_a_user_error():
    with pytest.raises(UserError, match="its columns are body, url"):
        document_of({"url": "http://a.com", "body": None})


def test_another_text_gets_another_hash():
    document = document_of({"text": "a"})
    assert with_text(document, "b")["text_sha256"] == document_of({"text": "b"})["text_sha256"]
