"""§3.4, Figure 3: the Winograd Schema Challenge, 273 sentences with an ambiguous pronoun.

Each candidate is put in the pronoun's place and the likelier sentence wins (Trinh & Le 2018). *Partial* scoring
compares log P(text after the pronoun | text before + candidate), *full* scoring the log-probability of the whole
sentence. The paper's 70.70 % (193 of 273) is partial scoring; Figure 3 shows both.

The official file holds 285 schemata, of which the first 273 are the set. Substitution keeps an article's capital
only at the start of a sentence and turns a candidate in a possessive pronoun's place into its possessive. Left open
by the paper: sums or means (sums here; the tails of a pair are equal), and ties (none is broken by order: a tie
counts as wrong and is reported).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fourhorn.evaluation.formats import Schema
from fourhorn.evaluation.metrics import accuracy
from fourhorn.evaluation.scoring import Request, Scorer
from fourhorn.evaluation.task import Example, Metric, Record, Source, Task

N_OFFICIAL = 273
POSSESSIVES = frozenset({"his", "her", "its", "their", "my", "our", "your"})
_INTRODUCING = frozenset({"a", "an", "my", "his", "her", "our", "this", "that"})
# Candidates of the official file that no rule turns into a good sentence, with the pronoun they stand for or the text
# after it: the same words as in the substituted version in public use (Trinh & Le's, as other harnesses carry it).
BY_HAND = {
    ("the brown suitcase", "it"): "the suitcase",
    ("Tina's", "it"): "Tina's drawing",
    ("the younger ones", "them"): "the younger students",
    ("him", "he"): "Joe",
    ("guy in a military uniform", "he"): "the guy in uniform",
    ("the tellers", "He"): "the teller",
    ("his house", "it"): "the old house",
    ("a new one", "it"): "the new house",
    ("people", "They"): "people",
    ("pieces", "it"): "the piece",
    ("a toy flag", "it"): "the flag",
    ("a man", "was very impressed."): "the juggler",
    ("a man", "was very impressive."): "the juggler",
    ("daughter", "She"): "Anne's daughter",
    ("daughter", "she"): "Alice's daughter",
    ("her daughter", "she"): "Mary's daughter",
    ("coats", "they"): "coats",
    ("his eyes", "them"): "his eyes",
    ("his hands", "them"): "his hands",
    ("my great-grandfather", "He"): "my great-grandfather",
    ("my father", "he"): "my father",
    ("Kamtchatka", "they"): "Kamchatka",
    ("humans", "They"): "prehistoric humans",
    ("copies of our newsletter", "them"): "copies of the newsletter",
    ("chairs", "them"): "chairs",
    ("her having sex with her boyfriend, Paul", "They"): "Pam and Paul",
    ("lemons", "they"): "lemons",
    ("lemon trees", "they"): "lemon trees",
}
# "her" and "his" also stand alone ("passed her", "sat next to his"); what follows tells.
_DETERMINING = """
the a an my his her our their its this that these those some any both all no
"""
_DETERMINERS = frozenset(_DETERMINING.split())


@dataclass(frozen=True)
class WinogradExample(Example):
    """Both sentences of a schema, cut after the candidate."""

    contexts: tuple[str, str]
    continuation: str
    label: int


def substitute(schema: Schema, candidate: str) -> str:
    """The text up to and including the candidate in the pronoun's place."""
    starts_sentence = not schema.before or schema.before.rstrip("\"'")[-1:] in tuple(".!?")
    by_hand = BY_HAND.get((candidate, schema.pronoun)) or BY_HAND.get((candidate, schema.after))
    text = by_hand or definite(candidate)
    possessive = is_possessive(schema)
    if not possessive and schema.pronoun.lower() != "it":
        text = text.removesuffix("'s")
    elif possessive and not text.endswith("'s"):
        text += "'s"
    if starts_sentence:
        text = text[:1].upper() + text[1:]
    return f"{schema.before} {text}".strip()


def definite(candidate: str) -> str:
    """A candidate as it is named a second time: "a pillar" and "my jacket" become "the …", names stay."""
    first, _, rest = candidate.partition(" ")
    if rest and first.lower() in _INTRODUCING:
        return f"the {rest}"
    if first.lower() == "the":
        return f"the {rest}"
    return candidate if first[:1].isupper() and first != "TV" else f"the {candidate}"


def is_possessive(schema: Schema) -> bool:
    """Whether the pronoun owns the noun after it: "his brother", but not "saw her yesterday"."""
    pronoun = schema.pronoun.lower()
    following = schema.after.split()
    if pronoun not in POSSESSIVES or not following or following[0][0] in ".,;:!?":
        return False
    return pronoun != "her" or following[0].lower().strip(".,;") not in _AFTER_OBJECT


_FOLLOWING = """
to from for with about in on at by as so and or but because when if that before after very too again down up
off out over soon yesterday today was were is had and then while until since
"""
_AFTER_OBJECT = _DETERMINERS | frozenset(_FOLLOWING.split())


def examples(schemata: Sequence[Schema], n: int | None = None) -> list[WinogradExample]:
    """The first `n` schemata with both candidates put in."""
    found = []
    for number, schema in enumerate(schemata[:n]):
        first, second = (substitute(schema, candidate) for candidate in schema.candidates)
        found.append(WinogradExample(str(number), (first, second), schema.after, schema.label))
    return found


class Winograd(Task):
    """Partial and full scoring of every schema; both in one batch."""

    name = "winograd"
    section = "3.4"

    def __init__(self, source: Source, schemata: Sequence[Schema], *, limit: int | None = None) -> None:
        super().__init__(source)
        self.examples = examples(schemata, N_OFFICIAL)[:limit]

    @property
    def n_items(self) -> int:
        return len(self.examples)

    def protocol(self) -> dict[str, Any]:
        return {
            "accuracy": "partial: log P(text after the pronoun | text before + candidate), sum",
            "accuracy_full": "log P(whole sentence after <|endoftext|>), sum",
            "ties": "counted as wrong",
            "substitution": "articles in lower case inside a sentence; possessive pronouns as 's",
        }

    def batches(self, scorer: Scorer) -> list[list[int]]:
        numbers, size = list(range(self.n_items)), max(1, scorer.batch_size // 2)
        return [numbers[start : start + size] for start in range(0, len(numbers), size)]

    def score(self, scorer: Scorer, batch: Sequence[int]) -> list[Record]:
        encode = scorer.tokenizer.encode_ordinary
        records: list[Record] = []
        requests, spans, fitting = [], [], []
        for i in batch:
            tail = encode(" " + self.examples[i].continuation)
            heads = [encode(context) for context in self.examples[i].contexts]
            if max(map(len, heads)) + len(tail) > scorer.n_ctx:
                records.append({"id": self.examples[i].id, "skipped": "sentence longer than the context"})
                continue
            fitting.append(i)
            requests += [Request([], head + tail) for head in heads]
            spans += [len(head) for head in heads]
        scores = scorer.loglikelihoods(requests)
        for j, i in enumerate(fitting):
            pair = range(2 * j, 2 * j + 2)
            partial = [sum(scores[k].logprobs[spans[k] :]) for k in pair]
            full = [scores[k].loglikelihood for k in pair]
            records.append(self._record(self.examples[i], partial, full))
        return records

    @staticmethod
    def _record(example: WinogradExample, partial: list[float], full: list[float]) -> Record:
        right, other = example.label, 1 - example.label
        return {
            "id": example.id,
            "label": example.label,
            "partial": partial,
            "full": full,
            "correct": partial[right] > partial[other],
            "correct_full": full[right] > full[other],
            "tie": partial[0] == partial[1],
        }

    def metrics(self, records: Sequence[Record]) -> dict[str, Metric]:
        return {
            "accuracy": accuracy([r["correct"] for r in records], chance=0.5),
            "accuracy_full": accuracy([r["correct_full"] for r in records], chance=0.5),
            "ties": Metric(float(sum(r["tie"] for r in records)), n=len(records)),
        }
