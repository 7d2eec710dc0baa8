"""robots.txt: what a host lets this crawler fetch, and how fast (RFC 9309).

A file that is there is obeyed for the token `fourhorn`; one that is not (any 4xx but 429) allows everything; a
host that cannot give it (429, 5xx, network errors) is left alone. Files are cut at 500 KiB, the least that the
RFC asks for. Parsing and matching are Protego's. `Crawl-delay` is honored; a host that asks for more than the cap
is left alone too.
"""

from dataclasses import dataclass
from typing import Any

from protego import Protego

AGENT = "fourhorn"
MAX_ROBOTS_BYTES = 500 << 10


@dataclass(frozen=True, slots=True)
class Rules:
    """What one host allows; `refusal` is the reason when the whole host must be left alone."""

    parsed: Any = None
    refusal: str | None = None
    delay_seconds: float = 0.0

    def allows(self, url: str) -> bool:
        """Whether a URL of this host may be fetched."""
        return self.parsed is None or bool(self.parsed.can_fetch(url, AGENT))


ALLOW_ALL = Rules()


def rules_of(status: int, body: bytes, *, max_delay_seconds: float) -> Rules:
    """The rules in an answer to the request for robots.txt."""
    if 400 <= status < 500 and status != 429:
        return ALLOW_ALL
    if status != 200:
        return Rules(refusal="robots_unreachable")
    text = body[:MAX_ROBOTS_BYTES].decode("utf-8", "replace").removeprefix("\ufeff").replace("\0", "")
    if not text.strip():
        return ALLOW_ALL
    parsed = Protego.parse(text)
    delay = float(parsed.crawl_delay(AGENT) or 0.0)
    if not 0 <= delay <= max_delay_seconds:
        return Rules(refusal="crawl_delay_too_long")
    return Rules(parsed=parsed, delay_seconds=delay)
