"""Sampling and serving on one NVIDIA card beside Hugging Face: tokens per second for 1, 16 and 64 sequences.

    python benchmarks/sampling_card.py [--vocabulary FOLDER]     (with a vocabulary also the server, 1 to 256 clients)

GPT-2 124M, random weights, greedy, 128 new tokens after prompts of 16, everything included that `generate` does; then
the logits after a prompt of 1,000. Every contender runs in a process of its own, in turns; the median of the rounds is
shown.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from table import write_table

ROOT = Path(__file__).resolve().parents[1]
CROWDS, N_NEW, N_PROMPT, N_LONG = (1, 16, 64), 128, 16, 1000
NAMES = ["fourhorn bfloat16", "fourhorn float32", "Hugging Face bfloat16"]


def prompts_of(n: int, length: int) -> list[list[int]]:
    """The same prompts for everybody."""
    return [[(7919 * i + 104729 * j) % 50257 for j in range(length)] for i in range(n)]


def fourhorn(kind: str) -> Any:
    """A function that decodes `n` sequences, or for n = 0 reads the long prompt."""
    sys.path.insert(0, str(ROOT))
    import torch

    from fourhorn.model.config import GPT2Config
    from fourhorn.model.transformer import GPT2
    from fourhorn.sampling.batching import BatchEngine
    from fourhorn.sampling.generate import complete

    class Words:
        eot, n_vocab = 50256, 50257

        def stream_decoder(self) -> Any:
            return self

        def feed(self, token: int) -> str:
            return "x"

        def finish(self) -> str:
            return ""

    torch.manual_seed(0)
    model = GPT2(GPT2Config()).cuda()
    engines = {n: BatchEngine(model, Words(), max_sequences=n, precision=kind) for n in CROWDS}

    def run(n: int) -> None:
        engine = engines[max(n, 1)]
        engine.reset()
        if n:
            options = {"max_new_tokens": N_NEW, "temperature": 0.0, "stop_at_eot": False}
            done = complete(None, Words(), prompts_of(n, N_PROMPT), engine=engine, **options)
            assert all(len(group[0].tokens) == N_NEW for group in done)
        else:
            engine.decoder.read([0], prompts_of(1, N_LONG), as_steps=False).argmax(-1).tolist()

    return run


def hugging_face() -> Any:
    """The same with `transformers`."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).cuda().to(torch.bfloat16).eval()

    @torch.inference_mode()
    def run(n: int) -> None:
        if n:
            tokens = torch.tensor(prompts_of(n, N_PROMPT), device="cuda")
            new = {
                "max_new_tokens": N_NEW,
                "min_new_tokens": N_NEW,
                "do_sample": False,
                "pad_token_id": 50256,
            }
            found = model.generate(tokens, attention_mask=torch.ones_like(tokens), **new)
            assert found.shape == (n, N_PROMPT + N_NEW)
        else:
            model(torch.tensor(prompts_of(1, N_LONG), device="cuda"), logits_to_keep=1).logits.argmax(
                -1
            ).tolist()

    return run


def worker(name: str) -> None:
    """Warm up, then answer every number of sequences on standard input with seconds."""
    run = fourhorn(name.split()[-1]) if name.startswith("fourhorn") else hugging_face()
    for n in (*CROWDS, 0):
        run(n), run(n)
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        run(int(line))
        print(time.perf_counter() - began, flush=True)


def ask(process: subprocess.Popen, text: str) -> str:
    """Send a line and wait for the next one that is a number or `ready`."""
    if text:
        process.stdin.write(text + "\n")
        process.stdin.flush()
    for line in process.stdout:
        if line.strip() == "ready" or line[0].isdigit():
            return line
    return ""


def serve(vocabulary: Path) -> list[list[str]]:
    """Rows of our server at several numbers of clients."""
    from serving_clients import measure, running

    sys.path.insert(0, str(ROOT))
    import torch

    from fourhorn.checkpoints import native
    from fourhorn.checkpoints.names import Checkpoint
    from fourhorn.model.config import GPT2Config
    from fourhorn.model.transformer import GPT2
    from fourhorn.tokenizer.tokenizer import Tokenizer

    torch.manual_seed(0)
    folder = Path(tempfile.mkdtemp(prefix="fourhorn-card-")) / "native"
    native.write(
        Checkpoint(GPT2Config(), GPT2(GPT2Config()).state_dict(), Tokenizer.load(vocabulary)), folder
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [sys.executable, "-m", "fourhorn.cli.app", "serve", str(folder), "--precision", "bfloat16"]
    url, rows = f"http://127.0.0.1:{port}/v1/completions", []
    with running([*start, "--max-sequences", "64", "--max-waiting", "1000", "--port", str(port)], port):
        asyncio.run(measure(url, "native", 64, 1, 16))
        for n in (1, 8, 32, 64, 256):
            requests, tokens, first, between = asyncio.run(measure(url, "native", n, 2, N_NEW))
            rows.append([f"fourhorn serve, {n} clients", tokens, requests, first, between])
    return rows


def report(found: dict[str, dict[int, list[float]]], served: list[list[str]]) -> None:
    """Write what was measured so far."""
    import torch
    import transformers

    rows, medians = [], {}
    for name, times in found.items():
        if not times[0]:
            rows.append([name, "ended before it was ready", "", "", ""])
            continue
        middle = medians[name] = {n: statistics.median(times[n]) for n in times}
        cells = [f"{n * N_NEW / middle[n]:,.0f}" for n in CROWDS]
        rows.append([name, *cells, f"{N_LONG / middle[0]:,.0f}"])
    ratios = [
        f"{NAMES[0]} to {name}: "
        + ", ".join(f"{n}: {medians[name][n] / medians[NAMES[0]][n]:.1f}×" for n in CROWDS)
        + f", prompt: {medians[name][0] / medians[NAMES[0]][0]:.1f}×"
        for name in NAMES[2:]
        if name in medians and NAMES[0] in medians
    ]
    more = [
        "| server | tokens/s | requests/s | first token p50 / p99, ms | between tokens p50 / p99, ms |",
        "|" + " --- |" * 5,
        *("| " + " | ".join(line) + " |" for line in served),
        "",
    ]
    notes = [
        f"One {torch.cuda.get_device_name()}, torch {torch.__version__}, transformers {transformers.__version__}; "
        f"tokens per second, {N_NEW} new ones after {N_PROMPT}; the last column is a prompt of {N_LONG:,}.",
        "",
        *(more if served else []),
        *(f"- {line}" for line in ratios),
    ]
    head = ["", *(f"{n} sequence{'s' * (n > 1)}" for n in CROWDS), "prompt of 1,000"]
    write_table(__file__, "Sampling on one card, 124M", head, rows, notes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocabulary", type=Path)
    parser.add_argument("--only", nargs="*", default=NAMES)
    parser.add_argument("--worker", default="")
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return
    command = [sys.executable, __file__, "--worker"]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    processes = {
        name: subprocess.Popen([*command, name], stdin=-1, stdout=-1, text=True, env=environment)
        for name in options.only
    }
    ready = {name: process for name, process in processes.items() if ask(process, "")}
    found: dict[str, dict[int, list[float]]] = {name: {n: [] for n in (*CROWDS, 0)} for name in processes}
    for _ in range(options.rounds):
        for n in (*CROWDS, 0):
            for name, process in ready.items():
                found[name][n].append(float(ask(process, str(n))))
        report(found, [])  # what was measured stays if the run is cut short
    for process in processes.values():
        process.stdin.close()
        process.wait()
    if options.vocabulary:
        report(found, serve(options.vocabulary))


if __name__ == "__main__":
    main()
