"""The crawl itself: many hosts at once, one visit at a time on each, every link to a counted end.

One event loop serves all shards of its part of the hosts. A host is asked for robots.txt first, then for one page
at a time with a pause between; thousands of hosts wait their turn in the frontier. A redirect is a new visit in
the queue of the host it leads to, so it is judged, resolved and delayed like any other. Failures that may pass
(`RETRYABLE`) are tried again after a pause that doubles, or after what `Retry-After` asks for; a host that fails
several times in a row is down.
"""

import asyncio
import email.utils
import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from fourhorn.webtext import urls
from fourhorn.webtext.archive import NETWORK_FAILURES, Archive
from fourhorn.webtext.fetch import Answer, Failed, Fetcher
from fourhorn.webtext.frontier import Frontier, Host, Visit
from fourhorn.webtext.inflate import BadEncoding, TooLarge, inflate
from fourhorn.webtext.manners import Manners
from fourhorn.webtext.pages import HTML_TYPES, is_html, media_type
from fourhorn.webtext.robots import MAX_ROBOTS_BYTES, Rules, rules_of

REDIRECTS = frozenset([301, 302, 303, 307, 308])
RETRY_STATUSES = frozenset([429, 500, 502, 503, 504])
RETRYABLE = frozenset(["connect_failed", "timeout", "incomplete", "dns_error"])
MAX_HOPS = 5
SHOW_SECONDS = 0.1
MAX_FAILURES = 5  # failed attempts in a row after which a host counts as down
ADMIT_BELOW = 100_000  # links in memory below which a further shard is taken in


@dataclass
class Shard:
    """One shard on its way: where its outcomes go, and how many of its links have none yet."""

    archive: Archive
    lines: list[bytes]
    n_open: int = field(default=0)


class Crawler:
    """Serves shards until every link in them has an outcome."""

    def __init__(
        self,
        fetcher: Fetcher,
        manners: Manners,
        *,
        finish: Callable[[Shard], None],
        show: Callable[[int, dict[str, Any]], None],
    ) -> None:
        self._fetcher, self._manners = fetcher, manners
        self._sites = manners.sites()
        self._finish, self._show = finish, show
        self._frontier = Frontier()
        self._shards: dict[int, Shard] = {}
        self._numbers = itertools.count()
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._alarm_at = math.inf  # when `run` will look again by itself
        self._more = True  # shards that were not taken in yet
        self._counts: Counter[str] = Counter()
        self._n_bytes = 0
        self._started = self._shown = time.monotonic()
        self._n_unshown = self._n_admitted = 0

    async def run(self, shards: Iterator[Shard]) -> None:
        """Serve all shards; new ones are taken in as the queues empty."""
        try:
            while True:
                while self._more and self._frontier.n_waiting < ADMIT_BELOW:
                    shard = next(shards, None)
                    self._more = shard is not None
                    if shard is not None:
                        self._admit(shard)
                if self._error is not None:
                    raise self._error
                self._dispatch()
                if not self._running and not self._more and self._frontier.n_waiting == 0:
                    self._show(self._n_unshown, self._figures())
                    return
                await self._pause()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    # ------------------------------------------------------------------------------------------- the schedule

    def _admit(self, shard: Shard) -> None:
        """Queue the links of a shard that have no outcome yet, and what earlier runs learned of its hosts."""
        number = next(self._numbers)  # never one that is still open
        self._shards[number] = shard
        shard.n_open = 1  # held open until all are queued
        for line in shard.lines:
            row = orjson.loads(line)
            if row["id"] in shard.archive.done:
                continue
            shard.n_open += 1
            url = urls.parse(row["url"])
            visit = Visit(number, row["id"], line, url)
            refusal = "invalid_url" if url is None else self._sites.refusal(url)
            if refusal:
                self._drop(visit, refusal)
                continue
            host = self._frontier.add(visit)
            host.n_failures = max(host.n_failures, shard.archive.failures.get(host.name, 0))
        shard.lines = []
        self._close_if_done(number)

    def _dispatch(self) -> None:
        now = time.monotonic()
        while (
            len(self._running) < self._manners.connections and (host := self._frontier.take(now)) is not None
        ):
            task = asyncio.create_task(self._serve(host))
            self._running.add(task)
            task.add_done_callback(self._served)

    def _served(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._error = task.exception()
        self._wake.set()

    async def _pause(self) -> None:
        """Wait until a host's turn comes or there is something else to do."""
        self._alarm_at = math.inf
        if len(self._running) < self._manners.connections:
            self._alarm_at = self._frontier.ready_at()
        wait = self._alarm_at - time.monotonic()
        if wait <= 0:
            await asyncio.sleep(0)
            return
        self._wake.clear()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(wait, self._wake.set) if wait < math.inf else None
        await self._wake.wait()
        if timer is not None:
            timer.cancel()

    # ---------------------------------------------------------------------------------------------- one visit

    async def _serve(self, host: Host | None) -> None:
        """Make requests, each of the host whose turn it is, until no host's turn has come."""
        while host is not None:
            pause = 0.0
            try:
                if host.rules is None:
                    pause = await self._ask_robots(host)
                else:
                    pause = await self._next_page(host)
            finally:
                now = time.monotonic()
                self._frontier.give_back(host, now + pause)
            host = self._frontier.take(now)
            if self._needs_look():
                self._wake.set()

    def _needs_look(self) -> bool:
        """Whether `run` has something to do: a shard to take in, or a host for a further connection."""
        if self._more and self._frontier.n_waiting < ADMIT_BELOW:
            return True
        return len(self._running) < self._manners.connections and self._frontier.ready_at() < self._alarm_at

    async def _next_page(self, host: Host) -> float:
        while host.visits:
            visit = self._frontier.next_visit(host)
            refusal = self._refusal(host, visit)
            if refusal is None:
                return await self._fetch(host, visit)
            self._drop(visit, refusal)
            await asyncio.sleep(0)  # thousands may follow, and others have answers waiting
        return 0.0

    def _refusal(self, host: Host, visit: Visit) -> str | None:
        assert host.rules is not None
        if host.rules.refusal:
            return host.rules.refusal
        if host.n_failures >= MAX_FAILURES:
            return "host_down"
        if not host.rules.allows(visit.url.href):
            return "robots_denied"
        if self._manners.max_pages_per_host and host.n_pages >= self._manners.max_pages_per_host:
            return "host_budget"
        return None

    async def _fetch(self, host: Host, visit: Visit) -> float:
        """Fetch one page and settle what becomes of it; how long to leave the host alone."""
        visit.attempts += 1
        pause = self._delay(host)
        try:
            answer = await self._fetcher.get(visit.url, wanted=_is_page)
        except Failed as failed:
            if failed.reason in NETWORK_FAILURES:
                host.n_failures += 1
            if failed.reason in RETRYABLE and self._retried(host, visit, self._back_off(visit.attempts)):
                return pause
            self._drop(visit, "host_down" if host.n_failures >= MAX_FAILURES else failed.reason)
            return pause
        host.n_failures = 0
        if answer.status in REDIRECTS:
            self._redirect(visit, answer)
        elif answer.status in RETRY_STATUSES:
            asked = _retry_after(answer)
            wait = max(asked, self._back_off(visit.attempts))
            if wait <= self._manners.max_wait_seconds and self._retried(host, visit, wait):
                return max(pause, wait) if asked or answer.status == 429 else pause
            self._drop(visit, f"http_{answer.status}")
        elif answer.status != 200:
            self._drop(visit, f"http_{answer.status}" if 100 <= answer.status < 600 else "bad_http")
        else:
            self._settle(host, visit, answer)
        return pause

    def _retried(self, host: Host, visit: Visit, wait: float) -> bool:
        """Queue a failed visit again for after `wait`, if it may be tried once more."""
        if visit.attempts >= self._manners.max_attempts or host.n_failures >= MAX_FAILURES:
            return False
        self._frontier.defer(visit, time.monotonic() + wait)
        return True

    def _redirect(self, visit: Visit, answer: Answer) -> None:
        url = urls.join(visit.url.href, answer.header(b"location"))
        if url is None or not answer.header(b"location"):
            self._drop(visit, "bad_redirect")
        elif len(visit.hops) >= MAX_HOPS:
            self._drop(visit, "too_many_redirects")
        elif refusal := self._sites.refusal(url):
            self._drop(visit, refusal)
        else:
            visit.hops = (*visit.hops, visit.url.href)
            visit.url, visit.attempts = url, 0
            self._frontier.add(visit, first=True)

    def _settle(self, host: Host, visit: Visit, answer: Answer) -> None:
        """A status 200: keep the page, or say why it is none."""
        content_type, _ = media_type(answer.header(b"content-type"))
        encoding = answer.header(b"content-encoding")
        content = answer.body
        if content_type and content_type not in HTML_TYPES:
            self._drop(visit, "not_html")
            return
        if encoding:
            try:
                content = inflate(content, encoding, max_bytes=self._manners.max_page_bytes)
            except TooLarge:
                self._drop(visit, "too_large")
                return
            except BadEncoding:
                self._drop(visit, "bad_encoding")
                return
        if not content.strip():
            self._drop(visit, "empty")
        elif not is_html(content_type, content[:512]):
            self._drop(visit, "not_html")
        else:
            host.n_pages += 1
            self._n_bytes += len(content)
            self._shards[visit.shard].archive.keep(visit, answer, content_type, len(content))
            self._settled(visit.shard, "kept")

    async def _ask_robots(self, host: Host) -> float:
        """Fetch and read robots.txt, over redirects; a host that cannot give it is asked again, then left alone."""
        host.robots_attempts += 1
        url: Any = urls.join(host.visits[0].url.href, "/robots.txt")
        reason, wait = "robots_unreachable", 0.0
        try:
            answer = await self._fetcher.get(url, wanted=_is_ok, max_bytes=MAX_ROBOTS_BYTES, cut=True)
            for _ in range(MAX_HOPS):
                target = (
                    urls.join(url.href, answer.header(b"location")) if answer.status in REDIRECTS else None
                )
                if target is None:
                    break
                url = target
                answer = await self._fetcher.get(url, wanted=_is_ok, max_bytes=MAX_ROBOTS_BYTES, cut=True)
            if answer.status in REDIRECTS:  # RFC 9309: after five redirects it counts as not there
                host.rules = Rules()
            elif answer.status not in RETRY_STATUSES:
                host.rules = rules_of(
                    answer.status, _robots_body(answer), max_delay_seconds=self._manners.max_delay_seconds
                )
            wait = _retry_after(answer)
        except Failed as failed:
            reason = failed.reason
        if host.rules is not None:
            return self._delay(host)
        wait = max(wait, self._back_off(host.robots_attempts))
        again = reason in RETRYABLE or reason == "robots_unreachable"
        if (
            not again
            or host.robots_attempts >= self._manners.max_attempts
            or wait > self._manners.max_wait_seconds
        ):
            host.rules = Rules(refusal=reason)
            return 0.0
        return wait

    def _delay(self, host: Host) -> float:
        asked = host.rules.delay_seconds if host.rules else 0.0
        return max(self._manners.delay_seconds, asked)

    def _back_off(self, attempts: int) -> float:
        return self._manners.retry_seconds * 2.0 ** (attempts - 1) * random.uniform(0.8, 1.2)

    # ----------------------------------------------------------------------------------------------- outcomes

    def _drop(self, visit: Visit, reason: str) -> None:
        self._shards[visit.shard].archive.drop(visit, reason)
        self._settled(visit.shard, reason)

    def _settled(self, number: int, outcome: str) -> None:
        self._counts[outcome] += 1
        self._shards[number].archive.sync()
        self._n_unshown += 1
        if (now := time.monotonic()) - self._shown > SHOW_SECONDS:
            self._show(self._n_unshown, self._figures())
            self._shown, self._n_unshown = now, 0
        self._close_if_done(number)

    def _close_if_done(self, number: int) -> None:
        shard = self._shards[number]
        shard.n_open -= 1
        if shard.n_open == 0:
            self._finish(self._shards.pop(number))
            self._frontier.forget_idle(time.monotonic())

    def _figures(self) -> dict[str, Any]:
        seconds = max(time.monotonic() - self._started, 1e-3)
        dropped = {name: n for name, n in self._counts.most_common(5) if name != "kept"}
        return {
            "kept": self._counts["kept"],
            "MB/s": round(self._n_bytes / 1e6 / seconds, 1),
            "hosts_waiting": self._frontier.n_hosts_waiting,
            **dict(list(dropped.items())[:3]),
        }


def _is_page(status: int, content_type: str) -> bool:
    kind = media_type(content_type)[0]
    return status == 200 and (not kind or kind in HTML_TYPES)


def _is_ok(status: int, content_type: str) -> bool:
    return status == 200


def _robots_body(answer: Answer) -> bytes:
    try:
        return inflate(answer.body, answer.header(b"content-encoding"), max_bytes=8 * MAX_ROBOTS_BYTES)
    except (BadEncoding, TooLarge):
        return b"User-agent: *\nDisallow: /\n"  # unreadable rules are the strictest ones


def _retry_after(answer: Answer) -> float:
    """Seconds that `Retry-After` asks for, given as a number or as a date; 0 without one."""
    value = answer.header(b"retry-after").strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
