"""One page, one key: URLs parsed by the WHATWG rules, and the key under which a page is counted once.

§2.1 of the paper collects outbound links; many are the same page written differently. The original URL is kept for
fetching, the key only decides what is the same. It is the WHATWG serialization without scheme, `www.`, credentials,
default port, fragment and tracking parameters, with the query sorted by name and needless percent-encoding undone:

    HTTP://WWW.Example.com:80/a/../b%7E?utm_source=x&b=2&a=1#top  →  example.com/b~?a=1&b=2

Parsing is ada's (https://url.spec.whatwg.org). A URL that no browser would open, or that is not http(s), is None.
"""

import functools
import hashlib
import re
from typing import Any
from urllib.parse import urljoin

import can_ada
import tldextract

MAX_URL_CHARS = 4096

# Parameters that name the way a reader came, not the page. Lower case; the prefixes cover families.
_TRACKING = """
    _ga _gl _hsenc _hsmi __hssc __hstc __hsfp _openstat cmpid dclid fb_ref fb_source fbclid gbraid gclid gclsrc
    hsctatracking icid igsh igshid mc_cid mc_eid mkt_tok msclkid ncid oly_anon_id oly_enc_id ref_src ref_url
    s_cid smid smtyp sr_share ttclid twclid vero_conv vero_id wbraid wickedid wt.mc_id xtor yclid
"""
TRACKING_NAMES = frozenset(_TRACKING.split())
TRACKING_PREFIXES = ("utm_", "pk_", "piwik_", "mtm_", "matomo_", "hsa_", "fb_action_", "at_custom")

_IGNORED = re.compile(r"[\t\r\n]")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def parse(text: str) -> Any | None:
    """The parsed http(s) URL without credentials (`href`, `hostname`, `port`, `pathname`, `search`), or None."""
    if len(text) > MAX_URL_CHARS:
        return None
    try:
        url = can_ada.parse(text)
    except (ValueError, TypeError):  # TypeError: a lone surrogate, which has no UTF-8 form
        return None
    if url.protocol not in ("http:", "https:") or not _good_host(url.hostname):
        return None
    url.username = ""
    url.password = ""
    return url


def join(base: str, reference: str) -> Any | None:
    """A redirect's `Location` resolved against the URL it came from; None as in `parse`."""
    if len(reference) > MAX_URL_CHARS:
        return None
    reference = _IGNORED.sub("", reference.strip())
    before, mark, rest = reference.partition("?")
    try:
        return parse(urljoin(base, before.replace("\\", "/") + mark + rest))
    except ValueError:  # a malformed bracketed host
        return None


def page_key(url: Any) -> str:
    """The key of a parsed URL: equal for all spellings of one page."""
    host = url.host.removeprefix("www.")
    if host.endswith("."):
        host = host[:-1]
    path = url.pathname
    if url.has_search:
        query = _sorted_query(url.search[1:])
        if query:
            path = f"{path}?{query}"
    if url.has_hash and url.hash.startswith("#!"):  # a page address of old single-page sites
        path += url.hash
    if "%" in path:
        path = _ESCAPE.sub(_plain_escape, path)
    return f"{host}{path}"


def key_id(key: str) -> str:
    """A stable 128-bit hash of a key, as 32 hexadecimal digits: the `id` of link, page and document."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def url_id(text: str) -> str:
    """The id of any string that is meant as a URL, parsable or not."""
    url = parse(text)
    return key_id(page_key(url) if url else text)


def domain_of(text: str) -> str | None:
    """The registered domain of a URL's host, or None when it is no http(s) URL."""
    url = parse(text)
    return registered_domain(url.hostname) if url else None


@functools.lru_cache(maxsize=1 << 17)
def registered_domain(host: str) -> str:
    """`bbc.co.uk` for `news.bbc.co.uk`, by the public suffix list shipped with tldextract; a bare host is itself."""
    found = _extractor()(host)
    return f"{found.domain}.{found.suffix}" if found.domain and found.suffix else host


@functools.cache
def _extractor() -> Any:
    # No download, no cache folder: the list inside the package alone, so that results depend on its version only.
    return tldextract.TLDExtract(suffix_list_urls=(), fallback_to_snapshot=True, cache_dir=None)


def _good_host(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    return host.startswith("[") or (len(host) <= 254 and all(0 < len(label) <= 63 for label in labels))


def _sorted_query(query: str) -> str:
    kept = []
    for pair in query.split("&"):
        name = pair.partition("=")[0].lower()
        if pair and name not in TRACKING_NAMES and not name.startswith(TRACKING_PREFIXES):
            kept.append(pair)
    if len(kept) > 1:
        kept.sort(key=_name)
    return "&".join(kept)


def _name(pair: str) -> str:
    return pair.partition("=")[0]


def _plain_escape(match: re.Match[str]) -> str:
    character = chr(int(match[0][1:], 16))
    return character if character in _UNRESERVED else match[0].upper()
