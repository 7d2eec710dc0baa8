"""Many samples into files: completions of unseen documents as in the appendix, of prompts, or of nothing.

§8.1: contexts of 768 tokens from WebText's test split, completions of 256 tokens at top-k 40, two of each; models with
a shorter context use the same three quarters and one quarter. The unconditional dump has the rows of OpenAI's published
gpt-2-output-dataset (`id`, `ended`, `length`, `text`).

In: a model, prompts. Out: `part-00000.jsonl` … of 128 samples each and `manifest.json`; run again, the stage goes on
after the last whole part and ends in the same bytes. Raises `UserError` for prompts that cannot be used.
"""

import hashlib
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from fourhorn.errors import UserError, unknown
from fourhorn.files import Manifest, finished, read_json, sha256_file, write_json, write_manifest
from fourhorn.model.transformer import GPT2
from fourhorn.progress import progress
from fourhorn.records import iter_records, list_shards, shard_name, write_records
from fourhorn.sampling.batching import BatchEngine
from fourhorn.sampling.generate import evaluating
from fourhorn.sampling.quantize import Precision
from fourhorn.sampling.request import Request
from fourhorn.sampling.settings import SamplingParams

SHARD_SAMPLES = 128
UNFINISHED = "unfinished.json"


def samples(
    model: GPT2,
    tokenizer: Any,
    destination: str | Path,
    *,
    prompts: str | Path | None = None,
    n_prompts: int = 0,
    n_per_prompt: int = 1,
    context_tokens: int = 0,
    max_new_tokens: int = 0,
    temperature: float = 1.0,
    top_k: int = 40,
    top_p: float = 1.0,
    seed: int = 0,
    stop: tuple[str, ...] = (),
    row_format: Literal["samples", "output-dataset"] = "samples",
    precision: Precision = "float32",
    max_sequences: int = 16,
) -> Manifest:
    """Write completions of prompts, or unconditional samples, as JSON lines.

    Args:
        prompts: Records with `prompt` (continued as it is) or `text` (a document: its beginning is continued, what
            really follows is kept as `reference`); none gives unconditional samples.
        n_prompts: How many prompts, drawn by seed; 0 is all of them. Unconditional: how many samples, 1,000 if 0.
        n_per_prompt: Completions of each prompt.
        context_tokens: Tokens of a document given as context; 0 is three quarters of the model's context.
        max_new_tokens: Tokens to add at most; 0 is what the context still holds, for documents its last quarter.
        temperature: Logits are divided by this; 0 is greedy.
        top_k: Draw among this many likeliest tokens; 0 is all.
        top_p: Draw among the fewest tokens that hold this much probability.
        seed: Sample i uses seed + i.
        stop: Texts that end a completion.
        row_format: `samples`, or `output-dataset` for the rows of OpenAI's published samples.
        precision: float32 (exact), bfloat16, int8 or int4.
        max_sequences: Sequences that decode together.
    """
    if row_format not in ("samples", "output-dataset"):
        raise unknown("row format", row_format, ("samples", "output-dataset"))
    destination, n_ctx = Path(destination), model.config.n_ctx
    if not 0 <= context_tokens < n_ctx:
        raise UserError(
            f"context_tokens is {context_tokens}; it must be less than the model's context of {n_ctx}, or 0 for three "
            "quarters of it."
        )
    context_tokens = context_tokens or n_ctx * 3 // 4
    settings = SamplingParams(max_new_tokens or n_ctx, temperature, top_k, top_p, seed, stop)
    options = {
        **{k: v for k, v in asdict(settings).items() if k in ("temperature", "top_k", "top_p", "seed")},
        "stop": list(settings.stop),
        "n_prompts": n_prompts,
        "n_per_prompt": n_per_prompt,
        "context_tokens": context_tokens,
        "max_new_tokens": max_new_tokens,
        "row_format": row_format,
        "precision": precision,
    }
    return run(model, tokenizer, destination, prompts, settings, options, max_sequences)


def run(
    model: GPT2,
    tokenizer: Any,
    destination: Path,
    prompts: str | Path | None,
    settings: SamplingParams,
    options: dict[str, Any],
    max_sequences: int,
) -> Manifest:
    """The stage, with its options resolved."""
    seed, n_per_prompt, max_new_tokens = settings.seed, options["n_per_prompt"], options["max_new_tokens"]
    inputs = {"model": model_digest(model)}
    if prompts is not None:
        inputs |= {shard.name: sha256_file(shard) for shard in list_shards(prompts)}
    done = finished(destination, "samples", options, inputs)
    if done is not None:
        return done
    begin(destination, options, inputs)
    started = time.monotonic()
    work, drops = read_prompts(
        tokenizer, prompts, options["context_tokens"], options["n_prompts"], seed, model.config.n_ctx
    )
    jobs = [
        (
            prompt,
            settings.but(seed=seed + i * n_per_prompt + j, max_new_tokens=max_new_tokens or prompt["room"]),
        )
        for i, prompt in enumerate(work)
        for j in range(n_per_prompt)
    ]
    with evaluating(model):
        n_sequences = min(max_sequences, max(1, len(jobs)))
        engine = BatchEngine(model, tokenizer, max_sequences=n_sequences, precision=options["precision"])
        n_tokens = write_shards(engine, jobs, destination, options["row_format"])
    outputs = {
        path.name: {"sha256": sha256_file(path), "n_bytes": path.stat().st_size, "n_items": count_lines(path)}
        for path in sorted(destination.glob("part-*.jsonl"))
    }
    n_in = len(work) + sum(drops.values())
    seconds = time.monotonic() - started
    details = {"n_samples": len(jobs), "n_new_tokens": n_tokens}
    manifest = Manifest("samples", options, inputs, n_in, len(work), drops, outputs, seconds, details)
    write_manifest(destination, manifest)
    (destination / UNFINISHED).unlink()
    return manifest


def begin(destination: Path, options: dict[str, Any], inputs: dict[str, str]) -> None:
    """Note what the unfinished folder is for; other work in it is a `UserError`."""
    destination.mkdir(parents=True, exist_ok=True)
    note, path = {"options": options, "inputs": inputs}, destination / UNFINISHED
    if path.exists() and read_json(path) != json.loads(json.dumps(note)):
        raise UserError(
            f"{destination} holds unfinished samples of other options, model or prompts. "
            "Choose another folder, or delete this one."
        )
    write_json(path, note)


def read_prompts(
    tokenizer: Any, source: str | Path | None, context_tokens: int, n_prompts: int, seed: int, n_ctx: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The prompts to continue, each with `tokens`, `reference` and `room`; and how many were left out, by reason."""
    if source is None:
        return [{"tokens": [tokenizer.eot], "reference": None, "room": n_ctx - 1}] * (n_prompts or 1000), {}
    found, drops = [], {"too short": 0, "too long": 0, "not drawn": 0}
    for record in iter_records(source):
        if "prompt" in record:
            tokens = tokenizer.encode_ordinary(record["prompt"]) or [tokenizer.eot]
            if len(tokens) >= n_ctx:
                drops["too long"] += 1
            else:
                found.append({"tokens": tokens, "reference": None, "room": n_ctx - len(tokens)})
        elif "text" in record:
            tokens = tokenizer.encode_ordinary(record["text"])
            if len(tokens) <= context_tokens:
                drops["too short"] += 1
            else:
                rest = tokens[context_tokens:n_ctx]
                room = n_ctx - context_tokens
                found.append({"tokens": tokens[:context_tokens], "reference": rest, "room": room})
        else:
            raise UserError(f"{source}: a record has neither `prompt` nor `text`; it has {sorted(record)}.")
    if 0 < n_prompts < len(found):
        drops["not drawn"] = len(found) - n_prompts
        found = [found[i] for i in sorted(random.Random(seed).sample(range(len(found)), n_prompts))]
    return found, {reason: n for reason, n in drops.items() if n}


def write_shards(
    engine: BatchEngine, jobs: list[tuple[dict[str, Any], SamplingParams]], folder: Path, row_format: str
) -> int:
    """Sample the parts that are not there yet; how many new tokens that made."""
    with progress("sample", total=len(jobs), unit="samples") as bar:
        for first in range(0, len(jobs), SHARD_SAMPLES):
            path = folder / shard_name(first // SHARD_SAMPLES, ".jsonl")
            part = jobs[first : first + SHARD_SAMPLES]
            if path.exists():
                bar.update(len(part))
                continue
            engine.reset()  # a part's bytes do not depend on whether the one before was sampled by this run
            requests = [engine.submit(prompt["tokens"], params) for prompt, params in part]
            n_done, started = engine.n_finished, time.monotonic()
            n_tokens = engine.n_new_tokens
            while engine.step():
                seconds = time.monotonic() - started
                speed = (engine.n_new_tokens - n_tokens) / max(seconds, 1e-9)
                bar.update(engine.n_finished - n_done, tokens_per_second=speed)
                n_done = engine.n_finished
            bar.update(engine.n_finished - n_done)
            make = output_dataset_row if row_format == "output-dataset" else sample_row
            rows = (
                make(engine.tokenizer, first + i, request, prompt)
                for i, (request, (prompt, _)) in enumerate(zip(requests, part, strict=True))
            )
            write_records(path, rows)
    return engine.n_new_tokens


def sample_row(tokenizer: Any, index: int, request: Request, prompt: dict[str, Any]) -> dict[str, Any]:
    """One sample with all that is needed to draw it again."""
    params, reference = request.params, prompt["reference"]
    unconditional = request.prompt == [tokenizer.eot]
    return {
        "id": index,
        "prompt": "" if unconditional else tokenizer.decode(request.prompt),
        "completion": request.text,
        "reference": None if reference is None else tokenizer.decode(reference),
        "tokens": request.tokens,
        "prompt_tokens": request.prompt,
        "seed": params.seed,
        "finish_reason": request.finish_reason,
        "settings": {
            "temperature": params.temperature,
            "top_k": params.top_k,
            "top_p": params.top_p,
            "max_new_tokens": params.max_new_tokens,
        },
    }


def output_dataset_row(
    tokenizer: Any, index: int, request: Request, prompt: dict[str, Any]
) -> dict[str, Any]:
    """A row as in OpenAI's gpt-2-output-dataset: did the text end by itself, its tokens, the text."""
    ended = request.finish_reason == "stop"
    return {"id": index, "ended": ended, "length": len(request.tokens), "text": request.text}


def model_digest(model: GPT2) -> str:
    """One hash over all weights, in name order."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().float().contiguous().numpy().data)
    return digest.hexdigest()


def count_lines(path: Path) -> int:
    """Rows of a JSON-lines file."""
    with path.open("rb") as file:
        return sum(1 for _ in file)


def read_samples(folder: str | Path) -> Iterator[dict[str, Any]]:
    """All rows of a samples folder, in order."""
    return iter_records(folder)
