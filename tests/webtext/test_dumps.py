import orjson
import pytest

from fourhorn.errors import UserError
from fourhorn.webtext.dumps import SKIP, Submission, end_of_day, iso_date, read_line

ROW = {
    "url": "http://e.com/",
    "title": "T",
    "score": 5,
    "created_utc": 1400000000,
    "subreddit": "s",
    "is_self": False,
}


def read(**changes):
    row = {name: value for name, value in {**ROW, **changes}.items() if value is not ...}
    return read_line(orjson.dumps(row))


@pytest.mark.parametrize(
    ("changes", "karma", "created"),
    [
        ({}, 5, 1400000000),
        ({"created_utc": "1400000000"}, 5, 1400000000),  # 2014-01 to 2015-11
        ({"created_utc": "1400000000.0"}, 5, 1400000000),
        ({"created_utc": 1400000000.0}, 5, 1400000000),
        ({"score": ..., "ups": 9, "downs": 2}, 7, 1400000000),
        ({"score": None, "ups": 9}, 9, 1400000000),
        ({"score": "12"}, 12, 1400000000),
        ({"is_self": ..., "subreddit": None}, 5, 1400000000),
    ],
)
def test_fields_of_every_age_are_understood(changes, karma, created):
    found = read(**changes)
    assert isinstance(found, Submission)
    assert (found.karma, found.created, found.url) == (karma, created, "http://e.com/")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_self": True}, "self_post"),
        ({"url": None}, "deleted"),
        ({"url": ""}, "deleted"),
        ({"title": "[deleted by user]"}, "deleted"),
        ({"selftext": "[deleted]"}, "deleted"),
        ({"removed_by_category": "moderator"}, "deleted"),
        ({"score": None}, "no_karma"),
        ({"score": True}, "no_karma"),
        ({"score": [3]}, "no_karma"),
        ({"created_utc": None}, "malformed_line"),
        ({"created_utc": "soon"}, "malformed_line"),
        ({"created_utc": -5}, "malformed_line"),
        ({"url": 7}, "malformed_line"),
    ],
)
def test_rows_that_are_no_link_have_a_reason(changes, reason):
    assert read(**changes) == reason


def test_only_reddits_own_escapes_are_undone():
    assert read(url="http://e.com/?a=1&amp;copy=2&lt;").url == "http://e.com/?a=1&copy=2<"
    assert read(url="http://e.com/?a=1&copy=2").url == "http://e.com/?a=1&copy=2"


def test_lists_and_other_programs_links_need_no_karma():
    assert read_line(b"http://e.com/ extra words") == Submission("http://e.com/", None, None, None, None)
    assert read_line(b'{"url": "http://e.com/", "karma": 4, "date": "2017-05-01T00:00:00Z"}') == Submission(
        "http://e.com/", 4, 1493596800, None, None
    )
    assert read_line(b"# comment") == read_line(b"  ") == SKIP
    assert read_line(b"just words") == read_line(b"\xff\xfe://") == read_line(b'{"broken') == "malformed_line"
    assert read_line(b"[" * 100_000) == read_line("\u2003".encode()) == "malformed_line"
    assert read_line(b'{"url":' + b"[" * 100_000) == "malformed_line"


def test_common_crawl_indexes_give_their_html_pages():
    line = b'com,e)/q 20171201000000 {"url": "http://e.com/q", "mime": "text/html", "status": "%s"}'
    assert read_line(line % b"200") == Submission("http://e.com/q", None, 1512086400, None, None)
    assert read_line(line % b"404") == "bad_status"
    assert read_line((line % b"200").replace(b"text/html", b"image/png")) == "media"
    assert read_line(b'com,e)/q nonsense {"url": "http://e.com/q"}') == "malformed_line"


def test_a_warc_listing_is_sent_to_the_extractor():
    with pytest.raises(UserError, match="webtext extract"):
        read_line(b"crawl-data/CC-MAIN-2017-51/segments/1/warc/CC-MAIN-1.warc.gz")


def test_december_2017_is_in():
    assert iso_date(end_of_day("2017-12-31")) == "2017-12-31T23:59:59Z"
    with pytest.raises(UserError, match="2017-12-31"):
        end_of_day("Dec 2017")
