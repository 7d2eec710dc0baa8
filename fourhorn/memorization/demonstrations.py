"""Translations that occur by themselves in the training text: the paper's Table 1.

§2 argues that a language model can learn to translate from text such as «"I hate the word 'perfume'," Burr says. 'It's
somewhat better in French: "parfum."'», and Table 1 shows five passages of WebText. This finds such passages: two
quotations near one another, one English, one French, with a word between or around them that says so (`French`,
`English`, `translate`, `means`, `en anglais` …). A quotation's language is told by its most frequent function words.

In: training text. Out: `destination/demonstrations.json` with the passages, their documents and how many there are.
"""

import re
import time
from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from fourhorn.files import version, write_json
from fourhorn.progress import progress
from fourhorn.records import iter_records

MAX_PASSAGE_CHARACTERS = 420
MIN_WORDS = 3
CUE = re.compile(
    r"\b(?:french|english|français|anglais|translat\w+|tradui\w+|means|meaning)\b", re.IGNORECASE
)
QUOTATION = re.compile(r"[“\"«]\s*([^“”\"«»\n]{10,220}?)\s*[”\"»]")
FRENCH_WORDS = (
    "le la les des du une est et que qui dans pour pas je il elle vous ce cette sont avec mais au aux sur nous ne se "
    "suis ai mon ma de"
)
ENGLISH_WORDS = (
    "the of and to is in that it was for with are this you not have i he she we they my your his her be at by an who "
    "what am do"
)
FRENCH, ENGLISH = frozenset(FRENCH_WORDS.split()), frozenset(ENGLISH_WORDS.split())
WORD = re.compile(r"[^\W\d_]+")


def demonstrations(
    train: str | Path | Sequence[str | Path], destination: str | Path, *, n_examples: int = 5
) -> dict[str, Any]:
    """Find passages of training text that translate between English and French.

    Args:
        train: training text: record files or folders of shards.
        destination: folder for `demonstrations.json`.
        n_examples: passages to keep: the first of that many documents.
    """
    started = time.monotonic()
    sources = [train] if isinstance(train, str | Path) else list(train)
    columns = ["id", "url", "text"]
    examples: list[dict[str, Any]] = []
    n_found = n_documents = 0
    with progress("demonstrations", unit="documents") as bar:
        for record in chain.from_iterable(iter_records(source, columns=columns) for source in sources):
            n_documents += 1
            passages = find(record.get("text") or "")
            n_found += len(passages)
            if passages and len(examples) < n_examples:
                examples.append({"text": passages[0], "document": record.get("id"), "url": record.get("url")})
            bar.update(1, found=n_found)
    result = {
        "examples": examples,
        "n_found": n_found,
        "n_documents": n_documents,
        "seconds": round(time.monotonic() - started, 3),
        "version": version(),
    }
    write_json(Path(destination) / "demonstrations.json", result)
    return result


def find(text: str) -> list[str]:
    """The passages of a text that hold the same thing in both languages, as far as a word beside them says so."""
    found = []
    quotations = list(QUOTATION.finditer(text)) if CUE.search(text) else []
    for first, second in pairwise(quotations):
        start, end = max(0, first.start() - 60), min(len(text), second.end() + 60)
        if end - start > MAX_PASSAGE_CHARACTERS or "\n\n" in text[first.start() : second.end()]:
            continue
        around = text[start : first.start()] + text[first.end() : second.start()] + text[second.end() : end]
        if CUE.search(around) and {language(first[1]), language(second[1])} == {"en", "fr"}:
            found.append(" ".join(text[start:end].split()))
    return found


def language(text: str) -> str | None:
    """`en` or `fr` by function words, None where neither is clear."""
    words = [word.lower() for word in WORD.findall(text)]
    french, english = sum(word in FRENCH for word in words), sum(word in ENGLISH for word in words)
    if len(words) < MIN_WORDS or french == english:
        return None
    return "fr" if french > english else "en"
