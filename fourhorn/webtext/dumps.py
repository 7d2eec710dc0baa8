"""Submissions: one line of any source of links turned into one `Submission`, or into the reason why it is none.

§2.1 starts from "all outbound links from Reddit ... which received at least 3 karma". A source is lines, plain or
compressed, and each line tells its own kind:

- a Reddit submission as Pushshift and Arctic Shift dump them (`RS_YYYY-MM.zst`): `created_utc` an integer or a string,
  `score` possibly null or missing (then `ups` - `downs`), `is_self` missing in the oldest, `&amp;` in URLs;
- any JSON object with `url`, and, if known, `karma` and `date`: another program's links;
- a plain URL, the line's first word (`#` begins a comment);
- a line of a Common Crawl index (CDXJ), of which HTML pages with status 200 are taken.

Where karma is unknown because the source has none, a link is kept; a Reddit row whose score is null is not.
"""

import datetime
from dataclasses import dataclass
from typing import Any

import orjson

from fourhorn.errors import UserError

SKIP = "skip"  # an empty line or a comment: no item at all
_GONE = frozenset(["[deleted]", "[removed]", "[deleted by user]"])
_GONE_URLS = frozenset([None, "", "[deleted]", "[removed]"])
_SCORE_FIELDS = ("score", "ups", "permalink", "subreddit")
_UTC = datetime.UTC


@dataclass(frozen=True, slots=True)
class Submission:
    """One link as someone posted it; `created` in seconds since 1970, None where the source does not know."""

    url: str
    karma: int | None
    created: int | None
    title: str | None
    subreddit: str | None


def read_line(line: bytes) -> Submission | str:
    """The submission in one line, or the reason of its drop, or `SKIP`."""
    if line[:1] == b"{":
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            return "malformed_line"
        return read_row(row)
    line = line.strip()
    if not line or line[:1] == b"#":
        return SKIP
    if line[:1] == b"{":
        return read_line(line)
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return "malformed_line"
    if text.endswith("}") and " {" in text:
        return _read_cdxj(text)
    first = text.split(None, 1)[0]
    if "://" not in first and first.endswith((".warc.gz", ".warc.wet.gz", ".warc.wat.gz")):
        raise UserError(
            f"{first[:80]!r} is an entry of a WARC listing: its pages are fetched already. "
            "Give the listing to extract instead: fourhorn webtext extract warc.paths.gz raw"
        )
    return Submission(first, None, None, None, None) if "://" in first[:12] else "malformed_line"


def read_row(row: dict[str, Any]) -> Submission | str:
    """The submission in one JSON row, or the reason of its drop."""
    url, title = row.get("url"), row.get("title")
    if row.get("is_self"):
        return "self_post"
    if url in _GONE_URLS or title in _GONE or row.get("selftext") in _GONE or row.get("removed_by_category"):
        return "deleted"
    if type(url) is not str:
        return "malformed_line"
    karma = row.get("score", row.get("karma"))
    if type(karma) is not int:
        karma = _karma(row)
        if karma is None and any(name in row for name in _SCORE_FIELDS):
            return "no_karma"
    created = _created(row.get("created_utc", row.get("date")))
    if created is None and "created_utc" in row:
        return "malformed_line"
    subreddit = row.get("subreddit")
    if "&" in url:
        # Reddit escapes exactly these. html.unescape would also turn `&copy=1` into a copyright sign.
        url = url.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return Submission(
        url,
        karma,
        created,
        title if type(title) is str else None,
        subreddit if type(subreddit) is str else None,
    )


def iso_date(seconds: int) -> str:
    """`2017-12-31T23:59:59Z`."""
    return datetime.datetime.fromtimestamp(seconds, _UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def end_of_day(date: str) -> int:
    """The last second of a day given as `2017-12-31`, in UTC; anything else is a `UserError`."""
    try:
        day = datetime.datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=_UTC)
    except ValueError:
        raise UserError(
            f"until is {date!r}. Give a day, as 2017-12-31; links of that day are still taken."
        ) from None
    return int(day.timestamp()) + 86_399


def _karma(row: dict[str, Any]) -> int | None:
    """Karma where `score` is no integer: old dumps count `ups` and `downs`, some sources write numbers as strings."""
    score = row.get("score", row.get("karma"))
    if isinstance(score, str | float) and not isinstance(score, bool):
        try:
            return int(float(score))
        except (ValueError, OverflowError):
            return None
    ups, downs = row.get("ups"), row.get("downs")
    if type(ups) is int:
        return ups - downs if type(downs) is int else ups
    return None


def _created(value: Any) -> int | None:
    """Seconds since 1970 of an integer, a number in a string (2014-2015), or an ISO date."""
    if type(value) is int:
        return value if 0 <= value < 1 << 33 else None
    if isinstance(value, float):
        return _created(int(value)) if value == value and abs(value) < 1e12 else None
    if not isinstance(value, str):
        return None
    if value.isascii() and value.isdigit() and len(value) < 12:
        return _created(int(value))
    try:
        parsed = datetime.datetime.fromisoformat(value)
    except ValueError:
        try:
            return _created(float(value))
        except ValueError:
            return None
    return _created(int(parsed.replace(tzinfo=parsed.tzinfo or _UTC).timestamp()))


def _read_cdxj(text: str) -> Submission | str:
    """A line of a Common Crawl index: `com,example)/ 20171201000000 {"url": ..., "mime": ..., "status": ...}`."""
    head, _, tail = text.partition(" {")
    try:
        row = orjson.loads("{" + tail)
        when = datetime.datetime.strptime(head.split()[-1], "%Y%m%d%H%M%S").replace(tzinfo=_UTC)
    except (ValueError, IndexError):
        return "malformed_line"
    url = row.get("url")
    if type(url) is not str:
        return "malformed_line"
    if str(row.get("status", "200")) != "200":
        return "bad_status"
    mime = str(row.get("mime-detected") or row.get("mime") or "text/html")
    if mime not in ("text/html", "application/xhtml+xml"):
        return "media"
    return Submission(url, None, int(when.timestamp()), None, None)
