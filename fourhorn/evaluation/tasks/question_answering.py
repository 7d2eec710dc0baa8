"""§3.8, Figure 1, Table 5: factoid questions of Natural Questions, answered from memory.

The context is seeded with example question–answer pairs; the answer is the greedy continuation to the end of the
line and counts when it matches exactly "as in SQuAD". Paper: 4.1 % of the largest model, 63.1 % on the 1 % of
questions it is most confident in, under 1.0 % for the most common answer of each question type (who, what, where,
…).

All 30 questions of Table 5 stand in the open development set (3,610), which is used here. Confidence is the
probability of the generated answer. Left open by the paper: the example pairs (the nine below, written for this).
SQuAD's normal form turns "A" and "A+" both into nothing; such answers are compared as they stand (see
`metrics.exact_match`). The pairs are read once for the whole set.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from fourhorn.evaluation.formats import OpenQuestion
from fourhorn.evaluation.generation import generate
from fourhorn.evaluation.metrics import accuracy, exact_match, normalize_answer
from fourhorn.evaluation.scoring import Scorer
from fourhorn.evaluation.task import Metric, Record, Source, Task, by_length

EXAMPLE_PAIRS = (
    ("Who painted the Mona Lisa?", "Leonardo da Vinci"),
    ("What is the capital of Australia?", "Canberra"),
    ("When did the Second World War end?", "1945"),
    ("How many legs does a spider have?", "eight"),
    ("Where is the Great Barrier Reef?", "Australia"),
    ("Which gas do plants take in from the air?", "carbon dioxide"),
    ("Who wrote Romeo and Juliet?", "William Shakespeare"),
    ("What is the longest bone of the human body?", "the femur"),
    ("Which animal is the tallest?", "the giraffe"),
)
MAX_ANSWER_TOKENS = 20
QUESTION_WORDS = ("who", "what", "where", "when", "which", "how", "why", "whose")
N_MOST_CONFIDENT = 30


def prompt(question: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Example pairs and the question, as Q:/A: lines."""
    return "".join(f"Q: {q}\nA: {a}\n" for q, a in pairs) + f"Q: {with_mark(question)}\nA:"


def with_mark(question: str) -> str:
    """A question as one writes it: a capital first and a question mark last, as in the paper's Table 5."""
    text = question.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith("?") else "?")


class QuestionAnswering(Task):
    """Exact match, confidence, and the question-type baseline."""

    name = "natural_questions"
    section = "3.8"

    def __init__(
        self,
        source: Source,
        questions: Sequence[OpenQuestion],
        *,
        pairs: Sequence[tuple[str, str]] = EXAMPLE_PAIRS,
        limit: int | None = None,
    ) -> None:
        super().__init__(source)
        self.questions, self.pairs = list(questions[:limit]), list(pairs)
        self._n_pairs = len(self.pairs)

    @property
    def n_items(self) -> int:
        return len(self.questions)

    def protocol(self) -> dict[str, Any]:
        return {
            "prompt": "example Q:/A: pairs, then the question and A:",
            "example_pairs": [list(pair) for pair in self.pairs],
            "example_pairs_used": self._n_pairs,
            "decoding": f"greedy to the end of the line, at most {MAX_ANSWER_TOKENS} tokens",
            "exact_match": "SQuAD's normal form; empty normal forms never match",
            "confidence": "probability of the generated answer",
        }

    def batches(self, scorer: Scorer) -> list[list[int]]:
        lengths = [len(scorer.tokenizer.encode_ordinary(prompt(q.question, []))) for q in self.questions]
        room = scorer.n_ctx - MAX_ANSWER_TOKENS - max(lengths, default=0)
        self._n_pairs = next(
            (n for n in range(len(self.pairs), 0, -1) if len(self._prefix(scorer, n)) <= room), 0
        )
        return by_length(lengths, scorer.batch_size)

    def _prefix(self, scorer: Scorer, n_pairs: int) -> list[int]:
        return list(
            scorer.tokenizer.encode_ordinary("".join(f"Q: {q}\nA: {a}\n" for q, a in self.pairs[:n_pairs]))
        )

    def score(self, scorer: Scorer, batch: Sequence[int]) -> list[Record]:
        prefix = self._prefix(scorer, self._n_pairs)
        room = scorer.n_ctx - MAX_ANSWER_TOKENS - len(prefix)
        prompts = [scorer.tokenizer.encode_ordinary(prompt(self.questions[i].question, [])) for i in batch]
        found = generate(
            scorer,
            [p[-room:] for p in prompts],
            prefix=prefix,
            max_new_tokens=MAX_ANSWER_TOKENS,
            stop=scorer.newline_tokens,
        )
        records = []
        for i, p, completion in zip(batch, prompts, found, strict=True):
            answer = scorer.tokenizer.decode(completion.tokens).strip()
            records.append(
                {
                    "id": str(i),
                    "question": self.questions[i].question,
                    "answer": answer,
                    "references": list(self.questions[i].answers),
                    "correct": exact_match(answer, self.questions[i].answers),
                    "probability": math.exp(completion.loglikelihood) if completion.tokens else 0.0,
                    "empty": not normalize_answer(answer),
                    "n_dropped": max(0, len(p) - room),
                }
            )
        return records

    def metrics(self, records: Sequence[Record]) -> dict[str, Metric]:
        confident = most_confident(records)[: max(1, round(len(records) / 100))]
        return {
            "exact_match": accuracy([r["correct"] for r in records]),
            "exact_match_top_1_percent": accuracy([r["correct"] for r in confident]),
            "baseline_exact_match": accuracy(question_type_baseline(self.questions)),
            "empty_answers": accuracy([r["empty"] for r in records]),
        }

    def details(self, records: Sequence[Record]) -> dict[str, Any]:
        rows = most_confident(records)[:N_MOST_CONFIDENT]
        return {
            "most_confident": [
                {key: r[key] for key in ("question", "answer", "correct", "probability")} for r in rows
            ],
            "n_most_confident_1_percent": max(1, round(len(records) / 100)),
        }


def most_confident(records: Sequence[Record]) -> list[Record]:
    """Records by falling probability of their answer."""
    return sorted(records, key=lambda r: (-r["probability"], int(r["id"])))


def question_type(question: str) -> str:
    """The first question word of a question, or "other"."""
    words = question.lower().split()
    return next((word for word in words if word in QUESTION_WORDS), "other")


def question_type_baseline(questions: Sequence[OpenQuestion]) -> list[bool]:
    """Whether the most common answer of each question's type is right: what knowing nothing but the set reaches."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for question in questions:
        counts[question_type(question.question)].update(
            {normalize_answer(a) for a in question.answers} - {""}
        )
    best = {kind: min(c, key=lambda a: (-c[a], a)) for kind, c in counts.items() if c}
    return [exact_match(best.get(question_type(q.question), ""), q.answers) for q in questions]
