"""CNN/Daily Mail: the hint, the baselines with their published figures, summaries that ignore the batch."""

from pathlib import Path

import pytest

from fourhorn.evaluation.formats import Article, read_articles
from fourhorn.evaluation.metrics import rouge, sentences
from fourhorn.evaluation.scoring import Scorer
from fourhorn.evaluation.task import Source
from fourhorn.evaluation.tasks.summarization import Summarization, prompt, random_sentences

ARTICLES = [
    Article(f"The dog number {i} was here. It said that. He had one. So it was.", ("The dog was here.",))
    for i in range(4)
]


def test_the_hint_stands_on_its_own_line() -> None:
    assert prompt(" A cat sat. ") == "A cat sat.\nTL;DR:"
    assert prompt("A cat sat.", hint=False) == "A cat sat."


def test_lead_3_and_random_3_reach_the_known_figures_on_the_real_articles(real: Path) -> None:
    """Table 4 has 40.38 / 17.66 / 36.62 and 28.78 / 8.63 / 25.52 on all 11,490."""
    articles = read_articles(real / "cnn_dm_sample" / "src.txt", real / "cnn_dm_sample" / "ref.txt")
    assert len(articles) == 100
    lead = [rouge(sentences(a.text)[:3], a.highlights) for a in articles]
    random = [rouge(random_sentences(a.text, i), a.highlights) for i, a in enumerate(articles)]
    lead_means = [100 * sum(column) / 100 for column in zip(*lead, strict=True)]
    random_means = [100 * sum(column) / 100 for column in zip(*random, strict=True)]
    assert lead_means == pytest.approx([41.1, 17.5, 37.2], abs=0.05)
    assert random_means == pytest.approx([29.8, 8.3, 26.4], abs=2.0)


def test_summaries_do_not_depend_on_the_batch(wide, tokenizer) -> None:  # type: ignore[no-untyped-def]
    def summaries(batch_size: int) -> dict[str, list[str]]:
        scorer = Scorer(wide, tokenizer, batch_size)
        task = Summarization(Source("", "pocket", ""), ARTICLES, n_tokens=12)
        return {r["id"]: r["summary"] for batch in task.batches(scorer) for r in task.score(scorer, batch)}

    assert summaries(1) == summaries(3) == summaries(8)


def test_a_long_article_loses_its_end_and_keeps_the_hint(scorer: Scorer) -> None:
    task = Summarization(Source("", "pocket", ""), [Article("One was. " * 40, ("One was.",))], n_tokens=8)
    records = task.score(scorer, [0])
    assert records[0]["tokens_cut"] > 0
    assert task.details(records) == {"n_articles_cut": 1}
    assert set(task.metrics(records)) >= {
        "rouge_1",
        "rouge_2",
        "rouge_l",
        "rouge_avg",
        "no_hint_rouge_avg",
        "lead_3_rouge_l",
    }
