import pytest

from fourhorn.errors import UserError
from fourhorn.webtext import urls
from fourhorn.webtext.sites import MEDIA, REDDIT, WIKIPEDIA, Sites


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://old.reddit.com/r/x", "reddit"),
        ("http://redd.it/abc", "reddit"),
        ("https://de.m.wikipedia.org/wiki/A", "wikipedia"),
        ("https://www.wikiwand.com/en/A", "wikipedia"),
        ("http://en.wiki.edu.vn/A", "wikipedia"),
        ("http://other.edu.vn/A", None),
        ("https://i.imgur.com/x", "media"),
        ("http://example.com/photo.JPG?size=1", "media"),
        ("http://example.com/paper.pdf", "media"),
        ("http://example.com/jpg", None),
        ("http://notwikipedia.org/wiki", None),
        ("http://wikipedia.org.example.com/", None),
    ],
)
def test_refusal(url, reason):
    assert Sites().refusal(urls.parse(url)) == reason


def test_a_blocklist_blocks_domains_and_single_hosts(tmp_path):
    path = tmp_path / "blocked.txt"
    path.write_text("# mine\nspam.example.com\n*.bad.org  # all of it\n\n")
    sites = Sites(path)
    assert sites.refusal(urls.parse("http://a.spam.example.com/")) == "blocked_domain"
    assert sites.refusal(urls.parse("http://www.bad.org/")) == "blocked_domain"
    assert sites.refusal(urls.parse("http://example.com/")) is None
    path.write_text("http://bad.org/\n")
    with pytest.raises(UserError, match=r"line 1: 'http://bad.org/' is no domain"):
        Sites(path)


def test_no_site_is_on_two_lists():
    assert not (REDDIT & MEDIA) | (REDDIT & WIKIPEDIA) | (MEDIA & WIKIPEDIA)
