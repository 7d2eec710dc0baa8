"""`fourhorn serve`: the OpenAI-compatible server and its web page."""

import os
from typing import Literal


def serve(
    *models: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16", "int8", "int4"] = "float32",
    max_sequences: int = 16,
    max_waiting: int = 256,
    tokenizer: str | None = None,
) -> None:
    """Serve models: OpenAI's completion and chat interfaces, and a web page to write with them.

    Args:
        models: Checkpoints, run folders or downloaded sizes; two or more can be compared on the page.
        host: Address to listen at. Other machines reach 0.0.0.0, which needs a key.
        port: Port to listen at; 0 takes a free one.
        api_key: Key that every route but /health asks for; by default $FOURHORN_API_KEY, if set.
        device: cpu, cuda or mps.
        precision: How weights are kept on a CPU.
        max_sequences: Sequences that decode together.
        max_waiting: Sequences that may wait for their turn; more are answered 429.
        tokenizer: Folder or file of the tokenizer, for checkpoints that come without one.
    """
    from fourhorn.serving.run import serve as run

    run(
        *models,
        host=host,
        port=port,
        api_key=api_key or os.environ.get("FOURHORN_API_KEY") or None,
        device=device,
        precision=precision,
        max_sequences=max_sequences,
        max_waiting=max_waiting,
        tokenizer=tokenizer,
    )
