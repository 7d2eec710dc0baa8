"""The frontier: one polite queue per host, and the host whose turn it is.

A host is taken by one visit at a time and given back with the time before which it must be left alone, so
politeness needs no locks: a host that is out cannot be taken again. Memory is that of the links waiting here.
"""

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from fourhorn.webtext.robots import Rules


@dataclass(slots=True)
class Visit:
    """One link on its way: its row as read, where it now leads, how often it was tried and redirected."""

    shard: int
    id: str
    line: bytes
    url: Any  # the parsed URL to fetch next
    hops: tuple[str, ...] = ()
    attempts: int = 0


@dataclass(slots=True)
class Host:
    """One host: its waiting visits, its robots rules, and what is known of its health."""

    name: str
    visits: deque[Visit] = field(default_factory=deque)
    rules: Rules | None = None
    robots_attempts: int = 0
    n_failures: int = 0  # failed attempts in a row; at a limit the host counts as down
    n_pages: int = 0
    ready_at: float = 0.0
    queued: bool = False  # in the heap, or out on a visit


class Frontier:
    """All hosts with waiting visits, by the time at which each may be asked again."""

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self._heap: list[tuple[float, int, Host]] = []
        self._deferred: list[tuple[float, int, Visit]] = []
        self._n_pushed = 0
        self.n_waiting = 0  # visits queued or deferred

    def add(self, visit: Visit, *, first: bool = False) -> Host:
        """Queue a visit at its URL's host, at the front if it was there before."""
        name = visit.url.host
        host = self.hosts.get(name)
        if host is None:
            host = self.hosts[name] = Host(name)
        if first:
            host.visits.appendleft(visit)
        else:
            host.visits.append(visit)
        self.n_waiting += 1
        if not host.queued:
            self._push(host)
        return host

    def defer(self, visit: Visit, ready_at: float) -> None:
        """Queue a visit at a later time; its host goes on with others meanwhile."""
        self.n_waiting += 1
        self._n_pushed += 1
        heapq.heappush(self._deferred, (ready_at, self._n_pushed, visit))

    def take(self, now: float) -> Host | None:
        """A host that has visits and may be asked now; it is out until `give_back`."""
        while self._deferred and self._deferred[0][0] <= now:
            self.n_waiting -= 1
            self.add(heapq.heappop(self._deferred)[2], first=True)
        if not self._heap or self._heap[0][0] > now:
            return None
        return heapq.heappop(self._heap)[2]

    def next_visit(self, host: Host) -> Visit:
        """The next visit of a host that was taken."""
        self.n_waiting -= 1
        return host.visits.popleft()

    def give_back(self, host: Host, ready_at: float) -> None:
        """Put a host back, not to be asked before `ready_at`; without visits it rests until it gets one."""
        host.ready_at = max(host.ready_at, ready_at)
        host.queued = False
        if host.visits:
            self._push(host)

    def forget_idle(self, now: float) -> None:
        """Forget hosts that have nothing to do and may be asked at once; one that comes back is met afresh."""
        self.hosts = {name: host for name, host in self.hosts.items() if host.queued or host.ready_at > now}

    def ready_at(self) -> float:
        """When the next host may be asked; infinity when nothing waits for a time."""
        return min((heap[0][0] for heap in (self._heap, self._deferred) if heap), default=math.inf)

    @property
    def n_hosts_waiting(self) -> int:
        """Hosts that have visits and are not out."""
        return len(self._heap)

    def _push(self, host: Host) -> None:
        host.queued = True
        self._n_pushed += 1
        heapq.heappush(self._heap, (host.ready_at, self._n_pushed, host))
