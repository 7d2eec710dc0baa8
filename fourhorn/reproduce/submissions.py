"""A month or three of Reddit submissions that link to the local web, in the real dump format.

§2.1 starts from "all outbound links from Reddit … which received at least 3 karma". The dump has what real ones have:
posts below the threshold, self posts, deleted posts, reposts with tracking parameters, links to Wikipedia and to
images, posts after December 2017, `created_utc` as a string in one file, null scores, and a line that is no JSON.

Out: `RS_2017-11.zst`, `RS_2017-12.zst`, `RS_2018-01.zst`, and `manifest.json` with the number of each kind planted.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from fourhorn.files import Manifest, atomic_write, finished, sha256_file, write_manifest
from fourhorn.records import iter_records
from fourhorn.reproduce.local_web import Row, draw
from fourhorn.zstd import CompressionParameter, compress

MONTHS = {"2017-11": 1509494400, "2017-12": 1512086400, "2018-01": 1514764800}  # first second of each, UTC
MONTH_SECONDS = 30 * 86400
# Real dumps have a 2 GiB window; a reader must reserve as much. 128 MiB is enough for this one.
WINDOW_LOG = 27
SUBREDDITS = (
    "programming",
    "Python",
    "MachineLearning",
    "math",
    "learnprogramming",
    "datascience",
    "todayilearned",
)
WORDS = (
    "Interesting",
    "TIL about",
    "Guide:",
    "Documentation of",
    "How to use",
    "Notes on",
    "Explained:",
    "PSA:",
)


def submissions(source: Path, destination: Path) -> Manifest:
    """Write Reddit dumps whose submissions link to the pages of a local web.

    Args:
        source: Folder of the local web.
        destination: Folder to write the dumps to.
    """
    source, destination, started = Path(source), Path(destination), time.monotonic()
    inputs = {"pages.jsonl.zst": sha256_file(source / "pages.jsonl.zst")}
    if done := finished(destination, "submissions", {}, inputs):
        return done
    kinds: Counter[str] = Counter()
    lines: dict[str, list[tuple[int, bytes]]] = {month: [] for month in MONTHS}
    for number, (kind, post) in enumerate(posts(iter_records(source / "pages.jsonl.zst"))):
        kinds[kind] += 1
        month = (
            "2018-01"
            if kind == "after_cutoff"
            else "2017-12"
            if draw("month", str(number)) < 0.5
            else "2017-11"
        )
        when = MONTHS[month] + int(draw("when", str(number)) * MONTH_SECONDS)
        lines[month].append((when, submission(number, when, month, post)))
    outputs = {}
    for month, rows in lines.items():
        path = destination / f"RS_{month}.zst"
        broken = b'{"id": "cut off in the mid\n' if month == "2017-12" else b""
        write_dump(path, b"".join(line for _, line in sorted(rows)) + broken)
        outputs[path.name] = {
            "sha256": sha256_file(path),
            "n_bytes": path.stat().st_size,
            "n_items": len(rows),
        }
    kinds["malformed_line"] = 1
    n = sum(kinds.values())
    manifest = Manifest(
        "submissions", {}, inputs, n, n, {}, outputs, time.monotonic() - started, {"kinds": dict(kinds)}
    )
    write_manifest(destination, manifest)
    return manifest


def write_dump(path: Path, data: bytes) -> None:
    """One zstd frame with a long window, as the real dumps are."""
    options: dict[int, int] = {
        CompressionParameter.compression_level: 3,
        CompressionParameter.window_log: WINDOW_LOG,
        CompressionParameter.enable_long_distance_matching: 1,
    }
    with atomic_write(path) as file:
        file.write(compress(data, options=options))


def posts(rows: Iterator[Row]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is posted: each page of the web, many twice, and what people post beside links to pages."""
    for row in rows:
        url = f"http://{row['host']}{row['path']}"
        chance = draw("post", url)
        score = 3 + int(2000 * draw("score", url) ** 8)
        post = {"url": url, "score": score, "title": row["title"]}
        if chance < 0.06:
            yield "low_karma", {**post, "score": int(chance * 50)}
            continue
        if chance < 0.09:
            yield "after_cutoff", post
            continue
        yield row["kind"], post
        if chance < 0.20:
            yield "repost", {**post, "url": f"{url}?utm_source=reddit&utm_medium=social", "score": score + 40}
        elif chance < 0.28:
            yield "repost_low", {**post, "url": f"{url}#top", "score": 1}
    for number in range(400):
        yield "self_post", {"url": None, "score": 50, "title": f"Question {number}", "is_self": True}
    for number in range(120):
        url = f"https://en.wikipedia.org/wiki/Article_{number}"
        yield "wikipedia", {"url": url, "score": 90, "title": f"Article {number}"}
        yield (
            "media",
            {"url": f"https://i.redd.it/{number:06x}.jpg", "score": 900, "title": f"Picture {number}"},
        )
    for number in range(60):
        url = f"http://numpy-docs.test/deleted/{number}.html"
        yield (
            "deleted",
            {"url": url, "score": 12, "title": "[deleted]", "author": "[deleted]", "removed": True},
        )
        yield (
            "null_score",
            {"url": f"http://stubs.test/null/{number}.html", "score": None, "title": "No score"},
        )


def submission(number: int, when: int, month: str, post: dict[str, Any]) -> bytes:
    """One line of the dump, with the field names of the real ones."""
    identity = f"7{number:05x}"
    is_self = bool(post.get("is_self"))
    subreddit = SUBREDDITS[int(draw("subreddit", str(number)) * len(SUBREDDITS))]
    permalink = f"/r/{subreddit}/comments/{identity}/_/"
    url = f"https://www.reddit.com{permalink}" if is_self else post["url"]
    word = WORDS[int(draw("word", str(number)) * len(WORDS))]
    row = {
        "id": identity,
        "author": post.get("author", f"user_{int(draw('author', str(number)) * 5000)}"),
        "created_utc": str(when) if month == "2017-11" else when,
        "retrieved_on": when + 40 * 86400,
        "domain": f"self.{subreddit}" if is_self else url.split("/")[2],
        "url": url.replace("&", "&amp;"),
        "title": f"{word} {post['title']}",
        "score": post["score"],
        "num_comments": int(draw("comments", str(number)) * 80),
        "is_self": is_self,
        "selftext": "Has anyone tried this?" if is_self else "[deleted]" if post.get("removed") else "",
        "subreddit": subreddit,
        "subreddit_id": f"t5_{int(draw(subreddit) * 1e5):x}",
        "permalink": permalink,
        "over_18": False,
        "stickied": False,
        "thumbnail": "default",
        "media": None,
        "gilded": 0,
        "edited": False,
    }
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
