"""Language modeling: units of the original file, arbitrary bytes, totals that add up at any stride."""

import math
from pathlib import Path

import pytest

from fourhorn.evaluation.scoring import Scorer
from fourhorn.evaluation.task import Record, Source
from fourhorn.evaluation.tasks.language_modeling import LanguageModeling, count_units, encode_bytes


def all_records(task: LanguageModeling, scorer: Scorer) -> list[Record]:
    return [record for batch in task.batches(scorer) for record in task.score(scorer, batch)]


def test_units_are_those_of_the_original_file(real: Path) -> None:
    units = count_units((real / "wikitext2" / "wiki.test.tokens.txt").read_bytes())
    assert (units.words, units.bytes) == (245_569, 1_256_449)


def test_any_bytes_are_encoded_without_loss(scorer: Scorer) -> None:
    data = b"the cat \xff\xc3 was \xe2\x82 on\xf0\x9f"
    assert scorer.tokenizer.decode_bytes(encode_bytes(scorer.tokenizer, data)) == data


def test_figures_divide_total_nats_by_original_units(scorer: Scorer) -> None:
    data = b" the cat , it was on the mat . \n and so on . \n"
    task = LanguageModeling("wikitext2", Source("", "pocket", ""), [data], strides=(64,))
    records = all_records(task, scorer)
    nats = sum(r["nats"] for r in records)
    metrics = task.metrics(records)
    assert metrics["word_perplexity"].value == pytest.approx(math.exp(nats / 15))
    assert metrics["bits_per_byte"].value == pytest.approx(nats / math.log(2) / len(data))
    assert metrics["bits_per_char"].value == pytest.approx(metrics["bits_per_byte"].value)
    assert sum(r["n_tokens"] for r in records) == len(
        scorer.tokenizer.encode_ordinary(" the cat, it was on the mat. \n and so on. \n")
    )


def test_every_stride_scores_every_token_once_and_more_context_is_reported_apart(scorer: Scorer) -> None:
    data = b"the cat was on the mat and it said that he had one. " * 12
    task = LanguageModeling("webtext", Source("", "pocket", ""), [data], strides=(1024, 16))
    records = all_records(task, scorer)
    assert task.strides == (64, 16)
    for stride in task.strides:
        part = [r for r in records if r["stride"] == stride]
        assert sum(r["n_bytes"] for r in part) == len(data)
    metrics = task.metrics(records)
    assert metrics["bits_per_byte_stride_16"].value != metrics["bits_per_byte"].value


def test_documents_start_after_endoftext_and_are_the_bootstraps_blocks(scorer: Scorer) -> None:
    documents = [b"the cat was here", b"one said that he had it"]
    task = LanguageModeling("webtext", Source("", "pocket", ""), documents)
    records = all_records(task, scorer)
    apart = 0.0
    for document in documents:
        alone = LanguageModeling("webtext", Source("", "pocket", ""), [document])
        apart += sum(r["nats"] for r in all_records(alone, scorer))
    assert sum(r["nats"] for r in records) == pytest.approx(apart, abs=1e-5)
    assert task.metrics(records)["token_perplexity"].n == 2
