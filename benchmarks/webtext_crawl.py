"""How fast does the crawl fetch, with every check on, and does it survive being killed?

    python benchmarks/webtext_crawl.py [--pages 20000] [--hosts 200] [--kills 50]

A local server stands for many hosts. The crawl resolves, checks addresses, obeys robots.txt, keeps one request a
host, and writes WARC files and the index; pauses are zero, so that its own cost shows. The figure is fetches for a CPU
second of the crawling process. The rival is Scrapy's spider on the same URLs, robots on, pages written to a file.
`--kills` then kills `links` and `crawl` with SIGKILL at random moments and compares what the restarts end in.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import orjson
from table import write_table

SERVER = """
import asyncio, gzip, random, sys, zlib
words = [f"word{i}" for i in range(2000)]
random.seed(1)
def page(size):
    text, n = [], 0
    while n < size:
        text.append(f"<p>{' '.join(random.choices(words, k=40))}</p>\\n")
        n += len(text[-1])
    return ("<html><body>" + "".join(text) + "</body></html>").encode()
pages = [page(size) for size in (5000, 10000, 15000, 20000, 50000)]
coding = b""
if sys.argv[1] == "gzip":
    pages, coding = [gzip.compress(body, 6) for body in pages], b"Content-Encoding: gzip\\r\\n"
robots = b"User-agent: *\\nDisallow: /private/\\n"
asked = {}
class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""
    def data_received(self, data):
        self.buffer += data
        while b"\\r\\n\\r\\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\\r\\n\\r\\n")
            path = head.split(b" ", 2)[1]
            host = head.lower().partition(b"\\r\\nhost: ")[2].partition(b"\\r\\n")[0].partition(b":")[0]
            kind, more, body = b"text/html; charset=utf-8", coding, pages[zlib.crc32(host + path) % 5]
            if path == b"/robots.txt":
                kind, more, body = b"text/plain", b"", robots
            if path == b"/counts":
                more, body = b"", repr(asked).encode()
            else:
                asked[host + path] = asked.get(host + path, 0) + 1
            head = b"HTTP/1.1 200 OK\\r\\nContent-Type: %b\\r\\n%bContent-Length: %d\\r\\n\\r\\n"
            self.transport.write(head % (kind, more, len(body)) + body)
async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
CRAWL = """
import json, sys, time
from fourhorn.webtext.crawl import crawl
started, cpu = time.perf_counter(), time.process_time()
manifest = crawl(sys.argv[1], sys.argv[2], resolve=sys.argv[3], allow_private=("127.0.0.0/8",), delay_seconds=0.0,
                 links_per_shard=int(sys.argv[4]))
memory = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([manifest.n_kept, time.process_time() - cpu, time.perf_counter() - started, memory / 1000]))
"""
LINKS = "import sys; from fourhorn.webtext.links import links; links(sys.argv[1], sys.argv[2], workers=1)"
EXTRACT = """
import sys
from fourhorn.webtext.extract import extract
extract(sys.argv[1], sys.argv[2], extractor="resiliparse", workers=1)
print("[0]")
"""
COUNTS = ("n_in", "n_kept", "drops")
SCRAPY = """
import json, sys, time
import scrapy, socket
socket.gethostbyname = lambda name: "127.0.0.1"
from scrapy.crawler import CrawlerProcess
urls, out, port = open(sys.argv[1]).read().split(), open(sys.argv[2], "wb"), int(sys.argv[3])
class Spider(scrapy.Spider):
    name = "rival"
    n = 0
    async def start(self):
        for url in urls:
            yield scrapy.Request(url.replace(".example/", f".example:{port}/"), dont_filter=True)
    def parse(self, response):
        Spider.n += 1
        out.write(response.body)
settings = {
    "ROBOTSTXT_OBEY": True, "CONCURRENT_REQUESTS": 256, "CONCURRENT_REQUESTS_PER_DOMAIN": 1, "DOWNLOAD_DELAY": 0,
    "LOG_ENABLED": False, "COOKIES_ENABLED": False, "TELNETCONSOLE_ENABLED": False, "DOWNLOAD_MAXSIZE": 10 << 20,
    "DNS_RESOLVER": "scrapy.resolver.CachingThreadedResolver",
}
started, cpu = time.perf_counter(), time.process_time()
process = CrawlerProcess(settings)
process.crawl(Spider)
process.start()
memory = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([Spider.n, time.process_time() - cpu, time.perf_counter() - started, memory / 1000]))
"""


def run(code: str, *arguments: object) -> list[float]:
    """One process; the JSON list on its last line."""
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    if done.returncode or not done.stdout.strip():
        raise RuntimeError(done.stderr[-400:])
    return list(json.loads(done.stdout.splitlines()[-1]))


def outcomes(pages: Path) -> Counter[tuple[str, str]]:
    """Every URL with its outcome."""
    rows = (orjson.loads(line) for index in pages.glob("*.index.jsonl") for line in index.open("rb"))
    return Counter((row["url"], row["outcome"]) for row in rows)


def kill_often(code: str, arguments: list[object], n_kills: int, most_bytes: int) -> int:
    """Start a stage and kill it when it has written up to `most_bytes`, then let it end; how many kills met it."""
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    folder = Path(str(arguments[1]))

    def written() -> int:
        try:
            return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        except FileNotFoundError:  # renamed meanwhile
            return -1

    met = 0
    for number in range(n_kills):
        before = written()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        enough = before + random.Random(number).randrange(1, most_bytes)
        while process.poll() is None and written() < enough:
            time.sleep(0.002)
        if process.poll() is None:
            process.kill()
            met += 1
        process.wait()
        if (folder / "manifest.json").exists():
            break
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return met


def killed(folder: Path, n_kills: int, port: int) -> list[list[str]]:
    """Kill `links` and `crawl` and compare with runs that were left alone."""
    return [_killed_links(folder, n_kills), *_killed_crawl(folder, n_kills, port)]


def _killed_links(folder: Path, n_kills: int) -> list[str]:
    dump = folder / "dump"
    dump.mkdir()
    for i in range(30):
        rows = (
            {"url": f"http://s{j % 997}.com/{i * j}", "score": 5, "created_utc": 1400000000}
            for j in range(20_000)
        )
        (dump / f"RS_{i}").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    run(LINKS + "; print('[0]')", dump, folder / "whole")
    met = kill_often(LINKS, [dump, folder / "killed"], n_kills, 1 << 18)
    same = all(of(folder / "whole", key) == of(folder / "killed", key) for key in (*COUNTS, "outputs"))
    named = {"manifest.json", *of(folder / "killed", "outputs")}
    same = same and {path.name for path in (folder / "killed").iterdir()} == named
    return [f"`links`, killed {met} times", "the same bytes and counts" if same else "DIFFERENT"]


def _killed_crawl(folder: Path, n_kills: int, port: int) -> list[list[str]]:
    urls = [f"http://kill{h}.example/{p}" for h in range(60) for p in range(60)]
    urls += [f"http://kill{h}.example/private/{p}" for h in range(60) for p in range(3)]
    (folder / "urls.txt").write_text("\n".join(urls))
    run(LINKS + "; print('[0]')", folder / "urls.txt", folder / "kill-links")
    whole, again = folder / "crawled-whole", folder / "crawled-killed"
    run(CRAWL, folder / "kill-links", whole, folder / "hosts", 500)
    before = counts(port)
    met = kill_often(CRAWL, [folder / "kill-links", again, folder / "hosts", 500], n_kills, 1 << 19)
    after = counts(port)
    same = outcomes(whole) == outcomes(again) and all(of(whole, key) == of(again, key) for key in COUNTS)
    n_again = sum(
        after[key] - before[key] - 1 for key in after if key.startswith("kill") and "robots" not in key
    )
    texts = [folder / "texts-whole", folder / "texts-killed"]
    for pages, text in zip((whole, again), texts, strict=True):
        run(EXTRACT, pages, text)
    documents = of(texts[0], "outputs") == of(texts[1], "outputs")
    return [
        [
            f"`crawl`, killed {met} times",
            "the same set of outcomes and the same counts" if same else "DIFFERENT",
        ],
        ["documents extracted from both", "the same bytes" if documents else "DIFFERENT"],
        [f"pages asked for once more, of {len(urls):,}", f"{n_again} (those under way when a kill came)"],
    ]


def of(folder: Path, key: str) -> object:
    """One entry of a folder's manifest."""
    return json.loads((folder / "manifest.json").read_bytes())[key]


def counts(port: int) -> Counter[str]:
    """How often the server was asked for each URL."""
    import ast
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts") as answer:
        return Counter({key.decode(): n for key, n in ast.literal_eval(answer.read().decode()).items()})


def start_server(coding: str) -> tuple[subprocess.Popen[str], int]:
    """A server that sends pages `gzip` or `plain`, and its port."""
    server = subprocess.Popen([sys.executable, "-c", SERVER, coding], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, int(server.stdout.readline())


def measured(folder: Path, urls: list[str], options: argparse.Namespace) -> list[list[object]]:
    """The best of a few crawls for pages sent in each coding, and Scrapy's where it is installed."""
    rows: list[list[object]] = []
    for coding in ("gzip", "plain"):
        server, port = start_server(coding)
        (folder / "hosts").write_text(f"* 127.0.0.1:{port}\n")
        found = []
        try:
            for _ in range(options.rounds):
                found.append(run(CRAWL, folder / "links", folder / "pages", folder / "hosts", 50_000))
                shutil.rmtree(folder / "pages")
                print(coding, found[-1], flush=True)
            n, cpu, wall, memory = min(found, key=lambda each: each[1])
            n += options.hosts  # robots.txt
            rows.append(
                ["fourhorn", "this one", coding, f"{n / cpu:,.0f}", f"{n / wall:,.0f}", f"{memory:,.0f} MB"]
            )
            if importlib.util.find_spec("scrapy"):
                (folder / "few.txt").write_text("\n".join(urls[: len(urls) // 4]))
                n, cpu, wall, memory = run(SCRAPY, folder / "few.txt", folder / "out", port)
                n += options.hosts
                version = importlib.metadata.version("scrapy")
                rows.append(
                    ["Scrapy", version, coding, f"{n / cpu:,.0f}", f"{n / wall:,.0f}", f"{memory:,.0f} MB"]
                )
        finally:
            server.kill()
    return rows


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=int, default=20_000)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        if options.kills:
            server, port = start_server("plain")
            (folder / "hosts").write_text(f"* 127.0.0.1:{port}\n")
            rows = killed(folder, options.kills, port)
            server.kill()
            kills = Path(__file__).with_name("webtext_crawl_kills.py")
            note = (
                "WARC files of two crawls are never the same bytes (dates, record ids, order of arrival); which links "
                "have which outcome, the counts, and the documents extracted later are."
            )
            write_table(str(kills), "SIGKILL at random moments", ["stage", "outcome"], rows, [note])
            return
        urls = [
            f"http://site{i % options.hosts}.example/{i // options.hosts}/page" for i in range(options.pages)
        ]
        (folder / "urls.txt").write_text("\n".join(urls))
        run(LINKS + "; print('[0]')", folder / "urls.txt", folder / "links")
        rows = measured(folder, urls, options)
    finally:
        shutil.rmtree(folder)
    aiohttp = importlib.metadata.version("aiohttp")
    notes = [
        f"{options.pages:,} pages of 5 to 50 KB (20 KB on average) on {options.hosts} hosts, robots.txt of each; "
        f"the best of {options.rounds} crawls; aiohttp {aiohttp}. Nearly all servers send gzip to those who ask for it."
    ]
    head = ["crawler", "version", "sent as", "fetches a CPU second", "fetches/s by the clock", "memory"]
    write_table(__file__, "The crawl against a local server", head, rows, notes)


if __name__ == "__main__":
    main()
