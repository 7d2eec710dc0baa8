"""Figure 4: train and test documents side by side, per token and per byte."""

from fourhorn.evaluation.scoring import Scorer
from fourhorn.evaluation.task import Source
from fourhorn.evaluation.tasks.language_modeling import LanguageModeling
from fourhorn.evaluation.tasks.webtext_perplexity import WebTextPerplexity

SPLITS = {"test": ["the cat was on the mat", "he said so"], "train": ["one had it", "it was so and so"]}


def test_each_split_has_its_own_figures(scorer: Scorer) -> None:
    task = WebTextPerplexity(Source("", "pocket", ""), SPLITS)
    records = [record for batch in task.batches(scorer) for record in task.score(scorer, batch)]
    assert len({r["id"] for r in records}) == task.n_items == len(records)
    metrics = task.metrics(records)
    alone = LanguageModeling("webtext", Source("", "pocket", ""), [t.encode() for t in SPLITS["train"]])
    expected = alone.metrics([r for batch in alone.batches(scorer) for r in alone.score(scorer, batch)])
    assert metrics["train_token_perplexity"] == expected["token_perplexity"]
    assert metrics["test_bits_per_byte"].n == 2
