"""§3.6, Table 4: summaries of news articles, induced by `TL;DR:`.

The article, a line break and `TL;DR:`; 100 tokens sampled with top-k 2; the first three generated sentences are the
summary. Without the hint the same is done after the bare article. ROUGE-1, -2 and summary-level -L as F1, and their
mean. Paper: 29.34 / 8.27 / 26.58 with the hint, 21.58 / 4.03 / 19.47 without, Lead-3 40.38 / 17.66 / 36.62,
Random-3 28.78 / 8.63 / 25.52. (Summary-level: the longest common subsequence is taken per reference sentence; the
plain one would give Lead-3 about 25.6.)

Left open by the paper: the seed, the sentence splitter (see `metrics.sentences`), and which end of a long article
is cut: here its end, since a news article tells the most important first.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fourhorn.evaluation.formats import Article
from fourhorn.evaluation.generation import generate
from fourhorn.evaluation.metrics import mean, rouge, sentences
from fourhorn.evaluation.scoring import Scorer
from fourhorn.evaluation.task import Metric, Record, Source, Task, by_length

HINT = "\nTL;DR:"
N_TOKENS, TOP_K, N_SENTENCES = 100, 2, 3
SYSTEMS = ("hint", "no_hint", "lead_3", "random_3")


def prompt(article: str, *, hint: bool = True) -> str:
    """The article and, with the hint, `TL;DR:` on a line of its own."""
    return f"{article.strip()}{HINT if hint else ''}"


class Summarization(Task):
    """Summaries with and without the hint, beside the two extractive baselines."""

    name = "cnn_dailymail"
    section = "3.6"
    needs = ("rouge_score",)

    def __init__(
        self,
        source: Source,
        articles: Sequence[Article],
        *,
        limit: int | None = None,
        seed: int = 0,
        n_tokens: int = N_TOKENS,
    ) -> None:
        super().__init__(source)
        self.articles = list(articles[:limit])
        self.seed, self.n_tokens = seed, n_tokens

    @property
    def n_items(self) -> int:
        return len(self.articles)

    def protocol(self) -> dict[str, Any]:
        return {
            "prompt": "article + '\\nTL;DR:'; no hint: the article alone",
            "decoding": f"top-k {TOP_K} sampling, {self.n_tokens} tokens, seed {self.seed}",
            "summary": f"first {N_SENTENCES} generated sentences",
            "rouge": "F1, Porter stemming, ROUGE-L summary-level (rougeLsum)",
            "truncation": "end of the article",
        }

    def batches(self, scorer: Scorer) -> list[list[int]]:
        return by_length([len(article.text) for article in self.articles], scorer.batch_size)

    def score(self, scorer: Scorer, batch: Sequence[int]) -> list[Record]:
        summaries: dict[str, list[list[str]]] = {}
        n_tokens = min(self.n_tokens, scorer.n_ctx // 4)
        cut = [0] * len(batch)
        never = frozenset({scorer.eot})
        for hint in (True, False):
            tail = scorer.tokenizer.encode_ordinary(HINT) if hint else []
            room = scorer.n_ctx - n_tokens - len(tail)
            bodies = [
                scorer.tokenizer.encode_ordinary(prompt(self.articles[i].text, hint=False)) for i in batch
            ]
            cut = [max(0, len(body) - room) for body in bodies]
            found = generate(
                scorer,
                [body[:room] + tail for body in bodies],
                max_new_tokens=n_tokens,
                stop=never,
                top_k=TOP_K,
                seeds=[self.seed * 1_000_003 + i for i in batch],
            )
            texts = [scorer.tokenizer.decode(completion.tokens) for completion in found]
            summaries["hint" if hint else "no_hint"] = [sentences(text)[:N_SENTENCES] for text in texts]
        summaries["lead_3"] = [sentences(self.articles[i].text)[:N_SENTENCES] for i in batch]
        summaries["random_3"] = [
            random_sentences(self.articles[i].text, self.seed * 1_000_003 + i) for i in batch
        ]
        return [
            {
                "id": str(i),
                "summary": summaries["hint"][row],
                "tokens_cut": cut[row],
                **{s: list(rouge(summaries[s][row], self.articles[i].highlights)) for s in SYSTEMS},
            }
            for row, i in enumerate(batch)
        ]

    def metrics(self, records: Sequence[Record]) -> dict[str, Metric]:
        found: dict[str, Metric] = {}
        for system in SYSTEMS:
            prefix = "" if system == "hint" else f"{system}_"
            columns = list(zip(*(r[system] for r in records), strict=True)) or [(), (), ()]
            for name, column in zip(("rouge_1", "rouge_2", "rouge_l"), columns, strict=True):
                found[prefix + name] = mean(column, scale=100)
            found[f"{prefix}rouge_avg"] = mean([sum(r[system]) / 3 for r in records], scale=100)
        return found

    def details(self, records: Sequence[Record]) -> dict[str, Any]:
        return {"n_articles_cut": sum(r["tokens_cut"] > 0 for r in records)}


def random_sentences(text: str, seed: int, n: int = N_SENTENCES) -> list[str]:
    """Random-3: n sentences of the article drawn at random, in their order."""
    all_ = sentences(text)
    chosen = np.random.default_rng(seed).permutation(len(all_))[:n]
    return [all_[i] for i in sorted(chosen.tolist())]
