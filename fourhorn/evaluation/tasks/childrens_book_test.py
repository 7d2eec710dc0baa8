"""§3.2, Figure 2: the Children's Book Test, a blank in the sentence after twenty others, and ten candidates.

"We compute the probability of each choice and the rest of the sentence conditioned on this choice", and predict the
likeliest. Validation files of 2,000 common nouns (CN) and 2,000 named entities (NE), because a book of the test set
is in WebText; the tokenization is undone first. Paper: 93.30 % and 89.05 %.

The text before the blank is read once for all ten candidates. Left open by the paper: how the sentences are joined
(one running paragraph here) and what is cut when they do not fit (the oldest tokens; the query always stays).
Candidates are sorted in the files, so a tie broken by order would be biased: it counts as wrong and is reported.
Public runs of the smallest model got 84.35 / 73.65 % against the paper's 87.65 / 83.4 %, without its layout known.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fourhorn.evaluation.detokenize import CHILDRENS_BOOK, detokenize
from fourhorn.evaluation.formats import BLANK, N_CANDIDATES, ClozeQuestion
from fourhorn.evaluation.metrics import accuracy, mean
from fourhorn.evaluation.scoring import Scorer
from fourhorn.evaluation.task import Example, Metric, Record, Source, Task, by_length


@dataclass(frozen=True)
class ClozeExample(Example):
    """The text before the blank and, for each candidate, the text from it to the end of the sentence."""

    context: str
    continuations: tuple[str, ...]
    label: int
    commonest: float  # how often the candidate most frequent in the sentences is right; ties share


def example(number: int, question: ClozeQuestion, *, detokenized: bool = True) -> ClozeExample:
    """A question as ordinary text, cut where the candidates begin."""

    def text(line: str) -> str:
        return detokenize(line.strip(), CHILDRENS_BOOK) if detokenized else line.strip()

    start, _, rest = question.query.strip().partition(BLANK)
    context = " ".join([*map(text, question.context)])
    filled = [text(f"{start}{candidate}{rest}") for candidate in question.candidates]
    shared = _shared(filled)
    words = Counter(word for line in question.context for word in line.split())
    highest = max(words[candidate] for candidate in question.candidates)
    commonest = [candidate for candidate in question.candidates if words[candidate] == highest]
    return ClozeExample(
        str(number),
        f"{context} {filled[0][:shared]}".rstrip(),
        tuple(" " + sentence[shared:].lstrip() for sentence in filled),
        question.candidates.index(question.answer),
        (question.answer in commonest) / len(commonest),
    )


def _shared(texts: Sequence[str]) -> int:
    """Length of the longest common beginning that ends where a word ends."""
    length = min(map(len, texts))
    while any(text[:length] != texts[0][:length] for text in texts):
        length -= 1
    return texts[0].rfind(" ", 0, length) + 1


class ChildrensBookTest(Task):
    """One of the two files: `cbt_cn` or `cbt_ne`."""

    section = "3.2"

    def __init__(
        self,
        name: str,
        source: Source,
        questions: Sequence[ClozeQuestion],
        *,
        detokenized: bool = True,
        limit: int | None = None,
    ) -> None:
        super().__init__(source)
        self.name, self.detokenized = name, detokenized
        self.examples = [example(i, q, detokenized=detokenized) for i, q in enumerate(questions[:limit])]

    @property
    def n_items(self) -> int:
        return len(self.examples)

    def protocol(self) -> dict[str, Any]:
        return {
            "accuracy": "log P(candidate and rest of the sentence | twenty sentences and start of the query), sum",
            "most_frequent_candidate": "the candidate that stands most often in the twenty sentences; ties share",
            "layout": "one paragraph, sentences joined by a space",
            "detokenizer": "fourhorn, invertible" if self.detokenized else "none",
            "ties": "counted as wrong",
            "truncation": "oldest tokens first",
        }

    def batches(self, scorer: Scorer) -> list[list[int]]:
        return by_length(
            [len(e.context) for e in self.examples], max(1, scorer.batch_size // N_CANDIDATES) * 4
        )

    def score(self, scorer: Scorer, batch: Sequence[int]) -> list[Record]:
        encode = scorer.tokenizer.encode_ordinary
        groups, fitting = [], []
        records: list[Record] = []
        for i in batch:
            continuations = [encode(text) for text in self.examples[i].continuations]
            if max(map(len, continuations)) >= scorer.n_ctx:
                records.append({"id": self.examples[i].id, "skipped": "sentence longer than the context"})
                continue
            fitting.append(i)
            groups.append((encode(self.examples[i].context), continuations))
        for i, scores in zip(fitting, scorer.choices(groups), strict=True):
            values = [score.loglikelihood for score in scores]
            best, label = max(values), self.examples[i].label
            records.append(
                {
                    "id": self.examples[i].id,
                    "label": label,
                    "loglikelihoods": values,
                    "correct": values[label] == best and values.count(best) == 1,
                    "tie": values.count(best) > 1,
                    "n_dropped": scores[0].n_dropped,
                }
            )
        return records

    def metrics(self, records: Sequence[Record]) -> dict[str, Metric]:
        labels = [r["label"] for r in records]
        by_count = {example.id: example.commonest for example in self.examples}
        most_frequent = max((labels.count(label) for label in set(labels)), default=0) / max(1, len(labels))
        return {
            "accuracy": accuracy([r["correct"] for r in records], chance=1 / N_CANDIDATES),
            "most_frequent_candidate": mean([by_count[r["id"]] for r in records]),
            "accuracy_first_index": accuracy([label == 0 for label in labels]),
            "accuracy_best_index": Metric(most_frequent, n=len(labels)),
            "ties": Metric(float(sum(r["tie"] for r in records)), n=len(records)),
            "truncated": Metric(float(sum(r["n_dropped"] > 0 for r in records)), n=len(records)),
        }
