import random

import pytest

from fourhorn.tokenizer import bpe, counter
from fourhorn.tokenizer.counter import FastCounter
from fourhorn.tokenizer.source import batches
from tests.tokenizer.test_fast import adversarial


def learn(
    documents: list[bytes], n_merges: int, min_frequency: int = 1, n_threads: int = 1
) -> tuple[list, int]:
    fast = FastCounter(n_threads)
    fast.count(batches(documents, 1000))
    return fast.merge(n_merges, min_frequency, lambda n: None), fast.n_pieces


@pytest.mark.parametrize("alphabet", ["a", "ab", "ab ", "abc d\n", "é漢a ", "aaaaab"])
def test_merges_and_pieces_are_those_of_the_reference(alphabet: str) -> None:
    rng = random.Random(alphabet)
    for _ in range(40):
        n = rng.randrange(1, 6)
        documents = [
            "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 400))).encode() for _ in range(n)
        ]
        n_merges, min_frequency = rng.randrange(1, 80), rng.choice([1, 2, 3])
        counts = bpe.count_pieces(documents)
        expected = bpe.train(counts, n_merges, min_frequency)
        assert learn(documents, n_merges, min_frequency, rng.choice([1, 2])) == (expected, len(counts)), (
            documents
        )


def test_arrays_that_are_too_short_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    text = "".join(rng.choice("abcdefghij ") * rng.choice([1, 1, 2]) for _ in range(60_000)).encode()
    long = ("x" * 5000 + " " + "".join(rng.choice("xyz") for _ in range(3000))).encode()
    monkeypatch.setattr(counter, "MIN_SHORT_SLOTS", 1 << 11)
    monkeypatch.setattr(counter, "MIN_LONG_SLOTS", 1 << 2)
    monkeypatch.setattr(counter, "MIN_ARENA_BYTES", 1 << 10)
    monkeypatch.setattr(counter, "N_PAIRS", 1 << 10)
    monkeypatch.setattr(counter, "N_BORN", 16)
    monkeypatch.setattr(counter, "SPARE_LIST", 1.0)
    documents = [text, long, text[:2000]]
    expected = bpe.train(bpe.count_pieces(documents), 600)
    assert learn(documents, 600, n_threads=2)[0] == expected


def test_merges_are_those_of_huggingface() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    rng = random.Random(1)
    words = ["the", "then", "them", "naïve", "渡轮", "1024", "it's", "a" * 30, "ab" * 9]
    texts = [" ".join(rng.choice(words) + rng.choice("abcde") for _ in range(300)) for _ in range(8)]
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False)
    theirs.train_from_iterator(texts, trainer)
    import json

    model = json.loads(theirs.to_str())["model"]
    expected = [(model["vocab"][a], model["vocab"][b]) for a, b in model["merges"]]
    assert learn([text.encode() for text in texts], 444)[0] == expected


@pytest.mark.parametrize("kind", adversarial(2))
def test_adversarial_text_is_learned_from(kind: str) -> None:
    text = adversarial(20_000)[kind].encode()
    expected = bpe.train(bpe.count_pieces([text]), 60, 2)
    assert learn([text], 60, 2)[0] == expected
