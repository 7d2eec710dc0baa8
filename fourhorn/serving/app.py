"""The server: routes over the batching engine, and one process for API, page and metrics.

FastAPI and uvicorn carry the requests; `limits.Guard` stands before them. A client that leaves ends its work, whether
it waited for a stream or for a whole answer.

In: models by name and `Limits`. Out: an ASGI application, or a running server. Raises: `UserError` before it starts;
requests get OpenAI's error shape.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from importlib.resources import files
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from fourhorn.files import version
from fourhorn.sampling.batching import BatchEngine
from fourhorn.serving import chat, completions
from fourhorn.serving.engine import Served
from fourhorn.serving.limits import Guard, Limits
from fourhorn.serving.metrics import Metrics
from fourhorn.serving.protocol import (
    ApiError,
    ChatRequest,
    ChatResponse,
    CompletionRequest,
    CompletionResponse,
    DetokenizeRequest,
    DetokenizeResponse,
    ErrorResponse,
    Health,
    Model,
    ModelList,
    TokenizeRequest,
    TokenizeResponse,
)

MEANINGS = {
    400: "The request is malformed or asks for something impossible.",
    401: "The API key is missing or wrong.",
    403: "The server is not addressed by that name.",
    404: "There is no such route or model.",
    405: "The route has another method.",
    408: "The request did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    431: "The headers are too large.",
    429: "Too many sequences are waiting.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": text} for status, text in MEANINGS.items()
}
# Newer releases of FastAPI can send traces of requests elsewhere; older ones ignore the option.
SILENT = dict.fromkeys(("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False)
NO_TELEMETRY: dict[str, Any] = {"telemetry": SILENT}
EVENT = {
    "type": "object",
    "properties": {"data": {"type": "string", "description": "A chunk as JSON, or [DONE]."}},
}
STREAM_DOC: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": EVENT}}}}


class ClientLeft(Exception):
    """The client closed its connection before the answer was ready."""


def make_app(models: Mapping[str, tuple[BatchEngine, Any]], limits: Limits | None = None) -> FastAPI:
    """The application over engines that are started already.

    Args:
        models: engine and tokenizer by the name under which clients ask for them; the first is the default.
        limits: what one client may ask for.

    Returns:
        A FastAPI application; serve `guarded(app, limits)`, which stands before it.
    """
    limits, metrics = limits or Limits(), Metrics()
    served = {
        name: Served(name, engine, tokenizer, int(time.time()), metrics, limits.max_waiting)
        for name, (engine, tokenizer) in models.items()
    }
    app = FastAPI(
        title="fourhorn",
        version=version(),
        description="GPT-2 behind OpenAI's completion and chat interfaces.",
        responses=ERRORS,
        docs_url=None,
        redoc_url=None,
        **NO_TELEMETRY,
    )
    app.state.served, app.state.metrics, app.state.limits = served, metrics, limits
    add_errors(app)
    add_generation(app, served, metrics)
    add_information(app, served, metrics)
    describe(app)
    return app


def guarded(app: FastAPI) -> Guard:
    """The application behind its limits."""
    return Guard(app, app.state.limits, app.state.metrics)


def pick(served: Mapping[str, Served], name: str | None) -> Served:
    """The model a request names, or the first."""
    if name is None:
        return next(iter(served.values()))
    if name not in served:
        message = f"There is no model {name[:100]!r} here. Known: {', '.join(served)}."
        raise ApiError(404, message, param="model", code="model_not_found")
    return served[name]


def as_json(value: Any) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(value), media_type="application/json")


def add_errors(app: FastAPI) -> None:
    """Every error in OpenAI's shape."""

    def respond(error: ApiError) -> Response:
        return Response(orjson.dumps(error.body), error.status, error.headers, "application/json")

    @app.exception_handler(ApiError)
    async def on_api_error(request: Request, error: ApiError) -> Response:
        return respond(error)

    @app.exception_handler(ClientLeft)
    async def on_client_left(request: Request, error: ClientLeft) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return respond(ApiError(400, f"{where or 'body'}: {first['msg']}"[:500], param=where[:200] or None))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        return respond(
            ApiError(error.status_code, MEANINGS.get(error.status_code, str(error.detail)), headers=headers)
        )


def add_generation(app: FastAPI, served: Mapping[str, Served], metrics: Metrics) -> None:
    """The routes that run the model."""

    @app.post("/v1/completions", response_model=CompletionResponse, responses=STREAM_DOC)
    async def complete(body: CompletionRequest, request: Request) -> Response:
        """Continue one or many prompts."""
        model = pick(served, body.model)
        groups = await completions.plan(model, body)
        if body.stream:
            return events(completions.streamed(model, body, groups), metrics)
        return as_json(await while_connected(request, metrics, completions.whole(model, body, groups)))

    @app.post("/v1/chat/completions", response_model=ChatResponse, responses=STREAM_DOC)
    async def converse(body: ChatRequest, request: Request) -> Response:
        """Continue a conversation, written out as a plain transcript."""
        model = pick(served, body.model)
        prompt, params = await chat.plan(model, body)
        if body.stream:
            return events(chat.streamed(model, body, prompt, params), metrics)
        return as_json(await while_connected(request, metrics, chat.whole(model, body, prompt, params)))

    @app.post("/tokenize", response_model=TokenizeResponse)
    async def tokenize(body: TokenizeRequest) -> Response:
        """Text to token ids."""
        model = pick(served, body.model)
        tokens = await model.encode(body.prompt) if body.prompt else []
        names = [model.token_text(token) for token in tokens]
        answer = {"tokens": tokens, "token_strs": names, "count": len(tokens), "max_model_len": model.n_ctx}
        return as_json(answer)

    @app.post("/detokenize", response_model=DetokenizeResponse)
    async def detokenize(body: DetokenizeRequest) -> Response:
        """Token ids to text."""
        model = pick(served, body.model)
        tokens = await model.encode(body.tokens) if body.tokens else []
        return as_json({"prompt": model.tokenizer.decode(tokens)})


def add_information(app: FastAPI, served: Mapping[str, Served], metrics: Metrics) -> None:
    """The routes that tell of the server, and the page."""
    page = files("fourhorn.serving").joinpath("page.html").read_text(encoding="utf-8")
    policy = page_policy(page)

    def entry(model: Served) -> Model:
        return Model(id=model.name, created=model.created, max_model_len=model.n_ctx)

    @app.get("/v1/models")
    async def list_models() -> ModelList:
        """The models that are served."""
        return ModelList(data=[entry(model) for model in served.values()])

    @app.get("/v1/models/{name:path}")
    async def show_model(name: str) -> Model:
        """One of them."""
        return entry(pick(served, name))

    @app.get("/health")
    async def health() -> Health:
        """Whether the server runs; the one route that asks for no key."""
        return Health()

    @app.get("/metrics", response_class=PlainTextResponse)
    async def show_metrics() -> Response:
        """Prometheus metrics."""
        names = (
            "n_running",
            "n_waiting",
            "n_prompt_tokens",
            "n_reused_tokens",
            "n_new_tokens",
            "n_steps",
            "n_finished",
        )
        gauges = {
            name.removeprefix("n_") + ("_sequences" if i < 2 else "_total"): {
                model.name: int(getattr(model.engine, name)) for model in served.values()
            }
            for i, name in enumerate(names)
        }
        return PlainTextResponse(metrics.text(gauges), media_type="text/plain; version=0.0.4")

    @app.get("/", response_class=HTMLResponse)
    async def show_page() -> Response:
        """The web page."""
        return HTMLResponse(page, headers={"content-security-policy": policy, "cache-control": "no-cache"})


def page_policy(page: str) -> str:
    """A content policy that allows the page's own script and style, by their hashes, and nothing else at all."""

    def allow(tag: str) -> str:
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = hashlib.sha256(inside.group(1).encode() if inside else b"").digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    return (
        f"default-src 'none'; script-src {allow('script')}; style-src {allow('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def events(chunks: AsyncIterator[dict[str, Any]], metrics: Metrics) -> EventStream:
    """Chunks as server-sent events, ending with [DONE]."""

    async def lines() -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks:
                yield b"data: " + orjson.dumps(chunk) + b"\n\n"
            yield b"data: [DONE]\n\n"
        except ApiError as error:
            yield b"data: " + orjson.dumps(error.body) + b"\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            metrics.n_disconnects += 1
            raise
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]

    return EventStream(lines(), media_type="text/event-stream", headers={"cache-control": "no-cache"})


async def while_connected(request: Request, metrics: Metrics, work: Awaitable[Any]) -> Any:
    """The result of some work, which is cancelled as soon as the client leaves."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(left())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        metrics.n_disconnects += 1
        raise ClientLeft
    finally:
        working.cancel()
        leaving.cancel()


class EventStream(StreamingResponse):
    """Server-sent events whose source is closed at once when the client leaves, not when memory is tidied up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, then close."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.body_iterator.aclose()  # type: ignore[attr-defined]


def describe(app: FastAPI) -> None:
    """The OpenAPI description, without FastAPI's own error shape, which never leaves this server."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = make()
            for path in schema["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                schema.get("components", {}).get("schemas", {}).pop(name, None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
