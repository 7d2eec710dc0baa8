"""/v1/chat/completions through the official client: a transcript in, one turn out."""

import openai
import pytest

from fourhorn.sampling.generate import complete
from fourhorn.serving.chat import transcript
from fourhorn.serving.protocol import Message

TALK = [
    {"role": "system", "content": "A talk about unicorns."},
    {"role": "user", "content": [{"type": "text", "text": "How many horns?"}]},
]
PROMPT = "System: A talk about unicorns.\nUser: How many horns?\nAssistant:"


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_a_conversation_is_written_out_as_a_transcript():
    assert transcript([Message(**turn) for turn in TALK]) == PROMPT


def test_the_answer_is_what_the_model_writes_after_the_transcript(server, client):
    answer = client.chat.completions.create(model="tiny", messages=TALK, max_tokens=12, temperature=0)
    group = complete(
        server.model, server.tokenizer, [PROMPT], max_new_tokens=12, temperature=0.0, stop="\nUser:"
    )
    assert answer.choices[0].message.content == group[0][0].text.removeprefix(" ")
    assert answer.choices[0].message.role == "assistant"
    assert answer.usage.prompt_tokens == len(server.tokenizer.encode_ordinary(PROMPT))


def test_a_streamed_answer_adds_up_to_the_whole_one(client):
    options = {"model": "tiny", "messages": TALK, "max_completion_tokens": 15, "seed": 4, "n": 2}
    whole = client.chat.completions.create(**options)
    texts = ["", ""]
    chunks = list(
        client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True})
    )
    for chunk in chunks[:-1]:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == [choice.message.content for choice in whole.choices]
    assert [chunk.choices[0].delta.role for chunk in chunks[:2]] == ["assistant", "assistant"]
    assert chunks[-1].usage == whole.usage


def test_log_probabilities_come_with_bytes_and_alternatives(client):
    answer = client.chat.completions.create(
        model="tiny", messages=TALK, max_tokens=5, temperature=0, logprobs=True, top_logprobs=3
    )
    rows = answer.choices[0].logprobs.content
    assert len(rows) == 5
    for row in rows:
        assert row.top_logprobs[0].bytes == row.bytes  # greedy takes the likeliest
        assert row.logprob == pytest.approx(row.top_logprobs[0].logprob)
        assert len(row.top_logprobs) == 3


def test_the_separator_in_a_message_is_ordinary_text(server, client):
    talk = [{"role": "user", "content": "<|endoftext|>"}]
    answer = client.chat.completions.create(model="tiny", messages=talk, max_tokens=1)
    text = "User: <|endoftext|>\nAssistant:"
    assert answer.usage.prompt_tokens == len(server.tokenizer.encode_ordinary(text)) > 12


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "content"),
        ({"top_logprobs": 2}, "needs logprobs"),
        ({"max_tokens": 1000}, "maximum context length"),
    ],
)
def test_impossible_conversations_are_refused(client, change, words):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**({"model": "tiny", "messages": TALK} | change))
    assert words in caught.value.body["message"]
