"""Metrics against hand-worked cases, the official CoQA script's figures, sacreBLEU and rouge-score."""

import math

import pytest

from fourhorn.evaluation.metrics import (
    accuracy,
    bits,
    bleu,
    exact_match,
    f1,
    leave_one_out,
    mean,
    moses,
    normalize_answer,
    proportion,
    rate,
    rouge,
    sentences,
)


def test_wilson_interval_equals_the_published_formula() -> None:
    metric = proportion(193, 273, 0.5)
    assert metric.value == pytest.approx(0.70696, abs=1e-5)
    assert (metric.low, metric.high) == pytest.approx((0.65040, 0.75778), abs=1e-5)
    assert accuracy([False] * 10).low == 0.0
    assert accuracy([True] * 10).high == 1.0


def test_perplexity_and_bits_are_totals_over_totals() -> None:
    assert rate([2.0, 4.0], [1.0, 2.0]).value == pytest.approx(math.exp(2))
    assert rate([math.log(2)] * 4, [1.0] * 4, bits).value == pytest.approx(1.0)


def test_a_mean_of_equal_values_has_the_interval_of_a_share() -> None:
    all_wrong = mean([0.0] * 100, scale=100)
    assert (all_wrong.value, all_wrong.low) == (0.0, 0.0)
    assert all_wrong.high == pytest.approx(3.70, abs=0.01)  # Wilson's bound for 0 of 100
    half = mean([0.5] * 100)
    assert half.low == pytest.approx(0.404, abs=0.001)


def test_a_mean_over_documents_is_as_uncertain_as_its_documents() -> None:
    values = [float(document % 2) for document in range(20) for _ in range(50)]
    over_items = mean(values)
    over_documents = mean(values, documents=[f"d{i // 50}" for i in range(1000)])
    assert over_items.value == over_documents.value == 0.5
    assert over_items.n == over_documents.n == 1000
    assert over_items.high - over_items.low == pytest.approx(2 * 1.96 * 0.5 / 1000**0.5, rel=0.1)  # type: ignore[operator]
    assert over_documents.high - over_documents.low == pytest.approx(2 * 1.96 * 0.5 / 20**0.5, rel=0.15)  # type: ignore[operator]


def test_normal_form_drops_case_punctuation_and_articles() -> None:
    assert normalize_answer("The  Tiber, a river!") == "tiber river"
    assert normalize_answer("A+") == ""


def test_empty_normal_forms_never_match_each_other() -> None:
    assert not exact_match("A", ["A+"])
    assert exact_match("A", ["a"])
    assert not exact_match("", [""])
    assert exact_match("the Tiber", ["Tiber"])


def test_coqa_leaves_each_reference_out_once_and_keeps_equal_ones() -> None:
    """The official script gives 1.0 here; dropping double references first would give 0.83."""
    references = ["white", "white", "white", "a white cat"]
    assert leave_one_out(f1, "white", references) == 1.0
    assert leave_one_out(f1, "a white cat", references) == pytest.approx((3 * 1.0 + 2 / 3) / 4)
    assert leave_one_out(f1, "black", references) == 0.0
    assert leave_one_out(f1, "white cat", ["white"]) == pytest.approx(2 / 3)


def test_f1_counts_common_words() -> None:
    assert f1("in the garden", "the old garden") == pytest.approx(0.5)
    assert f1("yes", "yes.") == 1.0
    assert f1("", "the") == 1.0  # CoQA's script: both empty after normalization
    assert f1("", "yes") == 0.0


def test_bleu_is_sacrebleus_with_its_signature() -> None:
    import sacrebleu

    outputs, references = (
        ["the cat is on the mat .", "a dog runs"],
        ["the cat sat on the mat .", "a dog runs away"],
    )
    metric, signature = bleu(outputs, references)
    assert metric.value == pytest.approx(sacrebleu.corpus_bleu(outputs, [references]).score)
    assert "tok:13a" in signature
    assert metric.low is not None
    assert metric.low <= metric.value


def test_moses_splits_french_elisions_before_and_english_ones_after() -> None:
    assert moses("L'homme qu'il voit, c'est Jean.") == "L' homme qu' il voit , c' est Jean ."
    assert moses("He doesn't see John's 1,000 dogs.") == "He doesn 't see John 's 1,000 dogs ."


def test_rouge_l_is_summary_level() -> None:
    """One summary sentence that mixes two reference sentences: the union of both matches counts."""
    from rouge_score.rouge_scorer import RougeScorer

    summary = ["The police found the car near the river.", "Nobody was hurt."]
    reference = ["Nobody was hurt in the crash.", "Police found the red car."]
    scores = rouge(summary, reference)
    plain = RougeScorer(["rougeL"], use_stemmer=True).score("\n".join(reference), "\n".join(summary))
    assert scores == pytest.approx((8 / 11, 0.4, 8 / 11))
    assert scores[2] > plain["rougeL"].fmeasure


def test_sentences_end_at_marks_but_not_at_abbreviations() -> None:
    text = 'Mr. Smith went to the U.S. in May. "It rained," he said. Then J. Doe left! Why?'
    assert sentences(text) == [
        "Mr. Smith went to the U.S. in May.",
        '"It rained," he said.',
        "Then J. Doe left!",
        "Why?",
    ]
    assert sentences("a cat sat . `` no , '' he said . the end") == [
        "a cat sat .",
        "`` no , '' he said .",
        "the end",
    ]
