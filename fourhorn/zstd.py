"""Zstandard (RFC 8878) as Python has it from 3.14 on; before that, its backport with the same interface.

The one place that knows which of the two it is. The backport takes a megabyte.
"""

import io
import sys
from typing import IO, Any, BinaryIO, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"\x28\xb5\x2f\xfd"  # the first bytes of a frame
_BUFFER_BYTES = (
    1 << 17
)  # calling the compressor for each line of a shard would cost as much as compressing it

CompressionParameter, compress, decompress = zstd.CompressionParameter, zstd.compress, zstd.decompress
ZstdCompressor = zstd.ZstdCompressor
ZstdDecompressor = zstd.ZstdDecompressor
ZstdError = zstd.ZstdError


def frame_reader(max_window_log: int) -> ZstdDecompressor:
    """A decompressor of one frame whose window has up to 2^`max_window_log` bytes; a larger one is a `ZstdError`."""
    return ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: max_window_log})


def frame_writer(file: IO[Any], level: int) -> BinaryIO:
    """A file whose bytes go into `file` as one frame that ends in a checksum; closing it leaves `file` open."""
    options: dict[int, int] = {
        CompressionParameter.compression_level: level,
        CompressionParameter.checksum_flag: 1,
    }
    frame = zstd.ZstdFile(file, "w", options=options)
    return cast(BinaryIO, io.BufferedWriter(cast(io.RawIOBase, frame), _BUFFER_BYTES))
