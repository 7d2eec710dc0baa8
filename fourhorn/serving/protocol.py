"""The shapes of requests and answers: OpenAI's completion and chat interfaces, and vLLM's /tokenize.

Every field is checked for type and range before anything runs; numbers are not taken from strings. Fields that OpenAI
has and that mean nothing here (user, metadata, store …) are accepted and ignored; penalties and logit_bias are refused
unless they are off, because ignoring them would give other text than was asked for.

In: JSON. Out: validated models. Raises: pydantic's validation errors, which the app turns into OpenAI's error shape.
Source: OpenAI's API reference, "Completions" and "Chat".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_N = 64
MAX_STOPS = 16
MAX_PROMPTS = 1024
MAX_LOGPROBS = 20
MAX_TOKEN = 2**31 - 1

Stop = Annotated[str, Field(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, le=MAX_TOKEN)]
Tokens = Annotated[list[TokenId], Field(min_length=1, max_length=65_536)]
Prompt = (
    str
    | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)]
    | Tokens
    | Annotated[list[Tokens], Field(min_length=1, max_length=MAX_PROMPTS)]
)


class Strict(BaseModel):
    """Types as they are written; unknown fields ignored, as OpenAI's clients send new ones."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())


class StreamOptions(Strict):
    """What a stream sends besides text."""

    include_usage: bool | None = Field(None, description="End with a chunk that counts the tokens.")


class Sampling(Strict):
    """What completions and chat have in common."""

    model: str | None = Field(
        None, max_length=512, description="Name from /v1/models; the first model if left out."
    )
    temperature: float | None = Field(None, ge=0, le=100, description="0 is greedy; 1 unless given.")
    top_p: float | None = Field(None, ge=0, le=1, description="Nucleus sampling; 1 unless given.")
    top_k: int | None = Field(None, ge=0, le=MAX_TOKEN, description="0 is all tokens. Not in OpenAI's API.")
    n: int | None = Field(None, ge=1, le=MAX_N, description="Completions of each prompt.")
    seed: int | None = Field(
        None, ge=-(2**63), le=2**63 - 1, description="The same seed gives the same text."
    )
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = Field(
        None, description="Texts to end at."
    )
    stream: bool | None = Field(None, description="Server-sent events instead of one answer.")
    stream_options: StreamOptions | None = None
    presence_penalty: float | None = Field(None, ge=0, le=0, description="Only 0.")
    frequency_penalty: float | None = Field(None, ge=0, le=0, description="Only 0.")
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = Field(
        None, description="Only empty."
    )
    user: str | None = Field(None, description="Ignored.")

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop texts as a tuple."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class CompletionRequest(Sampling):
    """POST /v1/completions."""

    prompt: Prompt = Field(
        "", description="A text, a list of texts, token ids, or a list of lists of token ids."
    )
    max_tokens: int | None = Field(
        None, ge=0, le=MAX_TOKEN, description="16 unless given; 0 only scores the prompt."
    )
    logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description="Log-probabilities and this many alternatives."
    )
    echo: bool | None = Field(
        None, description="Begin with the prompt, and with its log-probabilities if asked for."
    )
    best_of: int | None = Field(
        None, ge=1, le=MAX_N, description="Draw this many, answer with the n likeliest."
    )
    suffix: Annotated[str, Field(max_length=0)] | None = Field(
        None, description="Only empty: GPT-2 cannot fill in."
    )

    @model_validator(mode="after")
    def check_counts(self) -> CompletionRequest:
        """n and best_of must fit each other, and a stream cannot wait for the best."""
        n = self.n or 1
        if self.best_of is not None and self.best_of < n:
            raise ValueError(f"best_of is {self.best_of}, less than n = {n}")
        if self.stream and (self.best_of or n) > n:
            raise ValueError("best_of cannot be streamed: which is best is known only at the end")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """One entry per prompt."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [[int(token) for token in self.prompt if isinstance(token, int)]]
        return list(self.prompt)  # type: ignore[arg-type]


class TextPart(Strict):
    """A piece of a message in the longer notation."""

    type: Literal["text"]
    text: str


class Message(Strict):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(max_length=256)]
    name: str | None = Field(None, max_length=64)

    @property
    def text(self) -> str:
        """The message's text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(Sampling):
    """POST /v1/chat/completions: a conversation written out as a plain transcript."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=256)]
    max_tokens: int | None = Field(
        None, ge=0, le=MAX_TOKEN, description="What the context holds, up to 256, unless given."
    )
    max_completion_tokens: int | None = Field(
        None, ge=0, le=MAX_TOKEN, description="The newer name of max_tokens."
    )
    logprobs: bool | None = Field(None, description="Log-probabilities of the answer's tokens.")
    top_logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description="Alternatives beside each; needs logprobs."
    )

    @model_validator(mode="after")
    def check_logprobs(self) -> ChatRequest:
        """Alternatives are a part of log-probabilities."""
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        return self


class TokenizeRequest(Strict):
    """POST /tokenize."""

    prompt: str = Field(description="Text; <|endoftext|> in it is ordinary text.")
    model: str | None = Field(None, max_length=512)


class DetokenizeRequest(Strict):
    """POST /detokenize."""

    tokens: Annotated[list[TokenId], Field(max_length=65_536)]
    model: str | None = Field(None, max_length=512)


class Usage(BaseModel):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Logprobs(BaseModel):
    """The four parallel lists of the completion interface; a token that is part of a character is `bytes:\\x..`."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class Choice(BaseModel):
    """One completion, or one piece of it in a stream."""

    index: int
    text: str
    logprobs: Logprobs | None = None
    finish_reason: Literal["stop", "length"] | None = None


class CompletionResponse(BaseModel):
    """Answer of /v1/completions; in a stream each event is one, the usage only in the last."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class ChatAlternative(BaseModel):
    """A token that could have stood there."""

    token: str
    logprob: float
    bytes: list[int]


class ChatLogprob(ChatAlternative):
    """A token of the answer."""

    top_logprobs: list[ChatAlternative]


class ChatLogprobs(BaseModel):
    """The chat interface's log-probabilities."""

    content: list[ChatLogprob]


class ChatMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None = None


class ChatResponse(BaseModel):
    """Answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class Model(BaseModel):
    """One served model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "fourhorn"
    max_model_len: int


class ModelList(BaseModel):
    """Answer of /v1/models."""

    object: Literal["list"] = "list"
    data: list[Model]


class TokenizeResponse(BaseModel):
    """Answer of /tokenize."""

    tokens: list[int]
    token_strs: list[str]
    count: int
    max_model_len: int


class DetokenizeResponse(BaseModel):
    """Answer of /detokenize."""

    prompt: str


class Health(BaseModel):
    """Answer of /health."""

    status: Literal["ok"] = "ok"


class ErrorBody(BaseModel):
    """What went wrong, as OpenAI's clients expect it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorResponse(BaseModel):
    """The body of every answer from 400 up."""

    error: ErrorBody


class ApiError(Exception):
    """An answer from 400 up."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body: dict[str, Any] = {
            "error": {"message": message, "type": kind, "param": param, "code": code}
        }
