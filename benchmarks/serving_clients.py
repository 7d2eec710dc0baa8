"""Requests and tokens per second at 1, 8 and 32 clients, beside other servers on the same prompts; and memory.

    python benchmarks/serving_clients.py --model runs/pocket          starts fourhorn serve itself
    python benchmarks/serving_clients.py --model M --rival llama.cpp=http://localhost:8080/v1/completions
    python benchmarks/serving_clients.py --model M --minutes 30       soak: memory at start and end

Rivals are any OpenAI-compatible completion servers that run already (`transformers serve`, llama.cpp's server), named
on the command line; where none is named, the table says so. Clients ask again and again, streaming, at temperature 0.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import aiohttp

PROMPTS = ["In a shocking finding,", "The four-horned herd", "Once there was a valley where", "1, 2, 3,"]
START = [sys.executable, "-c", "from fourhorn.cli.app import main; main()", "serve"]


async def client(session, url, model, n_requests, n_tokens, number, times):
    """Ask `n_requests` times; collect first-token times and count tokens."""
    for i in range(n_requests):
        prompt = f"{PROMPTS[(number + i) % len(PROMPTS)]} {number}"
        body = {"model": model, "prompt": prompt, "max_tokens": n_tokens, "temperature": 0, "stream": True}
        started, first = time.perf_counter(), None
        async with session.post(url, json=body) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                if line.startswith(b"data: {") and json.loads(line[6:]).get("choices"):
                    first = first or time.perf_counter() - started
                    times["tokens"] += 1
        times["first"].append(first or 0.0)


async def measure(url, model, n_clients, n_requests, n_tokens):
    """One row: requests/s, tokens/s, first-token p50 and p99."""
    times = {"first": [], "tokens": 0}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        started = time.perf_counter()
        asks = (client(session, url, model, n_requests, n_tokens, i, times) for i in range(n_clients))
        await asyncio.gather(*asks)
        seconds = time.perf_counter() - started
    first = sorted(times["first"])
    p50, p99 = first[len(first) // 2], first[int(0.99 * len(first))]
    return f"{len(first) / seconds:.2f} | {times['tokens'] / seconds:.0f} | {p50:.2f} s | {p99:.2f} s"


def resident_mib(pid: int) -> float:
    """Resident memory of a process, MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def soak(url, model, pid, minutes, n_tokens):
    """Eight clients for some minutes; memory after the first tenth and at the end."""
    end, readings = time.monotonic() + 60 * minutes, []
    while time.monotonic() < end:
        await measure(url, model, 8, 2, n_tokens)
        readings.append(resident_mib(pid))
    settled = readings[len(readings) // 10]
    return f"{settled:.0f} MiB after a tenth, {readings[-1]:.0f} MiB at the end ({readings[-1] / settled - 1:+.1%})"


def main() -> None:
    """Run all and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--rival", action="append", default=[], help="name=url of a /v1/completions route")
    parser.add_argument("--requests", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=0)
    options = parser.parse_args()
    command = [
        *START,
        options.model,
        "--port",
        "0",
        "--precision",
        options.precision,
        "--max-sequences",
        "32",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            found = re.search(r"serve: (\S+) → (http://\S+:\d+)", server.stdout.readline())
            servers = [(f"fourhorn {options.precision}", f"{found[2]}/v1/completions", found[1])]
            servers += [(*rival.split("=", 1), options.model) for rival in options.rival]
            lines = [
                f"{date.today()}, {platform.machine()} × {os.cpu_count()}, torch {version('torch')}",
                "",
                "| server | clients | requests/s | tokens/s | first token p50 | p99 |",
                "| --- | --- | --- | --- | --- | --- |",
            ]
            for n_clients in (1, 8, 32):
                for name, url, model in servers:
                    row = asyncio.run(measure(url, model, n_clients, options.requests, options.tokens))
                    lines.append(f"| {name} | {n_clients} | {row} |")
            if not options.rival:
                lines += ["", "No rival was named; see --rival."]
            if options.minutes:
                name, url, model = servers[0]
                text = asyncio.run(soak(url, model, server.pid, options.minutes, options.tokens))
                lines += ["", f"Memory over {options.minutes:g} minutes of 8 clients: {text}."]
        finally:
            server.terminate()
    print("\n".join(lines))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "serving_clients.md").write_text("# Clients at once\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
