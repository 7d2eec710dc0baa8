"""A document: one page's text with where it came from, the record of every shard from `raw/` on.

§2.1's 8 million documents are rows of this kind. `document_of(record)` makes one of any record with a `text`, so that
a corpus from elsewhere (OpenWebText, FineWeb, a user's own files) enters at any stage; what is unknown is null. The
id is the URL's key hash, or the text's where there is no URL, so a document keeps its id whatever shard it is in.
"""

from typing import Any

from fourhorn.errors import UserError
from fourhorn.files import sha256_bytes
from fourhorn.webtext import urls

FIELDS = ("id", "url", "domain", "date", "karma", "title", "text", "extractor", "language", "text_sha256")
_TEXT_COLUMNS = ("text", "content", "raw_content")


def document_of(record: dict[str, Any]) -> dict[str, Any]:
    """The document of any record with a text; fields this project does not know are left out."""
    text = next((record[c] for c in _TEXT_COLUMNS if isinstance(record.get(c), str)), None)
    if text is None:
        raise UserError(
            f"A record has no text: its columns are {', '.join(sorted(record)) or 'none'}; one must be text."
        )
    document: dict[str, Any] = {field: record.get(field) for field in FIELDS}
    document["text"] = text
    document["text_sha256"] = text_hash(text)
    url = document["url"] if isinstance(document["url"], str) else None
    if not isinstance(document["id"], str):
        document["id"] = (urls.url_id(url) if url else None) or document["text_sha256"][:32]
    document["url"] = url
    document["domain"] = document["domain"] or (urls.domain_of(url) if url else None)
    for field in ("date", "title", "extractor", "language"):
        document[field] = document[field] if isinstance(document[field], str) else None
    document["karma"] = document["karma"] if isinstance(document["karma"], int) else None
    return document


def with_text(document: dict[str, Any], text: str) -> dict[str, Any]:
    """The same document with another text and its hash."""
    return {**document, "text": text, "text_sha256": text_hash(text)}


def text_hash(text: str) -> str:
    """The hexadecimal SHA-256 of a text's UTF-8 bytes."""
    return sha256_bytes(text.encode("utf-8", errors="surrogatepass"))
