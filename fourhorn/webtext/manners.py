"""How a crawl behaves: its limits towards hosts and towards itself, written once and handed to every part of it.

Times are in seconds, sizes in bytes. The values follow what §2.1 needs from a crawler that others must be able to
live with: one request at a time and a pause on each host, Common Crawl's five seconds by default.
"""

from dataclasses import asdict, dataclass
from typing import Any

from fourhorn.errors import UserError
from fourhorn.files import sha256_file
from fourhorn.webtext.addresses import Guard, Hosts
from fourhorn.webtext.sites import Sites


@dataclass(frozen=True)
class Manners:
    """The options of `crawl` that decide how pages are asked for; each is explained there."""

    connections: int = 256
    delay_seconds: float = 5.0
    max_delay_seconds: float = 30.0
    timeout_seconds: float = 30.0
    max_page_bytes: int = 10 << 20
    min_bytes_per_second: float = 500.0
    max_attempts: int = 3
    retry_seconds: float = 10.0
    max_wait_seconds: float = 300.0
    max_pages_per_host: int = 0
    contact: str | None = None
    allow_private: tuple[str, ...] = ()
    resolve: str | None = None
    blocklist: str | None = None
    verify_tls: bool = True

    def check(self) -> None:
        """Raise a `UserError` for a value out of range and for files that cannot be read."""
        for name in ("connections", "timeout_seconds", "max_page_bytes", "max_attempts"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} is {getattr(self, name)}; give a number above 0.")
        for name in (
            "delay_seconds",
            "max_delay_seconds",
            "retry_seconds",
            "max_wait_seconds",
            "max_pages_per_host",
        ):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} is {getattr(self, name)}; give 0 or more.")
        Guard(self.allow_private)
        self.sites()
        self.hosts()

    def sites(self) -> Sites:
        """Where links and redirects may not lead."""
        return Sites(self.blocklist)

    def hosts(self) -> Hosts | None:
        """The hosts file, read."""
        return Hosts(self.resolve) if self.resolve else None

    def recorded(self) -> dict[str, Any]:
        """The options that a result depends on, for its manifest."""
        options = asdict(self)
        del options["connections"], options["resolve"]
        options["allow_private"] = list(self.allow_private)
        options["blocklist"] = sha256_file(self.blocklist) if self.blocklist else None
        return options
