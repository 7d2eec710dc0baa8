"""/v1/completions through the official client, with the model itself as the truth."""

import asyncio
import math

import openai
import pytest
import torch

from fourhorn.sampling.generate import complete


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def greedy(server, prompt, n):
    group = complete(server.model, server.tokenizer, [prompt], max_new_tokens=n, temperature=0.0)
    return group[0][0].text


def test_a_greedy_completion_is_generates(server, client):
    answer = client.completions.create(model="tiny", prompt="the four", max_tokens=12, temperature=0)
    assert answer.object == "text_completion"
    assert answer.choices[0].text == greedy(server, "the four", 12)
    assert answer.choices[0].finish_reason in ("length", "stop")
    assert answer.usage.prompt_tokens == len(server.tokenizer.encode_ordinary("the four"))
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_adds_up_to_the_whole_answer(server, client):
    options = {
        "model": "tiny",
        "prompt": "the",
        "max_tokens": 20,
        "seed": 5,
        "stream_options": {"include_usage": True},
    }
    chunks = list(client.completions.create(**options, stream=True))
    whole = client.completions.create(
        **{name: options[name] for name in ("model", "prompt", "max_tokens", "seed")}
    )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[
        0
    ].finish_reason
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_async_client_gets_the_same(server, client):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as asynchronous:
            whole = await asynchronous.completions.create(
                model="tiny", prompt="the", max_tokens=9, temperature=0
            )
            stream = await asynchronous.completions.create(
                model="tiny", prompt="the", max_tokens=9, temperature=0, stream=True
            )
            return whole.choices[0].text, "".join([chunk.choices[0].text async for chunk in stream])

    assert asyncio.run(ask()) == (greedy(server, "the", 9), greedy(server, "the", 9))


def test_prompts_come_as_text_texts_ids_or_lists_of_ids(server, client):
    encode = server.tokenizer.encode_ordinary
    expected = [greedy(server, text, 6) for text in ("the", " four horns")]
    for prompt, count in (
        ("the", 1),
        (["the", " four horns"], 2),
        (encode("the"), 1),
        ([encode("the"), encode(" four horns")], 2),
    ):
        answer = client.completions.create(model="tiny", prompt=prompt, max_tokens=6, temperature=0)
        assert [choice.text for choice in answer.choices] == expected[:count]
        assert [choice.index for choice in answer.choices] == list(range(count))


def test_scoring_gives_the_models_own_log_probabilities(server, client):
    text = "the four unicorns of the valley"
    tokens = server.tokenizer.encode_ordinary(text)
    with torch.no_grad():
        exact = torch.log_softmax(server.model(torch.tensor([tokens])).double(), -1)[0]
    answer = client.completions.create(model="tiny", prompt=text, max_tokens=0, echo=True, logprobs=5)
    found = answer.choices[0].logprobs
    assert answer.choices[0].text == text
    assert found.token_logprobs[0] is None
    assert found.top_logprobs[0] is None
    for i in range(1, len(tokens)):
        assert found.token_logprobs[i] == pytest.approx(float(exact[i - 1, tokens[i]]), abs=1e-4)
        best = max(found.top_logprobs[i], key=found.top_logprobs[i].get)
        assert best == server.tokenizer.decode([int(exact[i - 1].argmax())]) or best.startswith("bytes:")
        assert found.tokens[i] in found.top_logprobs[i]
    assert [text[at:].startswith(token) for at, token in zip(found.text_offset, found.tokens)] == [
        True
    ] * len(tokens)


def test_echo_with_one_token_has_one_entry_for_each_token(server, client):
    tokens = server.tokenizer.encode_ordinary("the four")
    answer = client.completions.create(
        model="tiny", prompt=tokens, max_tokens=1, echo=True, logprobs=1, temperature=0
    )
    assert len(answer.choices[0].logprobs.token_logprobs) == len(tokens) + 1


def test_a_completion_that_ends_by_the_separator_lists_it_but_does_not_show_it(server, client):
    eot, model = server.tokenizer.eot, server.model
    saved = model.wte.weight[eot].clone()
    with torch.no_grad():
        direction = model.hidden(torch.tensor([server.tokenizer.encode_ordinary("the")]))[0, -1]
        model.wte.weight[eot] = 20 * direction
    try:
        answer = client.completions.create(
            model="tiny",
            prompt="the",
            max_tokens=4,
            echo=True,
            logprobs=1,
            temperature=0,
            stop=["<|endoftext|>"],
        ).choices[0]
        plain = client.completions.create(model="tiny", prompt="the", max_tokens=4, temperature=0).choices[0]
        streamed = list(
            client.completions.create(
                model="tiny", prompt="the", max_tokens=4, logprobs=1, temperature=0, stream=True
            )
        )
    finally:
        with torch.no_grad():
            model.wte.weight[eot] = saved
    assert (answer.text, answer.finish_reason) == ("the", "stop")
    assert answer.logprobs.tokens == ["the", "<|endoftext|>"]
    assert (plain.text, plain.finish_reason) == ("", "stop")
    assert "".join(chunk.choices[0].text for chunk in streamed) == ""
    assert streamed[-1].choices[0].logprobs.tokens == ["<|endoftext|>"]


def test_separator_text_from_a_user_is_ordinary_text(server, client):
    answer = client.completions.create(
        model="tiny", prompt="a<|endoftext|>b", max_tokens=0, echo=True, logprobs=0
    )
    assert "<|endoftext|>" not in answer.choices[0].logprobs.tokens
    assert answer.choices[0].text == "a<|endoftext|>b"


def test_n_completions_differ_and_each_has_its_own_seed(server, client):
    many = client.completions.create(model="tiny", prompt="the", max_tokens=16, n=4, seed=100)
    assert [choice.index for choice in many.choices] == [0, 1, 2, 3]
    assert len({choice.text for choice in many.choices}) == 4
    alone = client.completions.create(model="tiny", prompt="the", max_tokens=16, seed=102)
    assert many.choices[2].text == alone.choices[0].text


def test_best_of_answers_with_the_likeliest(server, client):
    one = client.completions.create(model="tiny", prompt="the", max_tokens=8, best_of=6, logprobs=0, seed=1)
    all_six = client.completions.create(model="tiny", prompt="the", max_tokens=8, n=6, logprobs=0, seed=1)
    means = [sum(c.logprobs.token_logprobs) / len(c.logprobs.token_logprobs) for c in all_six.choices]
    assert one.choices[0].text == all_six.choices[means.index(max(means))].text


def test_stop_texts_end_a_completion_and_are_not_part_of_it(server, client):
    whole = greedy(server, "the", 20)
    stop = whole[8:10]
    answer = client.completions.create(
        model="tiny", prompt="the", max_tokens=20, temperature=0, stop=[stop], logprobs=0
    )
    assert answer.choices[0].text == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"
    assert len(answer.choices[0].logprobs.tokens) <= answer.usage.completion_tokens
    assert all(at < len(answer.choices[0].text) for at in answer.choices[0].logprobs.text_offset)


def test_several_streams_in_one_request_are_kept_apart(server, client):
    texts = {0: "", 1: "", 2: "", 3: ""}
    prompts = ["the", " four"]
    for chunk in client.completions.create(
        model="tiny", prompt=prompts, n=2, max_tokens=10, seed=3, stream=True
    ):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    whole = client.completions.create(model="tiny", prompt=prompts, n=2, max_tokens=10, seed=3)
    assert [texts[i] for i in range(4)] == [choice.text for choice in whole.choices]


def test_a_streamed_echo_begins_with_the_prompt(server, client):
    chunks = list(
        client.completions.create(
            model="tiny", prompt="the four", max_tokens=3, echo=True, logprobs=2, stream=True
        )
    )
    assert chunks[0].choices[0].text.startswith("the four")
    assert chunks[0].choices[0].logprobs.token_logprobs[0] is None
    rows = [row for chunk in chunks for row in chunk.choices[0].logprobs.tokens]
    assert rows[0] == "the"


def test_too_long_a_prompt_is_refused_with_the_numbers(server, client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="tiny", prompt=[1] * 100, max_tokens=29)
    assert caught.value.code == "context_length_exceeded"
    assert "maximum context length is 128 tokens" in caught.value.body["message"]
    assert "129 tokens (100 in the prompt, 29 in the completion)" in caught.value.body["message"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": [99999]}, "not in the vocabulary"),
        ({"best_of": 2, "stream": True}, "cannot be streamed"),
        ({"best_of": 2, "n": 3}, "less than n"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"logit_bias": {"1": 5.0}}, "logit_bias"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"logprobs": 21}, "logprobs"),
        ({"prompt": []}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"stop": [""]}, "stop"),
        ({"seed": 2**70}, "seed"),
    ],
)
def test_impossible_requests_are_refused_in_openais_shape(client, change, words):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(**({"model": "tiny", "prompt": "the"} | change))
    assert caught.value.type == "invalid_request_error"
    assert words in caught.value.body["message"]


def test_models_are_named_and_an_unknown_one_is_refused(server, client):
    assert [model.id for model in client.models.list()] == ["tiny", "other"]
    assert client.models.retrieve("other").id == "other"
    first = client.completions.create(model="tiny", prompt="the", max_tokens=8, temperature=0)
    second = client.completions.create(model="other", prompt="the", max_tokens=8, temperature=0)
    assert first.choices[0].text != second.choices[0].text
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="gpt-5", prompt="the")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("temperature", [1e-65, 5e-324, 1e-5])
def test_a_temperature_next_to_nothing_is_greedy(server, client, temperature):
    answer = client.completions.create(model="tiny", prompt="the", max_tokens=6, temperature=temperature)
    assert answer.choices[0].text == greedy(server, "the", 6)


def test_log_probabilities_of_a_completion_sum_to_its_score(server, client):
    answer = client.completions.create(model="tiny", prompt="the", max_tokens=6, seed=9, logprobs=3)
    found = answer.choices[0].logprobs
    tokens = server.tokenizer.encode_ordinary("the")
    generated = complete(server.model, server.tokenizer, ["the"], max_new_tokens=6, seed=9, n_logprobs=3)[0][
        0
    ]
    assert answer.choices[0].text == generated.text
    assert found.token_logprobs == pytest.approx(generated.logprobs, abs=1e-4)
    assert all(3 <= len(row) <= 4 for row in found.top_logprobs)
    assert math.isfinite(sum(found.token_logprobs))
    assert len(tokens) == 1
