"""raw/ → clean/: English prose in sound Unicode, and a named reason for every document that is not.

§2.1: "de-duplication and some heuristic based cleaning". In this order: broken Unicode is repaired, documents of
blocked domains or with blocked words are dropped (where lists of them are given), then those in other languages, then
those that break a rule of `quality`. What is kept gets its `language`; nothing else of a text is changed.

Takes any records with a text, so a corpus from elsewhere starts here. In = kept + drops, in documents.
"""

import re
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from fourhorn.errors import UserError, unknown
from fourhorn.files import Manifest, sha256_file
from fourhorn.records import iter_records, write_records
from fourhorn.webtext.documents import document_of, with_text
from fourhorn.webtext.language import check_language, language_of
from fourhorn.webtext.quality import RULES, reason_to_drop
from fourhorn.webtext.stage import Counts, Where, begin, finish, open_source, run_shards

# Control characters but tab and newline, and invisible characters that only carry layout.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2060\ufeff\ufff9-\ufffb\ufffe\uffff]")
_NEWLINES = re.compile("\r\n?|\x85|\u2028|\u2029")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")
_MOJIBAKE = re.compile("[ÂÃâ€ðŸåæçèéêëìíîïÐÑ][\u0080-\u024f\u2018-\u2122]")


def clean(
    source: Path,
    destination: Path,
    *,
    language: str = "en",
    min_language: float = 0.65,
    rules: str = "gopher",
    blocked_words: Path | None = None,
    blocked_domains: Path | None = None,
    workers: int | None = None,
    engine: str = "local",
) -> Manifest:
    """Keep documents that are sound prose in one language.

    Args:
        source: folder of documents, or any .jsonl, .parquet or .txt with texts.
        destination: folder for shards of the kept documents.
        language: ISO 639-1 code of the language to keep, or `any`.
        min_language: smallest share of a text, 0 to 1, that must be in it.
        rules: `gopher` (Rae et al. 2021), `fineweb` (those and FineWeb's rules on lines) or `none`.
        blocked_words: file with one word or phrase per line; documents with one of them are dropped.
        blocked_domains: file with one domain per line; documents from there, or from its subdomains, are dropped.
        workers: processes at a time, default one per CPU.
        engine: `local` or `ray`.
    """
    started = time.monotonic()
    if rules not in (*RULES, "none"):
        raise unknown("set of rules", rules, (*RULES, "none"))
    if language != "any":
        check_language(language)
    if not 0 <= min_language <= 1:
        raise UserError(f"min_language is {min_language:g}; it is a share of the text, between 0 and 1.")
    options: dict[str, Any] = {"language": language, "min_language": min_language, "rules": rules}
    lists = {"blocked_words": blocked_words, "blocked_domains": blocked_domains}
    documents = open_source(source)
    inputs = documents.inputs | {name: sha256_file(_readable(path)) for name, path in lists.items() if path}
    if (done := begin(destination, "clean", options, inputs)) is not None:
        return done
    results = run_shards(
        clean_shard,
        documents,
        destination,
        phase="clean",
        where=Where(workers, engine),
        kwargs={**options, **{name: str(path) if path else None for name, path in lists.items()}},
    )
    return finish(destination, "clean", options, inputs, results, started)


def clean_shard(
    shard: str,
    output: Path,
    *,
    language: str,
    min_language: float,
    rules: str,
    blocked_words: str | None,
    blocked_domains: str | None,
) -> Counts:
    """Clean one shard of documents."""
    drops: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    n_bytes = n_repaired = n_in = 0

    def documents() -> Iterator[dict[str, Any]]:
        nonlocal n_bytes, n_repaired, n_in
        for record in iter_records(shard):
            n_in += 1
            document = document_of(record)
            text = repair(document["text"])
            if text != document["text"]:
                n_repaired += 1
                document = with_text(document, text)
            reason = blocked(document, blocked_words, blocked_domains)
            if reason is None:
                document["language"], share = language_of(text)
                languages[document["language"]] += 1
                if language != "any" and (document["language"] != language or share < min_language):
                    reason = "other_language"
            if reason is None and rules != "none":
                reason = reason_to_drop(text, rules)
            if reason is None:
                n_bytes += len(text.encode())
                yield document
            else:
                drops[reason] += 1

    n_kept = write_records(output, documents())
    details = {"n_bytes_text": n_bytes, "n_repaired": n_repaired, "languages": languages}
    return {"n_in": n_in, "n_kept": n_kept, "drops": drops, "details": details}


def repair(text: str) -> str:
    """Sound Unicode: mojibake undone, line ends alike, control characters out, NFC, no more than one blank line."""
    text = text.encode("utf-8", errors="replace").decode()  # lone surrogates
    if not text.isascii():
        if _MOJIBAKE.search(text):
            text = _fix_encoding(text)
        text = unicodedata.normalize("NFC", text)
    text = _CONTROL.sub("", _NEWLINES.sub("\n", text))
    return _BLANK_LINES.sub("\n\n", text).strip()


def _fix_encoding(text: str) -> str:
    try:
        from ftfy import fix_encoding
    except ImportError:
        raise UserError("Repairing Unicode needs ftfy: pip install 'fourhorn[webtext]'.") from None
    fixed: str = fix_encoding(text)
    return fixed


def blocked(document: dict[str, Any], words: str | None, domains: str | None) -> str | None:
    """Why a document is not wanted at all, or None; the place for further checks of content."""
    if domains and document["domain"] and _within(document["domain"].lower(), _lines(domains)):
        return "blocked_domain"
    if words and (pattern := _pattern(words)) and pattern.search(document["text"]):
        return "blocked_words"
    return None


def _within(domain: str, listed: frozenset[str]) -> bool:
    labels = domain.split(".")
    return any(".".join(labels[i:]) in listed for i in range(len(labels)))


@cache
def _lines(path: str) -> frozenset[str]:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return frozenset(line.strip().lower() for line in lines if line.strip() and not line.startswith("#"))


@cache
def _pattern(path: str) -> re.Pattern[str] | None:
    terms = sorted(_lines(path))
    return (
        re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, terms))})(?!\w)", re.IGNORECASE) if terms else None
    )


def _readable(path: Path) -> Path:
    if not Path(path).is_file():
        raise UserError(f"{path} is not a file. Give a text file with one entry per line.")
    return path
