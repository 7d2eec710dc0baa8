import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourhorn.webtext import urls


def key(text: str) -> str | None:
    url = urls.parse(text)
    return urls.page_key(url) if url else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HTTP://WWW.Example.com:80/a/../b%7E?utm_source=x&b=2&a=1#top", "example.com/b~?a=1&b=2"),
        ("https://example.com", "example.com/"),
        ("http://example.com/?", "example.com/"),
        ("http://example.com:8080/", "example.com:8080/"),
        ("http://user:secret@example.com/", "example.com/"),
        ("http://bücher.de/ä", "xn--bcher-kva.de/%C3%A4"),
        ("http://example.com/a%2fb%41", "example.com/a%2FbA"),
        ("http://example.com/?b=2&a=2&a=1&fbclid=x&UTM_Campaign=y", "example.com/?a=2&a=1&b=2"),
        ("http://example.com/#!/page/7", "example.com/#!/page/7"),
        ("http:\\\\example.com\\a", "example.com/a"),
        (" http://example.com/a b\n", "example.com/a%20b"),
        ("http://example.com./x", "example.com/x"),
        ("http://2130706433/", "127.0.0.1/"),
        ("http://①②⑦.0.0.1/", "127.0.0.1/"),
        ("http://[::FFFF:7f00:1]/", "[::ffff:7f00:1]/"),
        ("ftp://example.com/", None),
        ("javascript:alert(1)", None),
        ("http://a b/", None),
        ("http://ex..com/", None),
        ("http:///", None),
        ("not a url", None),
        ("http://example.com/\ud800", None),
        ("http://example.com/" + "a" * 5000, None),
    ],
)
def test_page_key(text, expected):
    assert key(text) == expected


def test_scheme_www_and_tracking_do_not_make_another_page_but_path_and_query_do():
    same = [
        "http://x.org/p?q=1",
        "https://www.x.org/p?utm_medium=mail&q=1#s",
        "HTTPS://X.ORG:443/p?q=1&gclid=3",
    ]
    assert len({key(text) for text in same}) == 1
    other = ["http://x.org/P?q=1", "http://x.org/p/?q=1", "http://x.org/p", "http://y.x.org/p?q=1"]
    assert len({key(text) for text in [same[0], *other]}) == 5


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=60))
def test_a_key_is_a_fixed_point(tail):
    first = key(f"http://example.com/{tail}")
    if first is not None:
        assert key(f"https://{first}") == first


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("../d?x", "http://a.com/d?x"),
        ("//b.com", "http://b.com/"),
        ("\\\\evil.com/a", "http://evil.com/a"),
        ("?a\\b", "http://a.com/b/c?a\\b"),
        ("/a\nb", "http://a.com/ab"),
        ("file:///etc/passwd", None),
        ("http://[::1", None),
    ],
)
def test_join_resolves_a_location_as_browsers_do(reference, expected):
    url = urls.join("http://a.com/b/c", reference)
    assert (url.href if url else None) == expected


def test_registered_domain_knows_public_suffixes():
    assert urls.registered_domain("news.bbc.co.uk") == "bbc.co.uk"
    assert urls.registered_domain("me.blogspot.com") == "blogspot.com"
    assert urls.registered_domain("127.0.0.1") == "127.0.0.1"
    assert urls.registered_domain("local-name") == "local-name"


def test_ids_are_stable():
    assert urls.key_id("example.com/b~?a=1&b=2") == "4aa3b3a9c6cf99ce5897a8200baa9035"
    assert urls.url_id("http://www.example.com/") == urls.url_id("https://example.com")
