"""Requests and tokens per second at 1, 8 and 32 clients beside other servers; 500 clients; memory over time.

    python benchmarks/serving_clients.py --vocabulary FOLDER [--rivals PYTHON] [--folder F [--only NAME …]]
    python benchmarks/serving_clients.py --soak MODEL --minutes 30 [--pause 0.5]

With the same `--folder`, later runs replace or add the rows of the servers they name. All servers get the same random
weights of 124M's shape and the same prompts. `--rivals` names a Python that has `transformers[serving]` and
`llama-cpp-python[server]`. Clients stream, greedily, and ask again as soon as they are answered; they share the
machine's cores with the server. `--soak` serves one model for a while to a few clients.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path

import aiohttp
from table import write_table

PROMPTS = ["In a shocking finding,", "The four-horned herd", "Once there was a valley where", "1, 2, 3,"]
CONTENDERS = [
    "fourhorn bfloat16", "fourhorn int8", "transformers serve bfloat16",
    "transformers serve bfloat16, continuous batching", "llama.cpp server F16", "llama.cpp server Q8_0",
]  # fmt: skip

WITHOUT_AMX = """
import runpy
import llama_cpp.llama_cpp as library
make = library.llama_model_default_params
def without():
    options = make()
    options.use_extra_bufts = False
    return options
library.llama_model_default_params = without
runpy.run_module("llama_cpp.server", run_name="__main__")
"""  # its AMX buffers end the process at the first decode of Q8_0


def export(folder: Path, vocabulary: Path) -> None:
    """The same random weights for everybody."""
    import torch

    from fourhorn.checkpoints import gguf, huggingface, native
    from fourhorn.checkpoints.names import Checkpoint
    from fourhorn.model.config import GPT2Config
    from fourhorn.model.transformer import GPT2
    from fourhorn.tokenizer.tokenizer import Tokenizer

    torch.manual_seed(0)
    checkpoint = Checkpoint(GPT2Config(), GPT2(GPT2Config()).state_dict(), Tokenizer.load(vocabulary))
    native.write(checkpoint, folder / "native")
    huggingface.write(checkpoint, folder / "hf")
    for kind in ("f16", "q8_0"):
        gguf.write(checkpoint, folder / f"{kind.upper()}.gguf", kind=kind)


def command_of(name: str, folder: Path, rivals: str, port: int) -> tuple[list[str], str]:
    """How to start a server, and what it calls the model."""
    kind, listen = name.split(",")[0].split()[-1], ["--port", str(port)]
    if name.startswith("fourhorn"):
        start = [
            sys.executable,
            "-m",
            "fourhorn.cli.app",
            "serve",
            str(folder / "native"),
            "--precision",
            kind,
        ]
        return [*start, "--max-sequences", "32", "--max-waiting", "1000", *listen], "native"
    if name.startswith("transformers"):
        start = [
            rivals,
            "-c",
            "from transformers.cli.transformers import main; main()",
            "serve",
            str(folder / "hf"),
        ]
        batching = ["--continuous-batching"] if "batching" in name else []
        return [*start, "--dtype", kind, "--device", "cpu", *batching, *listen], str(folder / "hf")
    run = ["-m", "llama_cpp.server"] if kind == "F16" else ["-c", WITHOUT_AMX]
    start = [rivals, *run, "--model", str(folder / f"{kind}.gguf"), "--n_ctx", "1024"]
    # by default each new request ends the one that is being answered
    threads = ["--n_threads", "2", "--n_threads_batch", "2", "--interrupt_requests", "false"]
    return [*start, *threads, *listen], "model"


@contextlib.contextmanager
def running(command: list[str], port: int):
    """A server, once it listens."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2", "PYTHONPATH": path}
    log = tempfile.TemporaryFile("w+")
    server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        for _ in range(600):
            if server.poll() is not None:
                log.seek(0)
                raise RuntimeError(f"it ended: {log.read()[-500:]}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models"):
                    break
            except urllib.error.HTTPError:
                break  # transformers answers 500 where it has no cache folder, and serves
            except OSError:
                time.sleep(0.2)
        yield server
    except aiohttp.ClientError as error:
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise RuntimeError(f"its process ended, exit code {server.wait(5)}") from None
        raise error
    finally:
        server.terminate()
        server.wait()


async def client(session, url, model, n_requests, n_tokens, number, times):
    """Ask `n_requests` times; first-token times, and gaps between what arrives."""
    for i in range(n_requests):
        prompt = f"{PROMPTS[(number + i) % len(PROMPTS)]} {number}"
        body = {"model": model, "prompt": prompt, "max_tokens": n_tokens, "temperature": 0, "stream": True}
        last, first, reason = time.perf_counter(), True, None
        async with session.post(url, json=body) as answer:
            if answer.status != 200:
                raise RuntimeError(f"status {answer.status}: {(await answer.text())[:300]}")
            async for line in answer.content:
                choices = json.loads(line[6:]).get("choices") if line.startswith(b"data: {") else None
                if not choices:
                    continue
                reason = choices[0].get("finish_reason") or reason
                if choices[0]["text"]:
                    now = time.perf_counter()
                    times["first" if first else "gap"].append(now - last)
                    last, first = now, False
        if reason != "length":  # then the tokens are not those that are counted
            raise RuntimeError(f"a completion ended early: {reason}")


async def measure(url, model, n_clients, n_requests, n_tokens):
    """Requests/s, tokens/s, then first-token and inter-token p50 and p99 in ms."""
    times = {"first": [], "gap": []}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        started = time.perf_counter()
        asks = (client(session, url, model, n_requests, n_tokens, i, times) for i in range(n_clients))
        await asyncio.gather(*asks)
        seconds = time.perf_counter() - started
    n = n_clients * n_requests
    cells = [f"{n / seconds:.2f}", f"{n * n_tokens / seconds:,.0f}"]
    for column in ("first", "gap"):
        found = sorted(times[column]) or [0.0]
        cells.append(" / ".join(f"{1000 * found[int(q * (len(found) - 1))]:,.0f}" for q in (0.5, 0.99)))
    return cells


def contend(name, folder, options, crowds):
    """Rows of one server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command, model = command_of(name, folder, options.rivals, port)
    rows, url = [], f"http://127.0.0.1:{port}/v1/completions"
    with running(command, port):
        asyncio.run(measure(url, model, 1, 1, 4))
        for n_clients in crowds:
            n_requests = 1 if n_clients >= 32 else max(1, options.requests // n_clients)
            rows.append(
                [name, n_clients, *asyncio.run(measure(url, model, n_clients, n_requests, options.tokens))]
            )
    return rows


def resident_mib(pid: int) -> float:
    """Resident memory of a process, MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(options) -> None:
    """A few clients for some minutes; the server's memory after a tenth of the time and at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [sys.executable, "-m", "fourhorn.cli.app", "serve", options.soak, "--port", str(port)]
    readings, n_requests = [], 0
    with running(start, port) as server:
        url = f"http://127.0.0.1:{port}/v1/completions"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as answer:
            model = json.load(answer)["data"][0]["id"]
        end = time.monotonic() + 60 * options.minutes
        while time.monotonic() < end:
            asyncio.run(measure(url, model, 4, 1, options.tokens))
            n_requests += 4
            readings.append(resident_mib(server.pid))
            time.sleep(options.pause)
    tenth = readings[len(readings) // 10]
    row = [
        f"{options.minutes:g}",
        f"{n_requests:,}",
        f"{tenth:.1f}",
        f"{max(readings):.1f}",
        f"{readings[-1]:.1f}",
    ]
    columns = ["minutes", "requests", "MiB after a tenth", "largest", "at the end"]
    note = f"4 streaming clients, {options.tokens} tokens each, a pause of {options.pause:g} s between; small model."
    write_table(
        str(Path(__file__).with_name("serving_memory.py")),
        "Server's memory over time",
        columns,
        [row],
        [note],
    )


def main() -> None:
    """Run all and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--vocabulary", type=Path)
    parser.add_argument("--rivals", default=sys.executable)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", nargs="*", default=CONTENDERS)
    parser.add_argument("--requests", type=int, default=8, help="of all clients together, at fewer than 32")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--crowd", type=int, default=500, help="clients of the last row, for fourhorn only")
    parser.add_argument("--soak")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--pause", type=float, default=0.5)
    options = parser.parse_args()
    if options.soak:
        soak(options)
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="fourhorn-serving-"))
    if not (folder / "hf").exists():
        export(folder, options.vocabulary)
    kept = folder / "rows.json"
    rows = json.loads(kept.read_text()) if kept.exists() else {}
    for name in options.only:
        crowds = [1, 8, 32, *([options.crowd] if name.startswith("fourhorn") else [])]
        try:
            rows[name] = contend(name, folder, options, crowds)
        except (RuntimeError, aiohttp.ClientError) as error:
            rows[name] = [[name, "–", f"failed: {' '.join(str(error).split())[-300:]}", "", "", ""]]
        kept.write_text(json.dumps(rows))
    ordered = [row for name in CONTENDERS for row in rows.get(name, [])]
    columns = [
        "server",
        "clients",
        "requests/s",
        "tokens/s",
        "first token p50 / p99, ms",
        "between tokens p50 / p99, ms",
    ]
    found = subprocess.run(
        [
            options.rivals,
            "-c",
            "import transformers as t, llama_cpp as l; print(t.__version__, l.__version__)",
        ],
        capture_output=True,
        text=True,
    ).stdout.split() or ["–", "–"]
    notes = [
        f"GPT-2 124M, random weights, {options.tokens} tokens a request, greedy, streaming; fourhorn "
        f"{version('fourhorn')}, transformers {found[0]}, llama-cpp-python {found[1]} (which answers one at a time)."
    ]
    write_table(__file__, "Clients at once", columns, ordered, notes)


if __name__ == "__main__":
    main()
