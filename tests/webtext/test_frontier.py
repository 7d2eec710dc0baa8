import math

from fourhorn.webtext import urls
from fourhorn.webtext.frontier import Frontier, Visit


def visit(url: str) -> Visit:
    return Visit(0, url, b"", urls.parse(url))


def test_a_host_is_out_until_it_is_given_back_and_rests_until_its_time():
    frontier = Frontier()
    for url in ("http://a.com/1", "http://a.com/2", "http://b.com/1"):
        frontier.add(visit(url))
    first, second = frontier.take(0.0), frontier.take(0.0)
    assert (first.name, second.name) == ("a.com", "b.com")
    assert frontier.take(0.0) is None
    assert frontier.next_visit(first).id == "http://a.com/1"
    frontier.give_back(first, 5.0)
    assert frontier.take(4.9) is None
    assert frontier.ready_at() == 5.0
    assert frontier.take(5.0) is first
    assert frontier.n_waiting == 2


def test_a_host_without_visits_wakes_when_it_gets_one_and_keeps_its_pause():
    frontier = Frontier()
    host = frontier.add(visit("http://a.com/1"))
    assert frontier.take(0.0) is host
    frontier.next_visit(host)
    frontier.give_back(host, 9.0)
    assert frontier.ready_at() == math.inf
    frontier.add(visit("http://a.com/2"))
    assert frontier.take(8.0) is None
    assert frontier.take(9.0) is host


def test_a_deferred_visit_comes_first_at_its_time_while_its_host_goes_on():
    frontier = Frontier()
    frontier.add(visit("http://a.com/1"))
    frontier.defer(visit("http://a.com/again"), 3.0)
    assert frontier.n_waiting == 2
    host = frontier.take(0.0)
    assert frontier.next_visit(host).id == "http://a.com/1"
    frontier.give_back(host, 0.0)
    assert frontier.take(2.9) is None
    assert frontier.ready_at() == 3.0
    assert frontier.next_visit(frontier.take(3.0)).id == "http://a.com/again"
    assert frontier.n_waiting == 0


def test_idle_hosts_are_forgotten_and_busy_or_resting_ones_are_not():
    frontier = Frontier()
    for name in ("idle", "resting", "out", "waiting"):
        frontier.add(visit(f"http://{name}.com/1"))
    idle, resting, _out = (frontier.take(0.0) for _ in range(3))
    for host, ready_at in ((idle, 0.0), (resting, 50.0)):
        frontier.next_visit(host)
        frontier.give_back(host, ready_at)
    frontier.forget_idle(1.0)
    assert set(frontier.hosts) == {"resting.com", "out.com", "waiting.com"}
