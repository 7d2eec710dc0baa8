"""Translation: the prompt, pairs that fit the context, the lexicon baseline."""

from fourhorn.evaluation.scoring import Scorer
from fourhorn.evaluation.task import Source
from fourhorn.evaluation.tasks.translation import Translation, induce_lexicon, prompt, word_by_word

PAIRS = [
    ("the red house", "la maison rouge"),
    ("the house", "la maison"),
    ("a red car", "une voiture rouge"),
    ("the car", "la voiture"),
]


def test_the_prompt_shows_pairs_with_a_sign_of_equality() -> None:
    assert prompt("A cat.", [("Yes.", "Oui.")]) == "Yes. = Oui.\nA cat. ="


def test_the_lexicon_learns_words_from_pairs() -> None:
    lexicon = induce_lexicon(*zip(*PAIRS, strict=True))
    assert (lexicon["house"], lexicon["car"], lexicon["red"]) == ("maison", "voiture", "rouge")
    sources, targets = zip(*[*PAIRS, ("a house", "une maison")] * 2, strict=True)
    assert word_by_word(sources, targets)[1] == "la maison"


def test_french_to_english_turns_the_example_pairs_round() -> None:
    task = Translation("wmt14_fr_en", Source("", "pocket", ""), ["le chat"], ["the cat"])
    assert task.pairs[0] == ("La réunion commence à neuf heures.", "The meeting starts at nine o'clock.")


def test_fewer_pairs_are_shown_where_the_context_is_small(wide, tokenizer, scorer: Scorer) -> None:  # type: ignore[no-untyped-def]
    task = Translation(
        "wmt14_en_fr",
        Source("", "pocket", ""),
        ["the cat", "the dog was here"],
        ["le chat", "le chien"],
        pairs=PAIRS,
    )
    task.batches(Scorer(wide, tokenizer))
    assert task.protocol()["example_pairs_used"] == 4
    task.batches(scorer)
    assert task.protocol()["example_pairs_used"] == 1


def test_the_pairs_are_read_once_for_all_sentences(wide, tokenizer) -> None:  # type: ignore[no-untyped-def]
    scorer = Scorer(wide, tokenizer, 2)
    task = Translation(
        "wmt14_en_fr", Source("", "pocket", ""), ["the cat"] * 12, ["le chat"] * 12, pairs=PAIRS
    )
    records = [r for batch in task.batches(scorer) for r in task.score(scorer, batch)]
    assert scorer.counts["unshared_tokens"] / scorer.counts["forward_tokens"] > 6
    assert task.metrics(records)["bleu"].n == 12
