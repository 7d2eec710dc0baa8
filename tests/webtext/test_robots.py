import pytest

from fourhorn.webtext.robots import MAX_ROBOTS_BYTES, rules_of


def rules(body: bytes, status: int = 200):
    return rules_of(status, body, max_delay_seconds=30)


def test_rules_for_this_crawler_go_before_rules_for_all():
    found = rules(
        b"User-agent: *\nDisallow: /\n\nUser-agent: fourhorn\nDisallow: /private\nAllow: /private/open\n"
    )
    assert found.allows("http://e.com/page")
    assert not found.allows("http://e.com/private/x")
    assert found.allows("http://e.com/private/open")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_missing_file_allows_everything(status):
    assert rules(b"User-agent: *\nDisallow: /\n", status).allows("http://e.com/x")


@pytest.mark.parametrize("status", [429, 500, 503, 204])
def test_a_file_that_cannot_be_had_closes_the_host(status):
    assert rules(b"", status).refusal == "robots_unreachable"


def test_crawl_delay_is_honored_up_to_the_cap():
    assert rules(b"User-agent: *\nCrawl-delay: 2.5\n").delay_seconds == 2.5
    assert rules(b"User-agent: *\nCrawl-delay: 31\n").refusal == "crawl_delay_too_long"


@pytest.mark.parametrize("body", [b"", b"\xef\xbb\xbf", b"\0\xff" * 999, b"<html>not a robots file</html>"])
def test_nonsense_allows_everything(body):
    assert rules(body).allows("http://e.com/x")


def test_a_huge_file_counts_as_far_as_it_is_read():
    body = b"User-agent: *\n" + b"Disallow: /a\n" * (MAX_ROBOTS_BYTES // 13) + b"Disallow: /late\n" * 100
    found = rules(body)
    assert not found.allows("http://e.com/a")
    assert found.allows("http://e.com/late")
