import contextlib
import gzip
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourhorn import zstd
from fourhorn.webtext.inflate import BadEncoding, TooLarge, inflate

DATA = b"hello there " * 50_000
PACKED = {
    "gzip": gzip.compress(DATA),
    "x-gzip": gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:]),
    "deflate": zlib.compress(DATA),
    "br": brotli.compress(DATA),
    "zstd": zstd.compress(DATA),
    "gzip, br": brotli.compress(gzip.compress(DATA)),
    "GZIP , identity": gzip.compress(DATA),
}


@pytest.mark.parametrize("encoding", PACKED)
def test_each_encoding_is_undone_within_its_budget_and_refused_beyond(encoding):
    assert inflate(PACKED[encoding], encoding, max_bytes=len(DATA)) == DATA
    with pytest.raises(TooLarge):
        inflate(PACKED[encoding], encoding, max_bytes=len(DATA) - 1)


@pytest.mark.parametrize("encoding", PACKED)
def test_a_body_cut_off_anywhere_is_refused(encoding):
    body = PACKED[encoding]
    for cut in (len(body) - 1, len(body) // 2, 12):
        with pytest.raises(BadEncoding):
            inflate(body[:cut], encoding, max_bytes=1 << 20)


def test_raw_deflate_as_some_servers_send_it_is_read():
    raw = zlib.compressobj(wbits=-15)
    assert inflate(raw.compress(DATA) + raw.flush(), "deflate", max_bytes=1 << 20) == DATA


def test_a_plain_body_with_a_gzip_header_is_itself():
    assert inflate(b"<html>", "gzip", max_bytes=100) == b"<html>"
    assert inflate(b"<html>", "", max_bytes=100) == b"<html>"


@pytest.mark.parametrize("encoding", ["rot13", "gzip, gzip, gzip, gzip", "aws-chunked"])
def test_unknown_or_too_many_encodings_are_refused(encoding):
    with pytest.raises(BadEncoding):
        inflate(gzip.compress(DATA), encoding, max_bytes=1 << 20)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_body_of_countless_empty_pieces_is_refused_at_once(encoding):
    """What follows each piece is copied: half a million of them would take hours."""
    piece = {"gzip": gzip.compress(b""), "zstd": zstd.compress(b"")}[encoding]
    with pytest.raises(BadEncoding, match="more than 1,000"):
        inflate(piece * 500_000, encoding, max_bytes=1 << 20)
    assert inflate(piece * 1000, encoding, max_bytes=1 << 20) == b""


@given(st.sampled_from(sorted(PACKED)), st.binary(max_size=200))
def test_no_bytes_make_it_fail_in_another_way(encoding, noise):
    for body in (noise, PACKED[encoding][:20] + noise):
        with contextlib.suppress(BadEncoding, TooLarge):
            inflate(body, encoding, max_bytes=1 << 16)
