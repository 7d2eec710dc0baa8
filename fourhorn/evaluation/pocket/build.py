"""Cut LAMBADA- and Children's-Book-Test-style sets from held-out documents, by those data sets' own rules.

§3.2 and §3.3 on one's own WebText: a model trained on software documentation knows nothing of novels, but the
questions "which word ends this passage" and "which of ten words fills this blank" can be asked of any prose.

- *LAMBADA* (Paperno et al. 2016): a passage of whole sentences with at least 50 words, then a sentence whose last
  word is asked. The original kept passages whose last word people guessed from the whole passage but not from the
  last sentence. Here the word must stand in the passage before it (as in four of five originals) and must not be
  what most often follows the word before it.
- *CBT* (Hill et al. 2015): twenty consecutive sentences, a twenty-first with a blank, ten candidates of the same
  kind found in these sentences, the answer among them. The original finds common nouns and named entities with a
  tagger. Here a named entity is a word that the documents write with a capital inside sentences and hardly ever
  without; a common noun is one that they use right after an article and before a preposition, a verb or a mark.

In: records with `text`. Out: `lambada.jsonl`, `cbt_cn.txt`, `cbt_ne.txt` in the official formats, and
`manifest.json` with every passage tried, kept or dropped by reason, and the chance level of each set.
"""

import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from fourhorn.errors import UserError
from fourhorn.evaluation.detokenize import CHILDRENS_BOOK, split
from fourhorn.evaluation.formats import BLANK, N_CANDIDATES, N_CONTEXT
from fourhorn.evaluation.metrics import sentences
from fourhorn.evaluation.tasks.lambada import STOP_WORDS, bare
from fourhorn.files import Manifest, atomic_write, finished, sha256_bytes, sha256_file, write_manifest
from fourhorn.records import iter_texts

MIN_PASSAGE_WORDS = 50
MAX_SENTENCE_WORDS = 60
FILES = {"lambada": "lambada.jsonl", "cbt_cn": "cbt_cn.txt", "cbt_ne": "cbt_ne.txt"}
MIN_IN_CONTEXT = 4
_WORD = re.compile(r"^[A-Za-z][a-z]{2,}$")
_NAME = re.compile(r"^[A-Z][A-Za-z]{2,}$")
_RULER = re.compile(r"[-=~*_]{3,}")
_FUNCTION_WORDS = """
of in to is are was for and from with by that as on at or which can will has may must
"""
_AFTER_NOUN = frozenset(_FUNCTION_WORDS.split())
_DETERMINERS = frozenset(["the", "a", "an", "this", "each", "every", "any", "another", "its", "your"])


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
    options = {"max_items": max_items, "cloze_step": cloze_step, "seed": seed}
    inputs = {"documents": sha256_bytes("\0".join(texts).encode())}
    if manifest := finished(destination, "evaluation pocket", options, inputs):
        return manifest
    prose = [list(prose_sentences(text)) for text in texts]
    drops: Counter[str] = Counter()
    kept: dict[str, list[str]] = {}
    details: dict[str, object] = {"n_documents": len(texts), "n_sentences": sum(map(len, prose))}
    passages = _spread(list(passages_of(prose, drops)), max_items, drops)
    kept["lambada"] = [json.dumps({"text": passage}, ensure_ascii=False) for passage in passages]
    for kind, words in word_kinds(prose).items():
        kept[kind] = _spread(list(cloze_of(prose, words, cloze_step, seed, drops)), max_items, drops)
    details["chance"] = {
        "lambada": _most_frequent([passage.split()[-1] for passage in passages]),
        "cbt_cn": 1 / N_CANDIDATES,
        "cbt_ne": 1 / N_CANDIDATES,
    }
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
    if not any(kept.values()):
        raise UserError(
            f"{source} has no prose to cut evaluation sets from: {len(texts):,} documents, none usable."
        )
    write_manifest(destination, manifest)
    return manifest


def prose_sentences(text: str) -> Iterator[str]:
    """The sentences of a document's prose paragraphs; code, headings and lists are left out."""
    for paragraph in text.split("\n"):
        for sentence in sentences(paragraph):
            words = sentence.split()
            plain = sum(bare(word).replace("-", "").replace("'", "").isalpha() for word in words)
            ends = sentence[-1] in ".!?" and not _RULER.search(sentence)
            if ends and 4 <= len(words) <= MAX_SENTENCE_WORDS and plain >= 0.85 * len(words):
                yield sentence.replace("\t", " ").replace("|", "/")


def _spread(items: list[str], n: int, drops: Counter[str]) -> list[str]:
    """At most n items, evenly spread; the rest counts as dropped."""
    if len(items) <= n:
        return items
    drops["more than wanted"] += len(items) - n
    return [items[i * len(items) // n] for i in range(n)]


def _most_frequent(words: Sequence[str]) -> float:
    counts = Counter(bare(word) for word in words)
    return max(counts.values(), default=0) / max(1, len(words))


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
                    yield " ".join([*document[start:end], sentence.rstrip(".!?")])
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
    words = sentence.rstrip(".!?").split()
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


# ---------------------------------------------------------------------------------- Children's Book Test


def word_kinds(prose: Sequence[Sequence[str]]) -> dict[str, frozenset[str]]:
    """Common nouns and named entities of the documents, by how they are used."""
    inside, lower, after_article = Counter[str](), Counter[str](), Counter[str]()
    for sentence in (s for document in prose for s in document):
        words = sentence.split()
        for i, word in enumerate(words):
            core = bare(word)
            if _WORD.match(core) and core[0].islower():
                lower[core] += 1
                follows = i > 0 and words[i - 1].lower() in _DETERMINERS
                ends = word[-1] in ".,;:!?)" or (i + 1 < len(words) and words[i + 1].lower() in _AFTER_NOUN)
                after_article[core] += follows and ends
            elif _NAME.match(core) and i > 0 and words[i - 1][-1] not in ".:!?":
                inside[core] += 1
    nouns = {w for w, n in after_article.items() if n >= 2 and n >= 0.15 * lower[w] and w not in STOP_WORDS}
    entities = {
        w for w, n in inside.items() if n >= 2 and n >= 4 * lower[w.lower()] and w.lower() not in STOP_WORDS
    }
    return {"cbt_cn": frozenset(nouns), "cbt_ne": frozenset(entities)}


def cloze_of(
    prose: Sequence[Sequence[str]], words: frozenset[str], step: int, seed: int, drops: Counter[str]
) -> Iterator[str]:
    """Questions in the official layout, each a block of 21 numbered lines and an empty one."""
    draw = random.Random(seed)
    everywhere = sorted(words)
    for document in prose:
        lines = [
            " ".join(token for piece in s.split() for token in split(piece, CHILDRENS_BOOK)) for s in document
        ]
        for start in range(0, len(lines) - N_CONTEXT, step):
            context, query = lines[start : start + N_CONTEXT], lines[start + N_CONTEXT]
            in_context = {token for line in context for token in line.split() if token in words}
            tokens = query.split()
            places = [
                i for i, token in enumerate(tokens) if i and token in in_context and tokens.count(token) == 1
            ]
            if not places:
                drops["cloze: no word of the kind that also stands in the context"] += 1
            for place in places:
                candidates = _candidates(tokens[place], tokens, in_context, everywhere, draw)
                if candidates:
                    yield _block(context, tokens, place, candidates)
                else:
                    drops["cloze: too few candidates"] += 1


def _candidates(
    answer: str, query: Sequence[str], in_context: set[str], everywhere: Sequence[str], draw: random.Random
) -> list[str]:
    """The answer and nine others, from the sentences as far as they go; empty when they name too few."""
    others = sorted((in_context | (set(query) & set(everywhere))) - {answer})
    if len(others) < MIN_IN_CONTEXT or len(everywhere) < N_CANDIDATES:
        return []
    chosen = draw.sample(others, min(len(others), N_CANDIDATES - 1))
    while len(chosen) < N_CANDIDATES - 1:
        word = draw.choice(everywhere)
        if word != answer and word not in chosen:
            chosen.append(word)
    return sorted([answer, *chosen])


def _block(context: Sequence[str], query: Sequence[str], place: int, candidates: Sequence[str]) -> str:
    blank = " ".join([*query[:place], BLANK, *query[place + 1 :]])
    numbered = [f"{i} {line} " for i, line in enumerate(context, start=1)]
    return "\n".join([*numbered, f"{N_CONTEXT + 1} {blank}\t{query[place]}\t\t{'|'.join(candidates)}", ""])
