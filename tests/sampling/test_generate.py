import numpy as np
import pytest
import torch

from fourhorn.errors import UserError
from fourhorn.sampling.generate import complete, generate, stream


def hugging_face(model):
    """The same weights in `transformers`."""
    transformers = pytest.importorskip("transformers")
    c = model.config
    config = transformers.GPT2Config(
        n_layer=c.n_layer, n_head=c.n_head, n_embd=c.n_embd, n_positions=c.n_ctx, vocab_size=c.n_vocab,
        bos_token_id=256, eos_token_id=256, pad_token_id=256,
    )  # fmt: skip
    other = transformers.GPT2LMHeadModel(config).eval()
    weights = {
        f"transformer.{k}": v.t() if "c_" in k and k.endswith("weight") else v
        for k, v in model.state_dict().items()
    }
    other.load_state_dict({**weights, "lm_head.weight": model.wte.weight})
    return other


def mixed_prompts(n):
    random = np.random.default_rng(7)
    return [random.integers(0, 256, size=random.integers(1, 40)).tolist() for _ in range(n)]


@pytest.mark.parametrize("max_sequences", [1, 16])
def test_greedy_tokens_and_log_probabilities_equal_those_of_transformers(model, tokenizer, max_sequences):
    other = hugging_face(model)
    prompts = mixed_prompts(100)
    options = {"temperature": 0.0, "max_new_tokens": 12, "n_logprobs": 0, "prompt_logprobs": True}
    ours = [c for [c] in complete(model, tokenizer, prompts, max_sequences=max_sequences, **options)]
    for prompt, completion in zip(prompts, ours, strict=True):
        with torch.inference_mode():
            [theirs] = other.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False).tolist()
            logprobs = torch.log_softmax(other(torch.tensor([theirs])).logits[0], -1)
        n = len(completion.tokens)
        assert completion.tokens == theirs[len(prompt) : len(prompt) + n]
        assert n == 12 or theirs[len(prompt) + n] == 256
        expected = [logprobs[i - 1, theirs[i]].item() for i in range(1, len(prompt) + n)]
        assert completion.prompt_logprobs[1:] + completion.logprobs == pytest.approx(expected, abs=1e-4)
        assert completion.prompt_logprobs[0] is None


def test_a_seed_gives_the_same_text_alone_streamed_and_in_any_batch(model, tokenizer):
    prompts = ["a", "some more words", "of", "different lengths, read together"]
    together = generate(model, tokenizer, prompts, max_new_tokens=20, seed=5)
    for i, prompt in enumerate(prompts):
        assert generate(model, tokenizer, prompt, max_new_tokens=20, seed=5 + i) == together[i]
        assert "".join(stream(model, tokenizer, prompt, max_new_tokens=20, seed=5 + i)) == together[i]
    assert generate(model, tokenizer, prompts, max_new_tokens=20, seed=5, max_sequences=2) == together
    assert generate(model, tokenizer, prompts[0], max_new_tokens=20, seed=6) != together[0]


def test_an_empty_prompt_is_an_unconditional_sample(model, tokenizer):
    assert generate(model, tokenizer, max_new_tokens=8) == generate(model, tokenizer, "", max_new_tokens=8)
    [[sample]] = complete(model, tokenizer, [""], max_new_tokens=8)
    assert sample.prompt == [256]


def test_the_end_of_text_ends_the_completion_unless_told_otherwise(model, tokenizer):
    ends = [c for [c] in complete(model, tokenizer, [""] * 30, max_new_tokens=60)]
    assert {c.finish_reason for c in ends} == {"stop", "length"}
    assert all(256 not in c.tokens for c in ends)
    on = [c for [c] in complete(model, tokenizer, [""] * 30, max_new_tokens=60, stop_at_eot=False)]
    assert {len(c.tokens) for c in on} == {60}


def test_best_of_returns_the_likeliest(model, tokenizer):
    [ten] = complete(model, tokenizer, ["x"], n=10, max_new_tokens=6, n_logprobs=0, stop_at_eot=False)
    [best] = complete(model, tokenizer, ["x"], n=2, best_of=10, max_new_tokens=6, stop_at_eot=False)
    ranked = sorted(ten, key=lambda c: -sum(c.logprobs))
    assert [c.tokens for c in best] == [c.tokens for c in ranked[:2]]
    assert len({c.seed for c in ten}) == 10


def test_log_probabilities_name_the_alternatives(model, tokenizer):
    [[c]] = complete(model, tokenizer, ["x"], max_new_tokens=5, temperature=0.0, n_logprobs=3)
    assert [len(t) for t in c.top_logprobs] == [3] * 5
    for token, logprob, alternatives in zip(c.tokens, c.logprobs, c.top_logprobs, strict=True):
        assert alternatives[0] == (token, pytest.approx(logprob, abs=1e-5))


def test_no_new_tokens_only_scores_the_prompt(model, tokenizer):
    [[c]] = complete(model, tokenizer, ["score me"], max_new_tokens=0, prompt_logprobs=True)
    [[longer]] = complete(model, tokenizer, ["score me"], max_new_tokens=3, prompt_logprobs=True)
    assert (c.tokens, c.text, c.finish_reason) == ([], "", "length")
    assert c.prompt_logprobs == longer.prompt_logprobs
    assert len(c.prompt_logprobs) == 8


def test_a_full_context_stops_is_refused_or_slides_by_choice(model, tokenizer):
    prompt = [65] * 60
    [[stopped]] = complete(model, tokenizer, [prompt], max_new_tokens=20, stop_at_eot=False)
    assert (len(stopped.tokens), stopped.finish_reason) == (4, "length")
    with pytest.raises(UserError, match="60 prompt tokens \\+ 20 new ones exceed the context of 64"):
        complete(model, tokenizer, [prompt], max_new_tokens=20, overflow="refuse")
    options = {"max_new_tokens": 100, "overflow": "window", "stop_at_eot": False}
    [[slid]] = complete(model, tokenizer, [prompt], **options)
    assert (len(slid.tokens), slid.tokens[:4]) == (100, stopped.tokens)


def test_a_window_continues_from_the_newer_half_of_the_context(model, tokenizer):
    options = {"overflow": "window", "temperature": 0.0, "stop_at_eot": False}
    [[slid]] = complete(model, tokenizer, [[65] * 10], max_new_tokens=80, **options)
    kept = slid.tokens[54 - 32 : 54]  # 10 + 54 = 64 tokens fill the context; the last 32 stay
    [[again]] = complete(model, tokenizer, [kept], max_new_tokens=26, **options)
    assert slid.tokens[54:] == again.tokens


def test_a_prompt_longer_than_the_context_is_refused_or_cut_by_choice(model, tokenizer):
    with pytest.raises(UserError, match="70 prompt tokens leave no room in the context of 64"):
        complete(model, tokenizer, [[1] * 70])
    [[cut]] = complete(model, tokenizer, [list(range(70))], max_new_tokens=5, overflow="window")
    assert cut.prompt == list(range(11, 70))


def test_unknown_options_name_the_nearest(model, tokenizer):
    with pytest.raises(UserError, match="Did you mean 'temperature'"):
        generate(model, tokenizer, "a", temprature=1.0)
    with pytest.raises(UserError, match="token 300 is not in the vocabulary of 257 tokens"):
        complete(model, tokenizer, [[300]])


def test_sampling_leaves_the_model_in_training_mode(random_model, tokenizer):
    model = random_model(dropout=0.5).train()
    first = generate(model, tokenizer, "a", max_new_tokens=10)
    assert generate(model, tokenizer, "a", max_new_tokens=10) == first
    assert model.training
