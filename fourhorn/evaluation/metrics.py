"""The measures of §3 and the uncertainty of each.

Accuracies get Wilson's interval, everything else a bootstrap over items or documents; both at 95 %. Exact match and
F1 are SQuAD's and CoQA's (lower case, no punctuation, no articles), BLEU is sacreBLEU's, ROUGE is rouge-score's
with stemming and summary-level ROUGE-L, which is what Table 4's R-L means.

Sources: Wilson 1927; Rajpurkar et al. 2016 (SQuAD); Reddy et al. 2019 (CoQA: with k references, each is left out
once and the best of the others counts); Papineni et al. 2002 and Post 2018 (BLEU); Lin 2004 (ROUGE).
"""

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fourhorn.evaluation.task import Metric

Z = 1.959963984540054  # the normal quantile of a two-sided 95 % interval
N_BOOTSTRAP = 1000


def proportion(n_right: float, n: int, chance: float | None = None) -> Metric:
    """A share with Wilson's 95 % interval."""
    if n == 0:
        return Metric(0.0, 0.0, 1.0, 0, chance)
    p = n_right / n
    middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return Metric(p, max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half)), n, chance)


def accuracy(flags: Sequence[bool], chance: float | None = None) -> Metric:
    """The share of true flags with Wilson's interval."""
    return proportion(sum(map(bool, flags)), len(flags), chance)


def bootstrap(
    n: int, statistic: Callable[[np.ndarray[Any, Any]], float], *, seed: int = 0, n_samples: int = N_BOOTSTRAP
) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of `statistic(rows)` over resamples of n rows."""
    draw = np.random.default_rng(seed)
    values = [statistic(draw.integers(0, n, n)) for _ in range(n_samples)]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def mean(
    values: Sequence[float],
    *,
    scale: float = 1.0,
    chance: float | None = None,
    documents: Sequence[Any] | None = None,
) -> Metric:
    """The mean of values in [0, 1], times `scale`, with a bootstrap interval over items or the documents they are of.

    Values that are all equal say nothing when drawn anew; they get the interval of a share, which is never narrower.
    """
    if not values:
        return Metric(0.0, None, None, 0, chance)
    array = np.asarray(values, dtype=np.float64)
    if array.min() == array.max():
        share = proportion(float(array.sum()), len(array))
        low, high = share.low or 0.0, share.high or 0.0
    else:
        low, high = mean_interval(array, documents)
    return Metric(float(array.mean()) * scale, low * scale, high * scale, len(array), chance)


def mean_interval(
    values: Sequence[float] | np.ndarray[Any, Any], documents: Sequence[Any] | None = None
) -> tuple[float, float]:
    """The bootstrap interval of a mean, over the documents that the values belong to (each its own by default)."""
    owners = np.unique(np.array(documents or range(len(values))), return_inverse=True)[1]
    sums, sizes = np.bincount(owners, values), np.bincount(owners)
    return bootstrap(len(sums), lambda rows: float(sums[rows].sum() / sizes[rows].sum()))


def rate(nats: Sequence[float], units: Sequence[float], of: Callable[[float], float] = math.exp) -> Metric:
    """`of(total nats / total units)` with a bootstrap interval over documents (or windows of one stream).

    `math.exp` gives a perplexity per unit, `bits` the bits per unit.
    """
    x, u = np.asarray(nats, dtype=np.float64), np.asarray(units, dtype=np.float64)
    value = of(min(float(x.sum() / u.sum()), 700.0))
    if len(x) < 2:
        return Metric(value, None, None, len(x))

    def resampled(rows: np.ndarray[Any, Any]) -> float:
        return of(min(float(x[rows].sum() / max(float(u[rows].sum()), 1e-9)), 700.0))

    low, high = bootstrap(len(x), resampled)
    return Metric(value, low, high, len(x))


def bits(nats: float) -> float:
    """Nats as bits."""
    return nats / math.log(2)


# --------------------------------------------------------------------------------------- answers as words

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """SQuAD's and CoQA's normal form: lower case, no punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, references: Sequence[str]) -> bool:
    """SQuAD's exact match, except that two empty normal forms do not match.

    Removing articles turns the blood types "A" and "A+" both into nothing; SQuAD's own script then calls them equal.
    Such answers are compared with articles kept.
    """
    normal = normalize_answer(answer)
    if normal:
        return any(normal == normalize_answer(reference) for reference in references)
    plain = answer.strip().lower()
    return bool(plain) and any(plain == reference.strip().lower() for reference in references)


def f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over normalized words; both empty counts as 1, as CoQA's script has it."""
    found, wanted = normalize_answer(answer).split(), normalize_answer(reference).split()
    if not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    if not common:
        return 0.0
    precision, recall = common / len(found), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def leave_one_out(score: Callable[[str, str], float], answer: str, references: Sequence[str]) -> float:
    """CoQA's figure for several references: the mean, over each reference left out, of the best of the others.

    It makes a model comparable with people, each of whom is scored against the others. Equal references stay apart.
    """
    values = [score(answer, reference) for reference in references]
    if len(values) == 1:
        return values[0]
    return sum(max(values[:i] + values[i + 1 :]) for i in range(len(values))) / len(values)


# --------------------------------------------------------------------------------- sentences, ROUGE, BLEU

_WORDS_WITH_PERIOD = """
mr mrs ms dr prof st mt no vs etc jr sr gen col sgt capt lt gov sen rep rev inc corp ltd co dept est fig e.g
i.e u.s u.k u.n a.m p.m jan feb mar apr jun jul aug sep sept oct nov dec
"""
_ABBREVIATIONS = frozenset(_WORDS_WITH_PERIOD.split())
_SENTENCE_END = re.compile(r"""[.!?…]+["'”’)\]]*\s+(?=["'“‘(\[]*[A-Z0-9])""")


def sentences(text: str) -> list[str]:
    """Split prose into sentences; text that is tokenized already (" . ") is split at its closing tokens."""
    found = []
    for paragraph in text.split("\n"):
        if " . " in paragraph or paragraph.rstrip().endswith(" ."):
            found += _tokenized_sentences(paragraph)
            continue
        start = 0
        for end in _SENTENCE_END.finditer(paragraph):
            words = paragraph[start : end.start()].split()
            before = words[-1].lower().strip("\"'“‘([") if words else ""
            initial = len(before) == 1 and before.isalpha() and before != "i"
            if paragraph[end.start()] == "." and (before in _ABBREVIATIONS or initial):
                continue
            found.append(paragraph[start : end.end()])
            start = end.end()
        found.append(paragraph[start:])
    return [sentence.strip() for sentence in found if sentence.strip()]


def _tokenized_sentences(text: str) -> list[str]:
    found: list[list[str]] = [[]]
    closed = False
    for token in text.split():
        closing = token in {"''", '"', "'", ")", "-rrb-", "”", "’"}
        if closed and not closing:
            found.append([])
            closed = False
        found[-1].append(token)
        closed = token in {".", "!", "?"} or (closed and closing)
    return [" ".join(tokens) for tokens in found if tokens]


_rouge: Any = None


def rouge(summary: Sequence[str], reference: Sequence[str]) -> tuple[float, float, float]:
    """ROUGE-1, ROUGE-2 and summary-level ROUGE-L (F1 of stemmed words) of two lists of sentences."""
    global _rouge
    if _rouge is None:
        from rouge_score.rouge_scorer import RougeScorer

        _rouge = RougeScorer(["rouge1", "rouge2", "rougeLsum"], use_stemmer=True)
    scores = _rouge.score("\n".join(reference), "\n".join(summary))
    return scores["rouge1"].fmeasure, scores["rouge2"].fmeasure, scores["rougeLsum"].fmeasure


def bleu(
    hypotheses: Sequence[str], references: Sequence[str], *, tokenize: str = "13a"
) -> tuple[Metric, str]:
    """Corpus BLEU (0–100) with a bootstrap interval over segments, and sacreBLEU's signature.

    tokenize = "moses" scores text split as Moses' tokenizer splits it, the practice of 2019's unsupervised papers.
    """
    from sacrebleu.metrics.bleu import BLEU

    if tokenize == "moses":
        hypotheses, references = [moses(text) for text in hypotheses], [moses(text) for text in references]
    scorer = BLEU(tokenize="none" if tokenize == "moses" else tokenize)
    value = float(scorer.corpus_score(list(hypotheses), [list(references)]).score)
    signature = str(scorer.get_signature())
    counts = np.array(
        scorer._extract_corpus_statistics(list(hypotheses), [list(references)]), dtype=np.float64
    )

    def resampled(rows: np.ndarray[Any, Any]) -> float:
        return float(scorer._compute_score_from_stats(counts[rows].sum(0).astype(int).tolist()).score)

    low, high = bootstrap(len(counts), resampled)
    return Metric(value, low, high, len(hypotheses)), signature


def moses(text: str) -> str:
    """Text with punctuation split off as Moses' tokenizer does: elisions as in French before, as in English after."""
    text = re.sub(r"([^\w\s.'’,\-])", r" \1 ", f" {text} ")
    text = re.sub(r"(?<!\d),|,(?!\d)", " , ", text)
    text = re.sub(r"(\w)['’](s|re|ve|ll|d|m|t)\b", r"\1 '\2", text)
    text = re.sub(r"(\b\w{1,2}|qu)['’](?=\w)", r"\1' ", text)
    text = re.sub(r"\.(\s*)$", r" .\1", text)
    return " ".join(text.split())
