"""§4, Figure 4: perplexity on WebText's own training and test documents, against model size.

"Performance on both the training and test sets of WebText are similar and improve together as model size is
increased": the models underfit. Documents are scored one by one after `<|endoftext|>`, in windows of the model's
context. Figure 4's axis is per BPE token; bits per byte stand beside it, because runs with other vocabularies
cannot be compared per token.

The interval is a bootstrap over documents. The paper does not say how many training documents were scored: here at most
200 of each split, evenly spread over the records.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fourhorn.evaluation.scoring import Scorer
from fourhorn.evaluation.task import Metric, Record, Source, Task
from fourhorn.evaluation.tasks.language_modeling import LanguageModeling


class WebTextPerplexity(Task):
    """Two language-modeling tasks side by side: `train` and `test`."""

    name = "webtext_perplexity"
    section = "4"

    def __init__(self, source: Source, splits: Mapping[str, Sequence[str]]) -> None:
        super().__init__(source)
        self.splits = {
            split: LanguageModeling("webtext", source, [text.encode() for text in texts])
            for split, texts in splits.items()
        }
        self._items: list[tuple[str, int]] = []

    @property
    def n_items(self) -> int:
        return len(self._items)

    def protocol(self) -> dict[str, Any]:
        return {
            "splits": {split: part.protocol()["units"] for split, part in self.splits.items()},
            "documents": {split: len(part.units) for split, part in self.splits.items()},
            "windows": "disjoint windows of the model's context, each document after <|endoftext|>",
        }

    def batches(self, scorer: Scorer) -> list[list[int]]:
        plan: list[list[int]] = []
        self._items = []
        for split, part in self.splits.items():
            for batch in part.batches(scorer):
                plan.append(list(range(len(self._items), len(self._items) + len(batch))))
                self._items += [(split, i) for i in batch]
        return plan

    def score(self, scorer: Scorer, batch: Sequence[int]) -> list[Record]:
        split = self._items[batch[0]][0]
        records = self.splits[split].score(scorer, [self._items[i][1] for i in batch])
        return [{**record, "id": f"{split}/{record['id']}", "split": split} for record in records]

    def metrics(self, records: Sequence[Record]) -> dict[str, Metric]:
        found: dict[str, Metric] = {}
        for split, part in self.splits.items():
            metrics = part.metrics([r for r in records if r["split"] == split])
            found |= {f"{split}_{name}": m for name, m in metrics.items() if name != "bits_per_char"}
        return found
