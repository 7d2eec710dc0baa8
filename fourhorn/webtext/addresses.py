"""Which addresses the crawl may connect to: public ones, checked on the socket itself.

A crawler follows links that anyone can post, so a link must not reach the machine's own network. Names are not
enough: a name may resolve to a private address, change between check and use (rebinding), or be an address in
disguise. The check is therefore made where the socket is created, on the very address it will connect to; nothing
gets past it, be it a literal, a redirect or a second look-up. `--allow-private 127.0.0.0/8` names networks that
may be reached nevertheless.

Private means: not global by IANA's registries, or multicast, or such an address inside an IPv6 one (mapped, 6to4,
NAT64, Teredo, compatible). Raises `BlockedAddress`, an `OSError`, as a failed connection would.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from fourhorn.errors import UserError
from fourhorn.files import iter_lines

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_REFUSED_V6 = tuple(
    map(ipaddress.IPv6Network, ["64:ff9b:1::/48", "fec0::/10", "100::/64", "2001:db8::/32", "5f00::/16"])
)
_REFUSED_V4 = tuple(map(ipaddress.IPv4Network, ["192.88.99.0/24", "0.0.0.0/8", "100.64.0.0/10"]))
_DNS_THREADS = 64


class BlockedAddress(OSError):
    """The address is none that the crawl may connect to."""


def is_public(address: Address) -> bool:
    """Whether an address is reachable on the public internet and nowhere else."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return is_public(inner)
        if int(address) < 1 << 32 or any(address in network for network in _REFUSED_V6):
            return False
    elif any(address in network for network in _REFUSED_V4):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


class Guard:
    """Permits public addresses and those of named networks, and hands out sockets for no others."""

    def __init__(self, allow_private: Sequence[str] = ()) -> None:
        self._allowed = [_network(text) for text in allow_private]

    def permits(self, text: str) -> bool:
        """Whether an address, written as a literal, may be connected to."""
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return is_public(address) or any((mapped or address) in network for network in self._allowed)

    def socket(self, addr_info: tuple[Any, ...]) -> socket.socket:
        """The socket for one resolved address; aiohttp's `socket_factory`."""
        family, kind, protocol, _, address = addr_info
        if family not in (socket.AF_INET, socket.AF_INET6) or not self.permits(address[0]):
            raise BlockedAddress(f"{address[0]} is no public address")
        return socket.socket(family, kind, protocol)


class Resolver(AbstractResolver):
    """Names to permitted addresses: first by a hosts file, then by the system; all others are left out."""

    def __init__(self, guard: Guard, hosts: "Hosts | None" = None) -> None:
        self._guard = guard
        self._hosts = hosts
        self._threads = ThreadPoolExecutor(_DNS_THREADS, thread_name_prefix="dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Every permitted address of a name; `BlockedAddress` when it has addresses but none is permitted."""
        known = self._hosts.find(host) if self._hosts else None
        found = [(known[0], known[1] or port)] if known else await self._look_up(host, port, family)
        permitted = [(address, to_port) for address, to_port in found if self._guard.permits(address)]
        if found and not permitted:
            raise BlockedAddress(f"{host} has no public address")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=to_port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address, to_port in permitted
        ]

    async def _look_up(self, host: str, port: int, family: socket.AddressFamily) -> list[tuple[str, int]]:
        loop = asyncio.get_running_loop()
        infos = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        )
        return [(str(info[4][0]), port) for info in infos]

    async def close(self) -> None:
        """Let go of the look-up threads without waiting for slow name servers."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Hosts:
    """A hosts file with ports: `example.com *.example.org 127.0.0.1:8080` a line; `*` means every other name.

    The address may also stand first, as in /etc/hosts; without a port the URL's own is used. With it a local web server
    can stand for any number of hosts without DNS.
    """

    def __init__(self, path: str | Path) -> None:
        self._names: dict[str, tuple[str, int | None]] = {}
        for number, line in enumerate(iter_lines(path), start=1):
            words = line.decode("utf-8", "replace").partition("#")[0].split()
            if not words:
                continue
            first, last = _target(words[0]), _target(words[-1])
            target, names = (first, words[1:]) if first else (last, words[:-1])
            if target is None or not names:
                raise UserError(
                    f"{path} line {number} names no host and address. Write: example.com 127.0.0.1:8080"
                )
            self._names.update((name.lower().rstrip("."), target) for name in names)

    def find(self, host: str) -> tuple[str, int | None] | None:
        """Address and port for a name: its own entry, else that of its nearest `*.` parent, else that of `*`."""
        host = host.lower().rstrip(".")
        if host in self._names:
            return self._names[host]
        tail = host
        while "." in tail:
            tail = tail.partition(".")[2]
            if found := self._names.get(f"*.{tail}"):
                return found
        return self._names.get("*")


def _target(word: str) -> tuple[str, int | None] | None:
    """`("127.0.0.1", 8080)` of `127.0.0.1:8080`, `("::1", 80)` of `[::1]:80`."""
    host, port = word, ""
    if word.startswith("["):
        host, _, port = word[1:].partition("]")
        port = port.removeprefix(":")
    elif word.count(":") == 1:
        host, _, port = word.partition(":")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return None
    try:
        return str(ipaddress.ip_address(host)), int(port) if port else None
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise UserError(f"allow-private {text!r} is no network ({error}). Give one as 127.0.0.0/8.") from None
