"""From the command line to a running server: load the models, start their engines, listen.

In: models and options. Out: nothing; it serves until it is interrupted. Raises: `UserError` before it listens.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import uvicorn

from fourhorn.checkpoints.load import load
from fourhorn.errors import UserError
from fourhorn.runtime import choose_device
from fourhorn.sampling.batching import BatchEngine
from fourhorn.serving.app import guarded, make_app
from fourhorn.serving.engine import warm
from fourhorn.serving.limits import LOOPBACK, MAX_HEADER_BYTES, Limits, TimedProtocol

SHUTDOWN_SECONDS = 5
BACKLOG = 2048  # connections that may wait while the models load and start
MIN_KEY = 8


def serve(
    *models: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    device: str = "cpu",
    precision: str = "float32",
    max_sequences: int = 16,
    max_waiting: int = 256,
    tokenizer: str | None = None,
) -> None:
    """Serve models until interrupted.

    Args:
        models: checkpoints, run folders or downloaded sizes; the first is the default.
        host: address to listen at; other machines reach it at 0.0.0.0, which needs a key.
        port: port to listen at; 0 takes a free one.
        api_key: key that every route but /health asks for.
        device: cpu, cuda or mps.
        precision: how weights are kept: float32, bfloat16, int8 or int4 on a CPU.
        max_sequences: sequences that decode together.
        max_waiting: sequences that may wait for their turn.
        tokenizer: tokenizer for checkpoints that come without one.
    """
    check_options(models, host, api_key)
    if max_sequences < 1 or max_waiting < 0:
        raise UserError(
            f"--max-sequences is {max_sequences} and --max-waiting {max_waiting}; they must be at least 1 and 0."
        )
    device = choose_device(device)
    listener = listen(host, port)
    engines: dict[str, tuple[BatchEngine, Any]] = {}
    for source in models:
        model, words = load(source, device=device, tokenizer=tokenizer)
        engine = BatchEngine(model, words, max_sequences=max_sequences, precision=precision)
        del model  # the engine keeps what it needs: packed weights, unless the precision is float32
        engines[name_of(source, engines)] = engine.start(), words
        warm(engine)
    limits = Limits(api_key=api_key, max_waiting=max_waiting, hosts=LOOPBACK if host in LOOPBACK else ())
    config = uvicorn.Config(
        guarded(make_app(engines, limits)),
        http=TimedProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    where = f"http://{'localhost' if host in LOOPBACK else host}:{listener.getsockname()[1]}"
    print(
        f"serve: {', '.join(engines)} → {where} (page), {where}/v1 (OpenAI's interface). Ctrl-C ends it.",
        flush=True,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        for engine, _ in engines.values():
            engine.close()


def check_options(models: tuple[str, ...], host: str, api_key: str | None) -> None:
    """Refuse to serve nothing, or the world without a key."""
    if not models:
        raise UserError("Name a model to serve: fourhorn serve 124M, or fourhorn serve runs/NAME.")
    if host not in LOOPBACK and api_key is None:
        raise UserError(
            f"--host {host} lets other machines in; give them a key with --api-key, or leave --host out."
        )
    if api_key is not None and (len(api_key) < MIN_KEY or not api_key.isascii() or not api_key.isprintable()):
        raise UserError(f"--api-key needs at least {MIN_KEY} printable ASCII characters.")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, taken before the models are loaded so that a taken port is told at once."""
    if not 0 <= port <= 65_535:
        raise UserError(f"--port {port} must be from 0 to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where TCP is named; with it the first token waits 40 ms for the headers
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(
            f"{host}:{port} cannot be listened at ({error}). Choose another --port or --host."
        ) from None
    return listener


def name_of(source: str, taken: dict[str, Any]) -> str:
    """The name clients ask for: the folder's own, with a number where two are alike."""
    path = Path(source)
    name = path.parent.name if path.name == "checkpoint" else path.name.removesuffix(".gguf")
    name = name or "model"
    same = sum(other == name or other.startswith(f"{name}-") for other in taken)
    return f"{name}-{same + 1}" if name in taken else name
