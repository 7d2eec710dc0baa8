"""CRC-32C against the RFC's own examples, and the fast way against the plain one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourhorn.checkpoints.crc32c import crc32c, crc32c_plain, mask


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_the_examples_of_rfc_3720(data, checksum):
    assert crc32c_plain(data) == checksum
    assert crc32c(data) == checksum


@settings(deadline=None)  # the first call compiles
@given(st.binary(min_size=0, max_size=40))
def test_the_fast_way_agrees_with_the_plain_one(tail):
    data = bytes(range(256)) * 20 + tail
    assert crc32c(data) == crc32c_plain(data)


def test_masking_is_leveldbs():
    assert mask(0xE3069283) == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) % 2**32
