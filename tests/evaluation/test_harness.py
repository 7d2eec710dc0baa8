"""A fourhorn model answers lm-evaluation-harness's requests as its own rules say."""

import pytest

from fourhorn.errors import UserError
from fourhorn.evaluation.harness import Answers, encode_pair, harness_model
from fourhorn.evaluation.scoring import Request, Scorer


def test_a_contexts_trailing_space_belongs_to_the_continuation(scorer: Scorer) -> None:
    encode = scorer.tokenizer.encode_ordinary
    assert encode_pair(scorer.tokenizer, "it was ", "the cat") == (encode("it was"), encode(" the cat"))


def test_requests_with_one_context_share_it_and_keep_their_order(scorer: Scorer) -> None:
    answers = Answers(scorer.model, scorer.tokenizer)
    pairs = [("it was", " the"), ("he had", " one"), ("it was", " on the"), ("", "the"), ("it was", " of")]
    found = answers.loglikelihood(pairs)
    encode = scorer.tokenizer.encode_ordinary
    for (context, continuation), (value, greedy) in zip(pairs, found, strict=True):
        score = scorer.loglikelihoods([Request(encode(context), encode(continuation))])[0]
        assert value == pytest.approx(score.loglikelihood, abs=1e-5)
        assert greedy == score.is_greedy


def test_rolling_covers_every_token_once(scorer: Scorer) -> None:
    answers = Answers(scorer.model, scorer.tokenizer)
    text = "the cat was on the mat. " * 20
    (value,) = answers.loglikelihood_rolling([text])
    tokens = scorer.tokenizer.encode_ordinary(text)
    first = scorer.loglikelihoods([Request([], tokens[:64])])[0].loglikelihood
    assert len(tokens) > 64
    assert value < first < 0


def test_generation_stops_at_the_stop_string_and_refuses_sampling(scorer: Scorer) -> None:
    answers = Answers(scorer.model, scorer.tokenizer)
    (whole,) = answers.generate_until([("it was", {"until": [], "max_gen_toks": 8})])
    cut = whole[len(whole) // 2]
    (text,) = answers.generate_until([("it was", {"until": [cut], "max_gen_toks": 8})])
    assert text == whole.split(cut)[0]
    with pytest.raises(UserError, match="greedily only"):
        answers.generate_until([("it was", {"do_sample": True})])


def test_the_harness_takes_the_model_as_its_own(scorer: Scorer) -> None:
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance

    model = harness_model(scorer.model, scorer.tokenizer)
    assert isinstance(model, lm_eval.api.model.LM)
    request = Instance(request_type="loglikelihood", doc={}, arguments=("it was", " the"), idx=0)
    assert model.loglikelihood([request])[0][0] < 0


def test_without_the_harness_the_way_out_is_named(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(UserError, match="pip install lm_eval"):
        harness_model(scorer.model, scorer.tokenizer)
