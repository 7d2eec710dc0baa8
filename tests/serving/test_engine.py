"""Many clients at once, and clients that leave: nothing is mixed, and nobody's work goes on without them.

`FOURHORN_FULL=1` leaves 1,000 times and opens 500 streams at once, instead of 24 and 40.
"""

import asyncio
import json
import os
import random
import socket
import threading
import time

import aiohttp
import pytest

from fourhorn.sampling.generate import complete
from fourhorn.serving.limits import LOOPBACK, Limits

FULL = os.environ.get("FOURHORN_FULL") == "1"
N_LEAVING, N_STREAMS = (1_000, 500) if FULL else (24, 40)
STEP_SECONDS = 0.02  # a decode step as long as a 124M's on a small machine


class Slow:
    """A decoder that takes its time, as a larger model would."""

    def __init__(self, decoder) -> None:
        self.decoder = decoder

    def __getattr__(self, name):
        return getattr(self.decoder, name)

    def read(self, *arguments, **options):
        time.sleep(STEP_SECONDS)
        return self.decoder.read(*arguments, **options)


@pytest.fixture(scope="module")
def slow(start):
    with start(max_sequences=8, n_ctx=1024) as server:
        server.engine.decoder = Slow(server.engine.decoder)
        submitted = []
        submit = server.engine.submit

        def remember(*arguments, **options):
            request = submit(*arguments, **options)
            submitted.append(request)
            return request

        server.engine.submit = remember
        server.submitted = submitted
        yield server


def leave(server, *, stream: bool, chance: random.Random) -> int:
    """Ask, wait for some tokens, hang up; how many tokens were drawn after that."""
    marker = f"the {chance.random()}"
    body = {"prompt": marker, "max_tokens": 900, "stream": stream, "temperature": 1.0, "seed": 1}
    data = json.dumps(body).encode()
    head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(data)}\r\n\r\n"
    prompt = server.tokenizer.encode_ordinary(marker)
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(head.encode() + data)
    wanted = chance.randint(1, 12)
    request = None
    while request is None or len(request.tokens) < wanted:
        time.sleep(0.002)
        request = request or next((r for r in server.submitted if r.prompt == prompt), None)
        if request is not None and request.finish_reason:
            return 0  # the text ended by itself before we left
    n_before = len(request.tokens)
    connection.close()
    end = time.monotonic() + 20
    while request.finish_reason is None and time.monotonic() < end:
        time.sleep(0.001)
    if request.finish_reason in ("stop", "length"):
        return 0  # it ended by itself just then
    assert request.finish_reason == "cancelled"
    return len(request.tokens) - n_before


@pytest.mark.parametrize("stream", [True, False])
def test_work_ends_within_one_step_of_the_clients_leaving(slow, stream):
    counts: list[int] = []

    def client(seed):
        chance = random.Random(seed)
        for _ in range(N_LEAVING // 2 // 4):
            counts.append(leave(slow, stream=stream, chance=chance))

    threads = [threading.Thread(target=client, args=(seed + 100 * stream,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    within = sum(count <= 1 for count in counts)
    print(
        f"\nstream={stream}: {within} of {len(counts)} ended within one step, most tokens after leaving {max(counts)}"
    )
    assert len(counts) == N_LEAVING // 2 // 4 * 4
    assert within >= (0.99 if FULL else 0.8) * len(counts)
    assert max(counts) <= 10
    deadline = time.monotonic() + 10  # the engine lets go of the last one at its next step
    while slow.engine.n_running + slow.engine.n_waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    assert slow.engine.n_running == slow.engine.n_waiting == 0


def test_streams_of_many_clients_are_not_mixed(start):
    async def client(session, url, number, found, times):
        body = {"prompt": f"the {number} four", "max_tokens": 24, "temperature": 0, "stream": True}
        text, started, last = "", time.perf_counter(), None
        async with session.post(f"{url}/v1/completions", json=body) as answer:
            assert answer.status == 200
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    now = time.perf_counter()
                    times["first" if last is None else "between"].append(now - (last or started))
                    last = now
                    text += json.loads(line[6:])["choices"][0]["text"]
        found[number] = text

    async def everyone(url):
        found, times = {}, {"first": [], "between": []}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(client(session, url, i, found, times) for i in range(N_STREAMS)))
        return found, times

    with start(max_sequences=32, limits=Limits(hosts=LOOPBACK, max_waiting=1000)) as server:
        started = time.perf_counter()
        found, times = asyncio.run(everyone(server.url))
        seconds = time.perf_counter() - started
        prompts = [f"the {number} four" for number in range(N_STREAMS)]
        alone = complete(
            server.model, server.tokenizer, prompts, max_new_tokens=24, temperature=0, max_sequences=1
        )
        assert [found[i] for i in range(N_STREAMS)] == [group[0].text for group in alone]
    first, between = sorted(times["first"]), sorted(times["between"])
    print(
        f"\n{N_STREAMS} streams: {len(first + between) / seconds:.0f} tokens/s; first token p50 "
        f"{first[len(first) // 2]:.2f} s, p99 {first[int(0.99 * len(first))]:.2f} s; between tokens p50 "
        f"{1000 * between[len(between) // 2]:.0f} ms, p99 {1000 * between[int(0.99 * len(between))]:.0f} ms"
    )


def test_metrics_count_what_happened(start):
    async def ask(url):
        async with aiohttp.ClientSession() as session:
            body = {"prompt": "the four", "max_tokens": 5, "temperature": 0}
            for _ in range(3):
                async with session.post(f"{url}/v1/completions", json=body) as answer:
                    tokens = (await answer.json())["usage"]["completion_tokens"]
            async with session.get(f"{url}/nowhere") as answer:
                assert answer.status == 404
            async with session.get(f"{url}/metrics") as answer:
                return tokens, await answer.text()

    with start() as server:
        tokens, text = asyncio.run(ask(server.url))
    lines = text.splitlines()
    assert 'fourhorn_responses_total{route="/v1/completions",status="200"} 3' in lines
    assert 'fourhorn_responses_total{route="none",status="404"} 1' in lines
    assert f'fourhorn_new_tokens_total{{model="tiny"}} {3 * tokens}' in lines
    assert 'fourhorn_finished_total{model="tiny"} 3' in lines
    assert 'fourhorn_running_sequences{model="tiny"} 0' in lines
    assert "fourhorn_first_token_seconds_count 3" in lines
    assert f"fourhorn_inter_token_seconds_count {3 * (tokens - 1)}" in lines
    assert 'fourhorn_inter_token_seconds_bucket{le="+Inf"} ' + str(3 * (tokens - 1)) in lines
