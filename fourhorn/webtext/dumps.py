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
from typing import Any

import msgspec
import orjson
from msgspec import UNSET

from fourhorn.errors import UserError

SKIP = "skip"  # an empty line or a comment: no item at all
_GONE = ("[deleted]", "[removed]", "[deleted by user]")
_UTC = datetime.UTC


class _Dumped(msgspec.Struct, gc=False):
    """The fields of a dump's row that count, of any type, for dumps have had several; all others are skipped unread.

    In the dumps' own order, that of the alphabet: the decoder looks for each key first behind the one before, and a
    field fewer makes every unknown key cheaper.
    """

    created_utc: Any = UNSET
    is_self: Any = False
    removed_by_category: Any = None
    score: Any = UNSET
    selftext: Any = None
    subreddit: Any = UNSET
    title: Any = None
    url: Any = None


class _Row(_Dumped, gc=False):
    """What also counts where `score` is no integer or there is no `created_utc`: old dumps, other programs' links."""

    date: Any = None
    downs: Any = None
    karma: Any = UNSET
    ups: Any = UNSET


_read_dumped = msgspec.json.Decoder(_Dumped).decode
_read_row = msgspec.json.Decoder(_Row).decode


class Submission(msgspec.Struct, frozen=True, gc=False):
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
            row = _read_dumped(line)
            whole = type(row.score) is int and row.created_utc is not UNSET
            return _judge(row if whole else _read_row(line))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return "malformed_line"
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
    first = text.partition(" ")[0].partition("\t")[0]
    if "://" not in first and first.endswith((".warc.gz", ".warc.wet.gz", ".warc.wat.gz")):
        raise UserError(
            f"{first[:80]!r} is an entry of a WARC listing: its pages are fetched already. "
            "Give the listing to extract instead: fourhorn webtext extract warc.paths.gz raw"
        )
    return Submission(first, None, None, None, None) if "://" in first[:12] else "malformed_line"


def _judge(row: _Dumped) -> Submission | str:
    """The submission in one JSON row, or the reason of its drop."""
    url, title = row.url, row.title
    if row.is_self:
        return "self_post"
    if not url or url in _GONE or title in _GONE or row.selftext in _GONE or row.removed_by_category:
        return "deleted"
    if type(url) is not str:
        return "malformed_line"
    karma, when = row.score, row.created_utc
    if isinstance(row, _Row):
        karma, when = _karma(row), row.date if when is UNSET else when
        if karma is None and not (row.score is row.ups is row.subreddit is UNSET):
            return "no_karma"  # a Reddit row, which should have it
    created = _created(when)
    if created is None and row.created_utc is not UNSET:
        return "malformed_line"
    if "&" in url:
        # Reddit escapes exactly these. html.unescape would also turn `&copy=1` into a copyright sign.
        url = url.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    subreddit = row.subreddit if type(row.subreddit) is str else None
    return Submission(url, karma, created, title if type(title) is str else None, subreddit)


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


def _karma(row: _Row) -> int | None:
    """Karma where `score` is no integer: old dumps count `ups` and `downs`, some sources write numbers as strings."""
    score = row.karma if row.score is UNSET else row.score
    if type(score) is int:
        return score
    if isinstance(score, str | float):
        try:
            return int(float(score))
        except (ValueError, OverflowError):
            return None
    if type(row.ups) is int:
        return row.ups - row.downs if type(row.downs) is int else row.ups
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
