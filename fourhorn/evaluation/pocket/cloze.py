"""Questions of the Children's Book Test (Hill et al. 2015), from any book: ten candidates for one blank.

§3.2. Twenty consecutive sentences of a book, a twenty-first with a word left out, ten candidates. What the official
files do, measured on the 2,000 validation questions about named entities: every answer stands in the twenty
sentences, every other candidate there or in the question; where a passage names fewer than ten, its other nouns fill
up the ten (five and a half of ten begin with a capital; "Chuck|Johnny|Marshhawk|Meadows|…|first|morning").

The original finds common nouns and named entities with a tagger. Here they are told by use:

- a *named entity* is a word that the documents write with a capital inside sentences and hardly ever without, or
  that has the form of a name in software (`NumPy`, `os.path`, `n_jobs`, `download()`); the constants True, False and
  None are none;
- a *common noun* is one that they use right after an article and before a preposition, a verb or a mark.

In: books as lists of sentences. Out: questions in the official layout, each a block of 21 numbered lines and an empty
one. Raises nothing.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fourhorn.evaluation.detokenize import CHILDRENS_BOOK, split
from fourhorn.evaluation.formats import BLANK, N_CANDIDATES, N_CONTEXT
from fourhorn.evaluation.tasks.lambada import STOP_WORDS, bare

KINDS = ("cbt_cn", "cbt_ne")
MIN_OTHERS = 4  # candidates of the answer's own kind beside it
_WORD = re.compile(r"^[a-z]{3,}$")
_CAPITAL = re.compile(r"^[A-Z][A-Za-z0-9]+$")
_SOFTWARE = re.compile(
    r"^(?:[A-Za-z]+(?:[._][A-Za-z0-9]+)+|[a-z]+[A-Z]\w*|[A-Z]+[a-z]+[A-Z]\w*|[A-Za-z]\w*(?=\(\)$))(?:\(\))?$"
)
_NO_NAMES = frozenset(["True", "False", "None", "e.g", "i.e"])
_FUNCTION_WORDS = """
of in to is are was for and from with by that as on at or which can will has may must
"""
_AFTER_NOUN = frozenset(_FUNCTION_WORDS.split())
_DETERMINERS = frozenset(["the", "a", "an", "this", "each", "every", "any", "another", "its", "your"])


def is_name(word: str) -> bool:
    """Whether a word has the form of a name in software, and so cannot be an ordinary word."""
    return word not in _NO_NAMES and _SOFTWARE.match(word) is not None


def word_kinds(sentences: Iterable[str]) -> dict[str, frozenset[str]]:
    """Common nouns (`cbt_cn`) and named entities (`cbt_ne`) of the documents, by how they are used."""
    inside, lower, as_noun = Counter[str](), Counter[str](), Counter[str]()
    for words in map(str.split, sentences):
        for i, word in enumerate(words):
            core = bare(word).removesuffix("'s").removesuffix("’s")
            if _WORD.match(core):
                lower[core] += 1
                follows = i > 0 and words[i - 1].lower() in _DETERMINERS
                ends = word[-1] in ".,;:!?)" or (i + 1 < len(words) and words[i + 1].lower() in _AFTER_NOUN)
                as_noun[core] += follows and ends
            elif _CAPITAL.match(core) and i > 0 and words[i - 1][-1] not in ".:!?)-*":
                inside[core] += 1
    nouns = {w for w, n in as_noun.items() if n >= 2 and n >= 0.15 * lower[w] and w not in STOP_WORDS}
    capital = {w for w, n in inside.items() if n >= 2 and n >= 4 * lower[w.lower()] and w not in _NO_NAMES}
    names = {w for w in capital if w.lower() not in STOP_WORDS}
    return {"cbt_cn": frozenset(nouns), "cbt_ne": frozenset(names)}


def questions_of(
    books: Iterable[Sequence[str]],
    kinds: Mapping[str, frozenset[str]],
    kind: str,
    *,
    step: int,
    seed: int,
    drops: Counter[str],
) -> Iterator[str]:
    """The questions about one kind of word; passages that yield none are counted by reason.

    Args:
        books: sentences in their order.
        kinds: what `word_kinds` found.
        kind: `cbt_cn` or `cbt_ne`.
        step: sentences between the beginnings of two passages.
        seed: seed of the draw of candidates.
        drops: counts of what gave no question, added to.
    """
    draw = random.Random(seed)
    nouns, asked = kinds["cbt_cn"], kinds[kind]
    for book in books:
        lines = [[token for piece in line.split() for token in split(piece, CHILDRENS_BOOK)] for line in book]
        found = [{t for t in line if t in asked or (kind == "cbt_ne" and is_name(t))} for line in lines]
        common = [{t for t in line if t in nouns} for line in lines]
        for start in range(0, len(lines) - N_CONTEXT, step):
            end = start + N_CONTEXT
            query, in_context = lines[end], set().union(*found[start:end])
            places = [i for i, token in enumerate(query) if token in in_context and query.count(token) == 1]
            if not places:
                drops[f"{kind}: no word of the kind that also stands in the passage"] += 1
            others, fill = in_context | found[end], set().union(*common[start : end + 1])
            for place in places:
                candidates = _candidates(query[place], others, fill, draw)
                if candidates:
                    yield _block(lines[start:end], query, place, candidates)
                else:
                    drops[f"{kind}: too few candidates in the passage"] += 1


def _candidates(answer: str, others: set[str], fill: set[str], draw: random.Random) -> list[str]:
    """The answer and nine other words of the passage, of its own kind as far as they go; empty when too few."""
    own = sorted(others - {answer})
    more = sorted(fill - others - {answer})
    n_own = min(len(own), N_CANDIDATES - 1)
    if n_own < MIN_OTHERS or n_own + len(more) < N_CANDIDATES - 1:
        return []
    return sorted([answer, *draw.sample(own, n_own), *draw.sample(more, N_CANDIDATES - 1 - n_own)])


def _block(
    context: Sequence[Sequence[str]], query: Sequence[str], place: int, candidates: Sequence[str]
) -> str:
    blank = " ".join([*query[:place], BLANK, *query[place + 1 :]])
    numbered = [f"{i} {' '.join(line)} " for i, line in enumerate(context, start=1)]
    return "\n".join([*numbered, f"{N_CONTEXT + 1} {blank}\t{query[place]}\t\t{'|'.join(candidates)}", ""])
