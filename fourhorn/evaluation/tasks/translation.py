"""§3.7, Figure 1: translation between English and French, on WMT-14's newstest2014 (3,003 sentences, both directions).

Lines `english sentence = french sentence` show the task, then `english sentence =` is continued greedily and the
first generated sentence is the translation. Paper: 5 BLEU into French, 11.5 into English.

Left open by the paper: the example pairs (the six below, written for this), the length cap (its Table 15 shows an
output of about 100 tokens), and the tokenization of BLEU: sacreBLEU's with its signature, and Moses' beside it as
was usual in 2019. The example pairs are read once for the whole set. The word-by-word baseline substitutes each
word by a lexicon; the paper's came from Conneau et al. (2017), this one is induced from the other half of the test
pairs and says so.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from fourhorn.evaluation.generation import Completion, generate
from fourhorn.evaluation.metrics import bleu, sentences
from fourhorn.evaluation.scoring import Scorer
from fourhorn.evaluation.task import Metric, Record, Source, Task, by_length

# The shortest first, for a small context has room for the first ones only; the others are as long as sentences of news.
EXAMPLE_PAIRS = (
    ("The meeting starts at nine o'clock.", "La réunion commence à neuf heures."),
    (
        "Prices have risen faster than wages in the last two years.",
        "Les prix ont augmenté plus vite que les salaires ces deux dernières années.",
    ),
    (
        "The government will announce on Friday whether the bridge, closed since the floods of last spring, is to be "
        "repaired or replaced by a new one.",
        "Le gouvernement annoncera vendredi si le pont, fermé depuis les inondations du printemps dernier, doit être "
        "réparé ou remplacé par un nouvel ouvrage.",
    ),
    (
        "According to the mayor, more than four hundred families have asked for a place in the new school, which has "
        "room for only half of their children.",
        "Selon le maire, plus de quatre cents familles ont demandé une place dans la nouvelle école, qui ne peut "
        "accueillir que la moitié de leurs enfants.",
    ),
    (
        '"We do not yet know what caused the fire," said a spokeswoman for the company, "but nobody was hurt and '
        'production will resume on Monday morning."',
        "« Nous ne savons pas encore ce qui a causé l'incendie », a déclaré une porte-parole de l'entreprise, « mais "
        "personne n'a été blessé et la production reprendra lundi matin. »",
    ),
    (
        "Researchers who followed two thousand patients for ten years found that those who walked every day were far "
        "less likely to fall ill.",
        "Des chercheurs qui ont suivi deux mille patients pendant dix ans ont constaté que ceux qui marchaient tous "
        "les jours risquaient beaucoup moins de tomber malades.",
    ),
)
MAX_NEW_TOKENS = 100


def prompt(source: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Example pairs, one per line, and the sentence to translate up to the sign of equality."""
    examples = "".join(f"{left} = {right}\n" for left, right in pairs)
    return f"{examples}{source} ="


class Translation(Task):
    """One direction: `wmt14_en_fr` or `wmt14_fr_en`."""

    section = "3.7"
    needs = ("sacrebleu",)

    def __init__(
        self,
        name: str,
        source: Source,
        sources: Sequence[str],
        references: Sequence[str],
        *,
        pairs: Sequence[tuple[str, str]] | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__(source)
        self.name = name
        self.sources, self.references = list(sources[:limit]), list(references[:limit])
        forward = name.endswith("en_fr")
        self.pairs = (
            list(pairs) if pairs is not None else [p if forward else (p[1], p[0]) for p in EXAMPLE_PAIRS]
        )
        self._n_pairs = len(self.pairs)

    @property
    def n_items(self) -> int:
        return len(self.sources)

    def protocol(self) -> dict[str, Any]:
        return {
            "prompt": "example pairs as 'source = target' lines, then 'source ='",
            "example_pairs": len(self.pairs),
            "example_pairs_used": self._n_pairs,
            "decoding": f"greedy to the end of the line, at most {MAX_NEW_TOKENS} tokens, first sentence",
            "baseline": "word by word, lexicon induced from the other half of the pairs (IBM model 1)",
        }

    def batches(self, scorer: Scorer) -> list[list[int]]:
        """As many example pairs as leave room for most sentences and their translations."""
        encode = scorer.tokenizer.encode_ordinary
        lengths = [len(encode(f"{source} =")) for source in self.sources]
        typical = sorted(lengths)[int(0.9 * (len(lengths) - 1))] if lengths else 0
        self._n_pairs = next(
            (
                n
                for n in range(len(self.pairs), 0, -1)
                if len(self._prefix(scorer, n)) + 2 * typical <= scorer.n_ctx
            ),
            0,
        )
        return by_length(lengths, scorer.batch_size)

    def _prefix(self, scorer: Scorer, n_pairs: int) -> list[int]:
        text = "".join(f"{left} = {right}\n" for left, right in self.pairs[:n_pairs])
        return list(scorer.tokenizer.encode_ordinary(text))

    def score(self, scorer: Scorer, batch: Sequence[int]) -> list[Record]:
        prefix = self._prefix(scorer, self._n_pairs)
        max_new = min(MAX_NEW_TOKENS, max(1, (scorer.n_ctx - len(prefix)) // 2))
        room = scorer.n_ctx - len(prefix) - max_new
        prompts = [scorer.tokenizer.encode_ordinary(f"{self.sources[i]} =") for i in batch]
        found = generate(
            scorer,
            [p[-room:] for p in prompts],
            prefix=prefix,
            max_new_tokens=max_new,
            stop=scorer.newline_tokens,
        )
        return [
            self._record(scorer, i, completion, max(0, len(p) - room))
            for i, p, completion in zip(batch, prompts, found, strict=True)
        ]

    def _record(self, scorer: Scorer, i: int, completion: Completion, n_dropped: int) -> Record:
        text = scorer.tokenizer.decode(completion.tokens).strip()
        return {
            "id": str(i),
            "source": self.sources[i],
            "translation": (sentences(text) or [""])[0],
            "reference": self.references[i],
            "n_dropped": n_dropped,
        }

    def metrics(self, records: Sequence[Record]) -> dict[str, Metric]:
        ordered = sorted(records, key=lambda r: int(r["id"]))
        outputs, references = [r["translation"] for r in ordered], [r["reference"] for r in ordered]
        words = word_by_word([r["source"] for r in ordered], references)
        return {
            "bleu": bleu(outputs, references)[0],
            "bleu_moses": bleu(outputs, references, tokenize="moses")[0],
            "word_by_word_bleu": bleu(words, references)[0],
            "copy_source_bleu": bleu([r["source"] for r in ordered], references)[0],
        }

    def details(self, records: Sequence[Record]) -> dict[str, Any]:
        signature = bleu(["a"], ["a"])[1]
        return {"signature": signature, "n_truncated": sum(r["n_dropped"] > 0 for r in records)}


def word_by_word(sources: Sequence[str], targets: Sequence[str]) -> list[str]:
    """Each sentence word by word, with a lexicon from the pairs of the other half (even for odd, odd for even)."""
    translated = [""] * len(sources)
    for half in (0, 1):
        other = range(1 - half, len(sources), 2)
        lexicon = induce_lexicon([sources[i] for i in other], [targets[i] for i in other])
        for i in range(half, len(sources), 2):
            translated[i] = " ".join(lexicon.get(word.lower(), word) for word in _words(sources[i]))
    return translated


def _words(text: str) -> list[str]:
    import re

    return re.findall(r"\w+['’]?|[^\w\s]", text)


def induce_lexicon(sources: Sequence[str], targets: Sequence[str], *, n_rounds: int = 4) -> dict[str, str]:
    """The likeliest translation of each word under IBM model 1 (Brown et al. 1993)."""
    pairs = [
        ([w.lower() for w in _words(s)], [w.lower() for w in _words(t)])
        for s, t in zip(sources, targets, strict=True)
    ]
    chance: dict[str, dict[str, float]] = defaultdict(dict)
    for source, target in pairs:
        for s, t in itertools.product(source, target):
            chance[s][t] = 1.0
    for _ in range(n_rounds):
        counts: dict[str, dict[str, float]] = {s: dict.fromkeys(row, 0.0) for s, row in chance.items()}
        for source, target in pairs:
            for t in target:
                total = sum(chance[s][t] for s in source)
                for s in source:
                    counts[s][t] += chance[s][t] / total
        for s, row in counts.items():
            total = sum(row.values())
            chance[s] = (
                {t: value / total for t, value in row.items() if value > 1e-6 * total} if total else row
            )
            for t in row:
                chance[s].setdefault(t, 1e-9)
    return {s: max(row, key=lambda t: (row[t], t)) for s, row in chance.items() if row}
