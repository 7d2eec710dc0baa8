"""Cut LAMBADA- and Children's-Book-Test-style sets from held-out documents, by those data sets' own rules.

§3.2 and §3.3 on one's own WebText: a model trained on software documentation knows nothing of novels, but the
questions "which word ends this passage" and "which of ten words fills this blank" can be asked of any prose.

- *LAMBADA* (Paperno et al. 2016): a passage of whole sentences with at least 50 words, then a sentence whose last
  word is asked. The original kept passages whose last word people guessed from the whole passage but not from the
  last sentence. Here the word must stand in the passage before it (as in four of five originals) and must not be
  what most often follows the word before it.
- *CBT* (Hill et al. 2015): twenty consecutive sentences of a book, a twenty-first with a blank and ten candidates
  from these sentences; see `cloze.py`. A book is what one site's documents hold.

In: records with `text`, and `domain` where they know their site. Out: `lambada.jsonl`, `cbt_cn.txt`, `cbt_ne.txt` in
the official formats, and `manifest.json` with every passage tried, kept or dropped by reason, and what guessing
reaches on each set.
"""

import itertools
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from fourhorn.errors import UserError
from fourhorn.evaluation.formats import N_CANDIDATES
from fourhorn.evaluation.metrics import sentences
from fourhorn.evaluation.pocket.cloze import KINDS, is_name, questions_of, word_kinds
from fourhorn.evaluation.tasks.lambada import STOP_WORDS, bare, draw_chance
from fourhorn.files import Manifest, atomic_write, finished, sha256_bytes, sha256_file, write_manifest
from fourhorn.records import iter_records, iter_texts

MIN_PASSAGE_WORDS = 50
MAX_SENTENCE_WORDS = 60
FILES = {"lambada": "lambada.jsonl", "cbt_cn": "cbt_cn.txt", "cbt_ne": "cbt_ne.txt"}
_WORD = re.compile(r"^[A-Za-z][a-z]{2,}$")
_RULER = re.compile(r"[-=~*_]{3,}")


def build(
    source: str | Path,
    destination: str | Path,
    *,
    max_items: int = 1000,
    cloze_step: int = 1,
    seed: int = 0,
) -> Manifest:
    """Cut pocket sets from held-out documents.

    Args:
        source: records of held-out documents.
        destination: folder for the three files and the manifest.
        max_items: at most this many items per set, drawn evenly over the documents.
        cloze_step: sentences between the beginnings of two cloze questions.
        seed: seed of every draw.
    """
    started = time.monotonic()
    destination = Path(destination)
    texts = list(iter_texts(source))
    sites = [record.get("domain") or f"document {i}" for i, record in enumerate(iter_records(source))]
    options = {"max_items": max_items, "cloze_step": cloze_step, "seed": seed}
    inputs = {"documents": sha256_bytes("\0".join([*texts, *sites]).encode())}
    if manifest := finished(destination, "evaluation pocket", options, inputs):
        return manifest
    prose = [list(prose_sentences(text)) for text in texts]
    drops: Counter[str] = Counter()
    kept: dict[str, list[str]] = {}
    details: dict[str, object] = {"n_documents": len(texts), "n_sentences": sum(map(len, prose))}
    passages = _spread(list(passages_of(prose, drops)), max_items, drops)
    kept["lambada"] = [json.dumps({"text": passage}, ensure_ascii=False) for passage in passages]
    books: dict[str, list[str]] = {}
    for site, document in zip(sites, prose, strict=True):
        books.setdefault(site, []).extend(document)
    kinds = word_kinds(line for text in texts for line in sentences(text))
    for kind in KINDS:
        questions = questions_of(books.values(), kinds, kind, step=cloze_step, seed=seed, drops=drops)
        kept[kind] = _spread(list(questions), max_items, drops)
    if not any(kept.values()):
        raise UserError(
            f"{source} has no prose to cut evaluation sets from: {len(texts):,} documents, none usable."
        )
    details["chance"] = {"lambada": _chance(passages), **dict.fromkeys(KINDS, 1 / N_CANDIDATES)}
    details["most_frequent_answer"] = {"lambada": _most_frequent(passages)}
    outputs = {}
    for kind, file_name in FILES.items():
        with atomic_write(destination / file_name, "w") as file:
            file.write("".join(f"{item}\n" for item in kept[kind]))
        path = destination / file_name
        outputs[file_name] = {
            "sha256": sha256_file(path), "n_bytes": path.stat().st_size, "n_items": len(kept[kind])
        }  # fmt: skip
    manifest = Manifest(
        stage="evaluation pocket",
        options=options,
        inputs=inputs,
        n_in=sum(map(len, kept.values())) + sum(drops.values()),
        n_kept=sum(map(len, kept.values())),
        drops=dict(drops),
        outputs=outputs,
        seconds=round(time.monotonic() - started, 2),
        details=details,
    )
    write_manifest(destination, manifest)
    return manifest


def prose_sentences(text: str) -> Iterator[str]:
    """The sentences of a document's prose paragraphs; code, headings and lists are left out.

    Of ten words nearly nine are words or names of the software, and six are words.
    """
    for paragraph in text.split("\n"):
        for sentence in sentences(paragraph):
            words = [bare(word).strip("`") for word in sentence.split()]
            plain = [word.replace("-", "").replace("'", "").isalpha() for word in words]
            readable = sum(p or is_name(word) for p, word in zip(plain, words, strict=True))
            whole = sentence[-1] in ".!?:" and not _RULER.search(sentence)
            whole = whole and 4 <= len(words) <= MAX_SENTENCE_WORDS
            if whole and readable >= 0.85 * len(words) and sum(plain) >= 0.6 * len(words):
                yield sentence.replace("\t", " ").replace("|", "/")


def _spread(items: list[str], n: int, drops: Counter[str]) -> list[str]:
    """At most n items, evenly spread; the rest counts as dropped."""
    if len(items) <= n:
        return items
    drops["more than wanted"] += len(items) - n
    return [items[i * len(items) // n] for i in range(n)]


def _chance(passages: Sequence[str]) -> float:
    """How often a word drawn from the passage is the one asked for."""
    return sum(draw_chance(*passage.rsplit(" ", 1)) for passage in passages) / max(1, len(passages))


def _most_frequent(passages: Sequence[str]) -> float:
    """How often the commonest last word of the set is right."""
    counts = Counter(bare(passage.rsplit(" ", 1)[1]) for passage in passages)
    return max(counts.values(), default=0) / max(1, len(passages))


# ------------------------------------------------------------------------------------------------ LAMBADA


def passages_of(prose: Sequence[Sequence[str]], drops: Counter[str]) -> Iterator[str]:
    """Passages that end in the word to be guessed, without the mark after it."""
    followers = _followers(prose)
    for document in prose:
        start, n_words = 0, 0
        for end, sentence in enumerate(document):
            while start < end and n_words - len(document[start].split()) >= MIN_PASSAGE_WORDS:
                n_words -= len(document[start].split())
                start += 1
            if n_words >= MIN_PASSAGE_WORDS:
                reason = _unfit(document[start:end], sentence, followers)
                if reason:
                    drops[f"lambada: {reason}"] += 1
                else:
                    yield " ".join([*document[start:end], sentence.rstrip(".!?:")])
            n_words += len(sentence.split())


def _followers(prose: Sequence[Sequence[str]]) -> dict[str, str]:
    """The most frequent word after each word."""
    counts: dict[str, Counter[str]] = {}
    for document in prose:
        for sentence in document:
            words = [bare(word).lower() for word in sentence.split()]
            for first, second in itertools.pairwise(words):
                counts.setdefault(first, Counter())[second] += 1
    return {first: min(c, key=lambda w: (-c[w], w)) for first, c in counts.items() if c.total() > 1}


def _unfit(context: Sequence[str], sentence: str, followers: dict[str, str]) -> str:
    """Why a sentence's last word cannot be asked; empty when it can."""
    words = sentence.rstrip(".!?:").split()
    target = words[-1]
    if not _WORD.match(target) or target.lower() in STOP_WORDS:
        return "last word is no content word"
    if len(words) < 5:
        return "sentence too short"
    if target not in {bare(word) for part in context for word in part.split()}:
        return "last word not in the passage"
    if followers.get(bare(words[-2]).lower()) == target.lower():
        return "guessable from the word before"
    return ""
