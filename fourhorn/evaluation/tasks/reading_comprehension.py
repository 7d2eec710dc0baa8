"""§3.5, Figure 1: reading comprehension on CoQA, a passage and a conversation about it.

The model reads the passage, the conversation so far with the human answers, and a final `A:`, and continues
greedily to the end of the line (layout of the paper's Tables 16 and 17). F1 against four references, each left out
once, as the official script does it; every turn of every conversation counts. Paper: 55 F1 on the development set.

A conversation's keys and values are kept from turn to turn: each turn reads only the last answer and the next
question. Left open by the paper: what is dropped when the text does not fit. Here the oldest turns go first, then
the end of the passage; how often is reported. Other harnesses score only each conversation's last turn or give no
history.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fourhorn.evaluation.formats import Conversation
from fourhorn.evaluation.generation import Completion, decode, extend
from fourhorn.evaluation.metrics import exact_match, f1, leave_one_out, mean
from fourhorn.evaluation.scoring import Scorer
from fourhorn.evaluation.task import Example, Metric, Record, Source, Task, by_length
from fourhorn.model.cache import KVCache

MAX_ANSWER_TOKENS = 32


@dataclass(frozen=True)
class TurnExample(Example):
    """One turn: what was said before, the question, and the reference answers."""

    conversation: Conversation
    turn: int


def prompt(example: TurnExample, *, first_turn: int = 0) -> str:
    """The passage, the turns before with the human answers, the question, and `A:`."""
    c, history = example.conversation, range(first_turn, example.turn)
    turns = "".join(f"Q: {c.questions[i]}\nA: {c.answers[i]}\n" for i in history)
    return f"{c.story.strip()}\n\n{turns}Q: {c.questions[example.turn]}\nA:"


class ReadingComprehension(Task):
    """An item is one turn; a batch holds whole conversations, answered in step."""

    name = "coqa"
    section = "3.5"

    def __init__(
        self, source: Source, conversations: Sequence[Conversation], *, limit: int | None = None
    ) -> None:
        super().__init__(source)
        self.conversations = list(conversations[:limit])

    @property
    def n_items(self) -> int:
        return sum(len(c.questions) for c in self.conversations)

    def protocol(self) -> dict[str, Any]:
        return {
            "prompt": "passage, blank line, Q:/A: lines with human answers, A:",
            "decoding": f"greedy to the end of the line, at most {MAX_ANSWER_TOKENS} tokens",
            "f1": "mean over references left out of the best of the others (official script), every turn",
            "truncation": "oldest turns first, then the end of the passage",
        }

    def batches(self, scorer: Scorer) -> list[list[int]]:
        return by_length(
            [len(c.story) + sum(map(len, c.questions)) for c in self.conversations], scorer.batch_size
        )

    @torch.inference_mode()
    def score(self, scorer: Scorer, batch: Sequence[int]) -> list[Record]:
        conversations = [self.conversations[i] for i in batch]
        room = scorer.n_ctx - MAX_ANSWER_TOKENS
        cache = scorer.cache(len(batch), scorer.n_ctx)
        known: list[list[int]] = [[] for _ in batch]  # the tokens each row of the cache has read
        records: list[Record] = []
        for turn in range(max(len(c.questions) for c in conversations)):
            rows = [row for row, c in enumerate(conversations) if turn < len(c.questions)]
            fitted = {row: fit(scorer, TurnExample("", conversations[row], turn), room) for row in rows}
            grown = [row for row in rows if fitted[row][0][: len(known[row])] == known[row] and known[row]]
            answers: dict[int, Completion] = {}
            for part in (grown, [row for row in rows if row not in grown]):
                if part:
                    answers |= self._answer(scorer, cache, part, known, {row: fitted[row][0] for row in part})
            for row in rows:
                tokens, n_turns, n_story = fitted[row]
                known[row] = tokens
                text = scorer.tokenizer.decode(answers[row].tokens).strip()
                record = self._record(conversations[row], turn, text, answers[row])
                records.append({**record, "turns_dropped": n_turns, "story_tokens_dropped": n_story})
                scorer.counts["unshared_tokens"] += len(tokens)
        return records

    @staticmethod
    def _answer(
        scorer: Scorer,
        cache: KVCache,
        part: Sequence[int],
        known: Sequence[list[int]],
        prompts: dict[int, list[int]],
    ) -> dict[int, Completion]:
        """Read what is new in the prompts of some rows, answer, and keep the prompts' keys and values."""
        index = torch.tensor(part, device=scorer.device)
        rows = cache.select(index)
        n_known = [len(known[row]) if prompts[row][: len(known[row])] == known[row] else 0 for row in part]
        last = extend(scorer, rows, [prompts[row] for row in part], n_known)
        cache.k[:, index], cache.v[:, index] = rows.k, rows.v
        found = decode(scorer, rows, last, max_new_tokens=MAX_ANSWER_TOKENS, stop=scorer.newline_tokens)
        return dict(zip(part, found, strict=True))

    @staticmethod
    def _record(conversation: Conversation, turn: int, answer: str, completion: Completion) -> Record:
        references = conversation.references[turn]
        return {
            "id": f"{conversation.id}/{turn + 1}",
            "conversation": conversation.id,
            "domain": conversation.domain,
            "question": conversation.questions[turn],
            "answer": answer,
            "references": list(references),
            "f1": leave_one_out(f1, answer, references),
            "exact_match": leave_one_out(lambda a, b: float(exact_match(a, [b])), answer, references),
            "stopped": completion.stopped,
        }

    def metrics(self, records: Sequence[Record]) -> dict[str, Metric]:
        def over(part: Sequence[Record], name: str) -> Metric:
            """Turns of one conversation are alike: the interval is over conversations."""
            return mean([r[name] for r in part], scale=100, documents=[r["conversation"] for r in part])

        found = {name: over(records, name) for name in ("f1", "exact_match")}
        for domain in sorted({r["domain"] for r in records}):
            found[f"f1_{domain or 'other'}"] = over([r for r in records if r["domain"] == domain], "f1")
        return found

    def details(self, records: Sequence[Record]) -> dict[str, Any]:
        return {
            "n_conversations": len(self.conversations),
            "n_turns_with_dropped_turns": sum(r["turns_dropped"] > 0 for r in records),
            "n_turns_with_cut_passage": sum(r["story_tokens_dropped"] > 0 for r in records),
            "human_f1": human_f1(self.conversations),
        }


def fit(scorer: Scorer, example: TurnExample, room: int) -> tuple[list[int], int, int]:
    """The prompt's tokens within `room`, and how many oldest turns and tokens of the passage's end were left out."""
    encode = scorer.tokenizer.encode_ordinary
    for first_turn in range(example.turn + 1):
        tokens = encode(prompt(example, first_turn=first_turn))
        if len(tokens) <= room:
            return tokens, first_turn, 0
    story = encode(example.conversation.story.strip())
    tail = encode(prompt(example, first_turn=example.turn))[len(story) :]
    tail = tail[-(room - 1) :]
    kept = story[: room - len(tail)]
    return kept + tail, example.turn, len(story) - len(kept)


def human_f1(conversations: Sequence[Conversation]) -> float | None:
    """What a person reaches: each reference against the others, which is how the official script measures people."""
    scores = []
    for conversation in conversations:
        for references in conversation.references:
            if len(references) > 1:
                best = [
                    max(f1(answer, other) for j, other in enumerate(references) if j != i)
                    for i, answer in enumerate(references)
                ]
                scores.append(sum(best) / len(best))
    return 100 * sum(scores) / len(scores) if scores else None
