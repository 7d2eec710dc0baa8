"""Serve the local web on loopback: virtual hosts, and each fault as the real web shows it.

    with serving(Path("web")) as port: ...      # a process of its own, which ends when this one does

`hosts_file` writes the names as `host 127.0.0.1:port`, the form that `fourhorn webtext crawl --resolve` reads.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from fourhorn.errors import UserError
from fourhorn.files import atomic_write
from fourhorn.records import iter_records
from fourhorn.reproduce.local_web import Row, draw

ENDLESS_CHUNK = b"<p>" + b"and so on and on " * 512 + b"</p>\n"
SLOW_SECONDS = 1.0  # between the bytes of a slow page


@contextlib.contextmanager
def serving(web: Path) -> Iterator[int]:
    """Serve `web` from a process of its own while the block runs; the port it listens on."""
    command = [sys.executable, "-m", "fourhorn.reproduce.server", str(web)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise UserError(f"The local web in {web} could not be served; delete the folder and run again.")
        yield int(line)
    finally:
        process.stdin.close()  # the server ends when its standard input does, also if this process is killed
        process.wait(timeout=10)


def hosts_file(path: Path, hosts: set[str], port: int) -> Path:
    """Write `host 127.0.0.1:port` lines for the crawler's `resolve` option."""
    with atomic_write(path, "w") as file:
        file.writelines(f"{host} 127.0.0.1:{port}\n" for host in sorted(hosts))
    return path


# ---------------------------------------------------------------------------------------------- what a page says


def render(row: Row, siblings: list[Row]) -> str:
    """The HTML of one page, with the furniture real sites have around their text."""
    body = "\n".join(_block(kind, text) for kind, text in row["blocks"])
    title, host = escape(row["title"]), escape(row["host"])
    links = "".join(f'<li><a href="{escape(s["path"])}">{escape(s["title"])}</a></li>' for s in siblings)
    if row["theme"] == "docs":
        body = (
            f'<nav class="top"><a href="/">Home</a> | <a href="/genindex.html">Index</a> | '
            f'<a href="/search.html">Search</a></nav>'
            f'<div class="sidebar" role="navigation"><h3>Contents</h3><ul>{links}</ul></div>'
            f'<div class="document" role="main"><h1>{title}</h1>\n{body}\n</div>'
            f'<div class="related"><h3>See also</h3><ul>{links}</ul></div>'
        )
    else:
        body = f"<h1>{title}</h1><article>\n{body}\n</article><aside><ul>{links}</ul></aside>"
    footer = f'<footer><p>&copy; The authors of {host}. <a href="/privacy">Privacy</a></p></footer>'
    charset = "iso-8859-1" if row.get("charset") == "wrong" else "utf-8"
    return (
        f'<!DOCTYPE html>\n<html lang="{row["language"]}"><head><meta charset="{charset}">'
        f"<title>{title} — {host}</title><style>nav{{color:gray}}</style></head>\n"
        f"<body>{body}{footer}<script>window.visits = 1;</script></body></html>\n"
    )


def _block(kind: str, text: str) -> str:
    tag = {"li": "li", "h2": "h2", "pre": "pre"}.get(kind, "p")
    html = f"<{tag}>{escape(text)}</{tag}>"
    return f"<ul>{html}</ul>" if tag == "li" else html


# ------------------------------------------------------------------------------------------------- how it answers


class Site:
    """All rows by host and path, and the answer to each request."""

    def __init__(self, web: Path) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.by_host: dict[str, list[Row]] = {}
        for row in iter_records(web / "pages.jsonl.zst"):
            self.rows[row["host"], row["path"]] = row
            self.by_host.setdefault(row["host"], []).append(row)
        for rows in self.by_host.values():
            for position, row in enumerate(rows):
                row["position"] = position

    async def answer(self, request: Any) -> Any:
        """The response to one request, by the kind of the row it names."""
        from aiohttp import web

        host = (request.host or "").partition(":")[0].lower()
        if request.path == "/robots.txt":
            return web.Response(text="User-agent: *\nDisallow: /private/\n")
        row = self.rows.get((host, request.path))
        if row is None or row["kind"] == "missing":
            return web.Response(status=404, text="<h1>Not found</h1>", content_type="text/html")
        if row["kind"] in _ANSWERS:
            return await _ANSWERS[row["kind"]](request, row)
        html = render(row, self.siblings(row))
        response = web.Response(body=html.encode(), headers={"Content-Type": "text/html; charset=utf-8"})
        if row.get("charset") == "wrong":  # UTF-8 bytes announced as something else
            response.headers["Content-Type"] = "text/html; charset=iso-8859-1"
        if draw("gzip", row["path"]) < 0.3:
            response.enable_compression()
        return response

    def siblings(self, row: Row) -> list[Row]:
        """The twelve pages that follow on the same host, as its navigation."""
        rows, start = self.by_host[row["host"]], row["position"] + 1
        return [rows[(start + i) % len(rows)] for i in range(min(12, len(rows)))]


async def _redirect(request: Any, row: Row) -> Any:
    from aiohttp import web

    return web.Response(status=301, headers={"Location": row["location"]})


async def _encyclopedia(request: Any, row: Row) -> Any:
    from aiohttp import web

    return web.Response(status=302, headers={"Location": "http://en.wikipedia.org/wiki/Unicorn"})


async def _loop(request: Any, row: Row) -> Any:
    from aiohttp import web

    return web.Response(status=302, headers={"Location": row["path"]})


async def _broken(request: Any, row: Row) -> Any:
    from aiohttp import web

    return web.Response(status=500, text="Internal error")


async def _binary(request: Any, row: Row) -> Any:
    from aiohttp import web

    return web.Response(body=b"%PDF-1.4\n" + bytes(range(256)) * 8, content_type="application/pdf")


async def _drip(request: Any, chunk: bytes, seconds: float) -> Any:
    from aiohttp import web

    response = web.StreamResponse(headers={"Content-Type": "text/html"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(chunk)
            await asyncio.sleep(seconds)
    return response


async def _slow(request: Any, row: Row) -> Any:
    return await _drip(request, b"x", SLOW_SECONDS)


async def _endless(request: Any, row: Row) -> Any:
    return await _drip(request, ENDLESS_CHUNK, 0.0)


_ANSWERS = {
    "redirect": _redirect,
    "encyclopedia": _encyclopedia,
    "loop": _loop,
    "broken": _broken,
    "binary": _binary,
    "slow": _slow,
    "endless": _endless,
}


def main(folder: Path) -> None:
    """Serve `folder` until standard input ends; the first line printed is the port."""
    from aiohttp import web

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", Site(folder).answer)

    async def start() -> None:
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        assert site._server is not None
        print(site._server.sockets[0].getsockname()[1], flush=True)  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    def end_with_input() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=end_with_input, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(start())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
