"""How fast does the crawl fetch, with every check on, and does it survive being killed?

    python benchmarks/webtext_crawl.py [--pages 20000] [--hosts 200] [--kills 50] [--rivals FOLDER]

A local server stands for many hosts. The crawl resolves, checks addresses, obeys robots.txt, keeps one request a
host, and writes WARC files and the index; pauses are zero, so that its own cost shows. The figure is fetches for a CPU
second of the crawling process. The rival is Scrapy's spider on the same URLs, robots on, pages written to a file.
`--kills` then kills `links` and `crawl` with SIGKILL at random moments and compares what the restarts end in.
"""

import argparse
import importlib.metadata
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
import asyncio, random, sys
words = [f"word{i}" for i in range(2000)]
random.seed(1)
def page(size):
    text = "".join(f"<p>{' '.join(random.choices(words, k=40))}</p>\\n" for _ in range(size // 280))
    return ("<html><body>" + text + "</body></html>").encode()
pages = [page(size) for size in (5000, 10000, 15000, 20000, 50000)]
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
            body = robots if path == b"/robots.txt" else pages[len(path) * 7 % 5]
            kind = b"text/plain" if path == b"/robots.txt" else b"text/html; charset=utf-8"
            if path == b"/counts":
                body = repr(asked).encode()
            else:
                host = head.lower().partition(b"\\r\\nhost: ")[2].partition(b"\\r\\n")[0].partition(b":")[0]
                asked[host + path] = asked.get(host + path, 0) + 1
            ok = b"HTTP/1.1 200 OK\\r\\nContent-Type: %s\\r\\nContent-Length: %d\\r\\n\\r\\n" % (kind, len(body))
            self.transport.write(ok + body)
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
SCRAPY = """
import json, sys, time
import scrapy
from scrapy.crawler import CrawlerProcess
urls, out, port = open(sys.argv[1]).read().split(), open(sys.argv[2], "wb"), int(sys.argv[3])
class Spider(scrapy.Spider):
    name = "rival"
    n = 0
    async def start(self):
        for url in urls:
            yield scrapy.Request(url.replace(".example/", f".localhost:{port}/"), dont_filter=True)
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
print(json.dumps([Spider.n, time.process_time() - cpu, time.perf_counter() - started, 0]))
"""


def run(code: str, *arguments: object, rivals: str | None = None) -> list[float]:
    """One process; the JSON list on its last line."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [rivals, os.getcwd()]))}
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
    notes = []
    dump = folder / "dump"
    dump.mkdir()
    for i in range(60):
        rows = (
            {"url": f"http://s{j % 997}.com/{i * j}", "score": 5, "created_utc": 1400000000}
            for j in range(30_000)
        )
        (dump / f"RS_{i}").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    run(LINKS + "; print('[0]')", dump, folder / "whole")
    met = kill_often(LINKS, [dump, folder / "killed"], n_kills, 1 << 19)
    whole, again = (
        json.loads((folder / name / "manifest.json").read_bytes()) for name in ("whole", "killed")
    )
    same = all(whole[key] == again[key] for key in ("n_in", "n_kept", "drops", "outputs"))
    clean = {p.name for p in (folder / "killed").iterdir()} == {"manifest.json", *again["outputs"]}
    notes.append(
        f"`links` killed {met} times: {'the same bytes and counts' if same and clean else 'DIFFERENT'}."
    )

    urls = [f"http://kill{h}.example/{p}" for h in range(60) for p in range(150)]
    urls += [f"http://kill{h}.example/private/{p}" for h in range(60) for p in range(3)]
    (folder / "urls.txt").write_text("\n".join(urls))
    run(LINKS + "; print('[0]')", folder / "urls.txt", folder / "kill-links")
    arguments: list[object] = [folder / "kill-links", folder / "crawled-whole", folder / "hosts", 500]
    run(CRAWL, *arguments)
    before = counts(port)
    arguments[1] = folder / "crawled-killed"
    met = kill_often(CRAWL, arguments, n_kills, 1 << 20)
    same = outcomes(folder / "crawled-whole") == outcomes(folder / "crawled-killed")
    whole, again = (
        json.loads((folder / name / "manifest.json").read_bytes())
        for name in ("crawled-whole", "crawled-killed")
    )
    same = same and all(whole[key] == again[key] for key in ("n_in", "n_kept", "drops"))
    after = counts(port)
    n_again = sum(
        after[key] - before[key] - 1 for key in after if key.startswith("kill") and "robots" not in key
    )
    told = f"{'the same set and counts' if same else 'DIFFERENT'}; {n_again} of {len(urls):,} pages asked for once more"
    notes.append([f"`crawl`, killed {met} times", f"{told} (those under way when a kill came)"])
    return notes


def counts(port: int) -> Counter[str]:
    """How often the server was asked for each URL."""
    import ast
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts") as answer:
        return Counter({key.decode(): n for key, n in ast.literal_eval(answer.read().decode()).items()})


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=int, default=20_000)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--rivals")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        (folder / "hosts").write_text(f"* 127.0.0.1:{port}\n")
        if options.kills:
            kills = Path(__file__).with_name("webtext_crawl_kills.py")
            write_table(
                str(kills),
                "SIGKILL at random moments",
                ["stage", "outcome"],
                killed(folder, options.kills, port),
            )
            return
        urls = [
            f"http://site{i % options.hosts}.example/{i // options.hosts}/page" for i in range(options.pages)
        ]
        (folder / "urls.txt").write_text("\n".join(urls))
        run(LINKS + "; print('[0]')", folder / "urls.txt", folder / "links")
        rows: list[list[object]] = []
        for attempt in range(2):
            n, cpu, wall, memory = run(
                CRAWL, folder / "links", folder / f"pages{attempt}", folder / "hosts", 50_000
            )
            n_fetches = n + options.hosts
            rows.append(
                [
                    "fourhorn",
                    "this one",
                    f"{n_fetches / cpu:,.0f}",
                    f"{n_fetches / wall:,.0f}",
                    f"{memory:,.0f} MB",
                ]
            )
        if options.rivals:
            (folder / "few.txt").write_text("\n".join(urls[: options.pages // 4]))
            try:
                n, cpu, wall, _ = run(SCRAPY, folder / "few.txt", folder / "out", port, rivals=options.rivals)
                rows.append(
                    [
                        "Scrapy",
                        "2.19.0",
                        f"{(n + options.hosts) / cpu:,.0f}",
                        f"{(n + options.hosts) / wall:,.0f}",
                        "",
                    ]
                )
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                rows.append(["Scrapy", "2.19.0", f"failed: {str(error)[-80:]}", "", ""])
        aiohttp = importlib.metadata.version("aiohttp")
        notes = [f"{options.pages:,} pages of 5 to 50 KB on {options.hosts} hosts; aiohttp {aiohttp}."]
        head = ["crawler", "version", "fetches a CPU second", "fetches/s by the clock", "memory"]
        write_table(__file__, "The crawl against a local server", head, rows, notes)
    finally:
        server.kill()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
