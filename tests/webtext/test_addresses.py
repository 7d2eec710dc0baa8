import ipaddress
import socket
import sys

import orjson
import pytest

from fourhorn.errors import UserError
from fourhorn.records import write_records
from fourhorn.webtext.addresses import BlockedAddress, Guard, Hosts, is_public
from fourhorn.webtext.crawl import crawl

# Sixty ways to name a place that a crawler of the public web must not reach.
FORBIDDEN_TEXT = """
http://127.0.0.1/ http://127.1/ http://127.0.1/ http://2130706433/ http://0x7f000001/ http://0x7f.0.0.1/
http://0177.0.0.1/ http://017700000001/ http://0/ http://0.0.0.0/ http://127.255.255.254/ http://127.0.0.1./
http://①②⑦.⓪.⓪.①/ http://１２７．０．０．１/ http://127。0。0。1/ http://[::1]/ http://[::]/ http://[::ffff:127.0.0.1]/
http://[::ffff:7f00:1]/ http://[::127.0.0.1]/ http://[0:0:0:0:0:ffff:127.0.0.1]/ http://[64:ff9b::7f00:1]/
http://[64:ff9b:1::1]/ http://[2002:7f00:1::]/ http://[2002:a00:1::1]/ http://[fe80::1]/ http://[fc00::1]/ http://[fd00::1]/
http://[fec0::1]/ http://[ff02::1]/ http://[100::1]/ http://[2001:db8::1]/ http://[2001:0:0:0:0:0:80ff:fffe]/ http://10.0.0.1/
http://10.255.255.255/ http://172.16.0.1/ http://172.31.255.255/ http://192.168.0.1/ http://192.168.1.1:80/
http://169.254.169.254/latest/meta-data/ http://169.254.0.1/ http://100.64.0.1/ http://192.0.0.1/ http://192.0.2.1/
http://192.88.99.1/ http://198.18.0.1/ http://198.51.100.1/ http://203.0.113.1/ http://224.0.0.1/ http://240.0.0.1/
http://255.255.255.255/ http://localhost/ http://LOCALHOST./ http://local.localhost/ http://internal.example/
http://example.com@127.0.0.1/ http://user:password@10.0.0.1/ http://127.0.0.1\\@example.com/ http://mixed.example/
http://rebound.example/ file:///etc/passwd ftp://127.0.0.1/ gopher://127.0.0.1:70/_ dict://127.0.0.1:11211/
http://93.184.216.34:22/ http:///127.0.0.1/ https://127.0.0.1/
"""
FORBIDDEN = FORBIDDEN_TEXT.split()

connections: list[tuple[str, int]] = []
watching: list[int] = []  # while it is not empty no connection is made, except to these ports


def watch(event: str, arguments: tuple) -> None:
    if event == "socket.connect" and watching and isinstance(arguments[1], tuple):
        if arguments[1][1] in watching:
            return
        connections.append(arguments[1][:2])
        raise ConnectionRefusedError("no connection may be made here")


sys.addaudithook(watch)
NAMES = {
    "localhost": ["127.0.0.1"],
    "local.localhost": ["127.0.0.1"],
    "internal.example": ["10.1.2.3", "fd00::5"],
    "mixed.example": ["169.254.169.254", "::ffff:10.0.0.1"],
}


def fake_getaddrinfo(host, port, *args, **kwargs):
    """A resolver that answers for the names here, and for one of them otherwise every time it is asked."""
    name = str(host).lower().rstrip(".")
    if name == "rebound.example":
        addresses = ["127.0.0.1"]
    elif name in NAMES:
        addresses = NAMES[name]
    else:
        ipaddress.ip_address(name)
        addresses = [name]
    families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
    return [(f, socket.SOCK_STREAM, 6, "", (a, port)) for f, a in zip(families, addresses)]


def crawl_rows(folder, urls, **options):
    write_records(folder / "links" / "part-00000.jsonl", [{"url": url} for url in urls])
    crawl(folder / "links", folder / "pages", delay_seconds=0.0, timeout_seconds=5, **options)
    rows = [orjson.loads(line) for line in (folder / "pages" / "part-00000.index.jsonl").open("rb")]
    return {row["url"]: row["outcome"] for row in rows}


@pytest.fixture
def no_connections(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", fake_getaddrinfo)
    connections.clear()
    watching.append(0)
    yield connections
    watching.clear()


def test_sixty_forbidden_addresses_are_never_connected_to(tmp_path, no_connections):
    assert len(FORBIDDEN) >= 60
    found = crawl_rows(tmp_path, FORBIDDEN)
    assert no_connections == []
    assert {
        url: found[url] for url in FORBIDDEN if url.startswith(("file:", "ftp:", "gopher:", "dict:"))
    } == {
        "file:///etc/passwd": "invalid_url",
        "ftp://127.0.0.1/": "invalid_url",
        "gopher://127.0.0.1:70/_": "invalid_url",
        "dict://127.0.0.1:11211/": "invalid_url",
    }
    assert found.pop("http://93.184.216.34:22/") == "blocked_port"
    assert set(found.values()) == {"blocked_address", "invalid_url"}
    assert list(found.values()).count("invalid_url") == 4


def test_redirects_to_forbidden_addresses_are_never_followed(web, tmp_path, no_connections, monkeypatch):
    targets = [url for url in FORBIDDEN if url.startswith("http") and "localhost" not in url.lower()]
    watching.append(web.port)
    from fourhorn.webtext.crawler import Crawler

    redirect = Crawler._redirect
    plain = dict(zip([f"http://from{i}.example/move/x" for i in range(len(targets))], targets))

    def redirect_away(self, visit, answer):
        target = plain[visit.url.href]
        redirect(self, visit, type(answer)(302, "", ((b"Location", target.encode()),), b"", b""))

    monkeypatch.setattr(Crawler, "_redirect", redirect_away)
    found = crawl_rows(tmp_path, list(plain), resolve=hosts_for(tmp_path, web), allow_private=("127.0.0.1",))
    # The web itself is on 127.0.0.1, which therefore is allowed, in its mapped form too; nothing else was tried but
    # the one public address, whose port is open to a crawl that may reach private networks.
    assert {address for address, _ in no_connections} == {"127.0.0.1", "::ffff:7f00:1", "93.184.216.34"}
    assert len([outcome for outcome in found.values() if outcome == "blocked_address"]) >= 30


def hosts_for(folder, web):
    path = folder / "hosts"
    path.write_text(f"*.example 127.0.0.1:{web.port}\nrebound.example mixed.example 10.0.0.1\n")
    return path


def test_a_name_that_turns_private_after_its_check_is_caught_at_the_socket(
    tmp_path, no_connections, monkeypatch
):
    # The resolver's own check passes; what aiohttp then connects to is another address.
    from fourhorn.webtext import addresses

    async def lying_resolve(self, host, port=0, family=0):
        return [
            {
                "hostname": host,
                "host": "127.0.0.1",
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
        ]

    monkeypatch.setattr(addresses.Resolver, "resolve", lying_resolve)
    assert crawl_rows(tmp_path, ["http://public.example/"]) == {"http://public.example/": "blocked_address"}
    assert no_connections == []


def test_public_addresses_are_public():
    for text in [
        "8.8.8.8",
        "93.184.216.34",
        "2606:4700::1111",
        "64:ff9b::808:808",
        "2002:808:808::1",
        "::ffff:8.8.8.8",
    ]:
        assert is_public(ipaddress.ip_address(text)), text


def test_the_guard_hands_out_sockets_for_permitted_addresses_only():
    guard = Guard(["127.0.0.0/8"])
    sock = guard.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
    sock.close()
    assert guard.permits("::ffff:127.0.0.1")
    for address in ["10.0.0.1", "::1", "nonsense"]:
        with pytest.raises(BlockedAddress):
            guard.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)))
    with pytest.raises(BlockedAddress):
        guard.socket((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "/run/docker.sock"))


def test_the_hosts_file_takes_ports_wildcards_and_both_orders(tmp_path):
    path = tmp_path / "hosts"
    path.write_text(
        "a.example b.example 127.0.0.1:8080 # two\n10.0.0.1 c.example\n*.d.example [::1]:99\n\n* 127.0.0.2\n"
    )
    hosts = Hosts(path)
    assert hosts.find("A.example.") == ("127.0.0.1", 8080)
    assert hosts.find("b.example") == ("127.0.0.1", 8080)
    assert hosts.find("c.example") == ("10.0.0.1", None)
    assert hosts.find("x.y.d.example") == ("::1", 99)
    assert hosts.find("elsewhere.org") == ("127.0.0.2", None)
    path.write_text("a.example nowhere\n")
    with pytest.raises(UserError, match=r"line 1.*example.com 127.0.0.1:8080"):
        Hosts(path)
