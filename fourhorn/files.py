"""Files that are whole or absent: atomic writes, manifests, opening by compression.

Stages of the pipeline meet in folders. Everything is written under a temporary name, synced and renamed, and a stage
writes `manifest.json` last, so a folder without one is unfinished and no reader ever sees half a file.

Raises `UserError` for a file that is missing, damaged or of the wrong kind; sizes are in bytes.
"""

import bz2
import contextlib
import ctypes
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from fourhorn.errors import UserError
from fourhorn.zstd import MAGIC as ZSTD_MAGIC
from fourhorn.zstd import ZstdDecompressor, ZstdError, frame_reader

# Reddit dumps are single zstd frames with a 2 GiB window; many readers refuse them.
ZSTD_MAX_WINDOW_LOG = 31
CHUNK_BYTES = 1 << 20
_LINES_BYTES = 1 << 16  # a chunk and its lines stay in the cache, and in memory that the allocator keeps
_DAMAGE = (ZstdError, lzma.LZMAError, zlib.error, EOFError, gzip.BadGzipFile)


def version() -> str:
    """fourhorn's own version, as written into every manifest."""
    from importlib.metadata import PackageNotFoundError  # a slow import
    from importlib.metadata import version as package_version

    try:
        return package_version("fourhorn")
    except PackageNotFoundError:
        return "0.0.0+source"


# ---------------------------------------------------------------------------------------------- atomic writes


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on success sync and rename it, on failure remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = None if "b" in mode else "utf-8"
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Fill a temporary folder beside `path`; on success it replaces `path` as a whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        sync_folder(temporary)
        if path.exists():
            previous = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
            os.replace(path, previous / "previous")
            os.replace(temporary, path)
            shutil.rmtree(previous)
        else:
            os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)


def begin_sync(file: IO[bytes], start: int) -> None:
    """Let the system begin to write a file to disk from `start` on, so that its sync takes less time later."""
    with contextlib.suppress(AttributeError, TypeError):  # a system without it
        file.flush()
        begin = ctypes.CDLL(None).sync_file_range
        begin.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
        begin(file.fileno(), start, 0, 2)  # up to the end, without waiting


def sync_folder(folder: Path) -> None:
    """Make the renames inside `folder` survive a power cut, where the platform can."""
    with contextlib.suppress(OSError):
        _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# ------------------------------------------------------------------------------------------------- JSON, hashes


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented, key-ordered JSON, atomically."""
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a missing or damaged one is a `UserError` that names it."""
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: not JSON ({error}).") from None


def sha256_file(path: str | Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_bytes(data: bytes) -> str:
    """The hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------------------------------------------- manifests


@dataclass
class Manifest:
    """What a stage did: the last file it writes, and all that the report reads.

    `n_in == n_kept + sum(drops.values())` holds for every manifest: each item is kept or dropped for a named reason.
    """

    stage: str
    options: dict[str, Any]
    inputs: dict[str, str] = field(default_factory=dict)
    n_in: int = 0
    n_kept: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)
    version: str = field(default_factory=version)


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write `folder/manifest.json`, which marks the stage as finished."""
    dropped = sum(manifest.drops.values())
    if manifest.n_in != manifest.n_kept + dropped:
        raise ValueError(
            f"{manifest.stage}: {manifest.n_in} in is not {manifest.n_kept} kept + {dropped} dropped"
        )
    drops = {reason: n for reason, n in sorted(manifest.drops.items()) if n}
    write_json(Path(folder) / "manifest.json", {**asdict(manifest), "drops": drops})


def read_manifest(folder: str | Path) -> Manifest | None:
    """The manifest of a finished stage, or None when the folder has none."""
    path = Path(folder) / "manifest.json"
    if not path.exists():
        return None
    value = read_json(path)
    try:
        return Manifest(**value)
    except TypeError:
        raise UserError(
            f"{path} is not a manifest of fourhorn; delete the folder and run its stage again."
        ) from None


def finished(
    folder: str | Path, stage: str, options: dict[str, Any], inputs: dict[str, str]
) -> Manifest | None:
    """The manifest when this very work is already done; None when it is still to do.

    Raises `UserError` when the folder holds the finished result of other options or inputs.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    same_options = json.loads(json.dumps(options)) == manifest.options
    if manifest.stage == stage and same_options and manifest.inputs == inputs:
        return manifest
    what = (
        "another stage" if manifest.stage != stage else "other options" if not same_options else "other input"
    )
    raise UserError(
        f"{folder} already holds a finished result of {what} ({manifest.stage}). "
        f"Choose another folder, or delete this one and run {stage} again."
    )


# --------------------------------------------------------------------------------------- opening by compression


def open_compressed(path: str | Path) -> BinaryIO:
    """Open a plain, zstd, gzip, bzip2 or xz file for reading decompressed bytes, told apart by their first bytes."""
    try:
        raw = open(path, "rb")
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    magic = raw.peek(6)[:6]
    if magic[:4] == ZSTD_MAGIC or (magic[:1] and magic[0] & 0xF0 == 0x50 and magic[1:4] == b"\x2a\x4d\x18"):
        return cast(BinaryIO, io.BufferedReader(_ZstdFile(raw), CHUNK_BYTES))
    if magic[:2] == b"\x1f\x8b":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw, mode="rb"))
    if magic[:3] == b"BZh":
        return cast(BinaryIO, bz2.BZ2File(raw))
    if magic == b"\xfd7zXZ\x00":
        return cast(BinaryIO, lzma.LZMAFile(raw))
    return raw


class _ZstdFile(io.RawIOBase):
    """Decompressed bytes of zstd frames in a row; a cut frame raises `EOFError`."""

    # What follows the end of a frame is copied: small steps bound what a file of tiny frames makes of that.
    STEP_BYTES = 8192

    def __init__(self, raw: BinaryIO) -> None:
        self.raw = raw
        self.frame: ZstdDecompressor | None = None  # the frame that has begun and not ended
        self.compressed = b""

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.raw.close()
        super().close()

    def readinto(self, target: Any) -> int:
        while True:
            if not self.compressed and (self.frame is None or self.frame.needs_input):
                self.compressed = self.raw.read(self.STEP_BYTES)
                if not self.compressed:
                    if self.frame is not None:
                        raise EOFError("the last frame is cut off")
                    return 0
            if self.frame is None:
                self.frame = frame_reader(ZSTD_MAX_WINDOW_LOG)
            data = self.frame.decompress(self.compressed, len(target))
            self.compressed = b""
            if self.frame.eof:
                self.compressed, self.frame = self.frame.unused_data, None
            if data:
                target[: len(data)] = data
                return len(data)


def _damaged(path: str | Path, error: Exception) -> UserError:
    return UserError(f"{path} is damaged or cut off: {error}. Fetch it again.")


def read_chunks(
    path: str | Path, chunk_bytes: int = CHUNK_BYTES, *, as_they_come: bool = False
) -> Iterator[bytes]:
    """The decompressed bytes of a file in chunks; damage becomes a `UserError` that names the file.

    `as_they_come` leaves a chunk as small as the decompressor gave it, instead of filling it up by copying.
    """
    with open_compressed(path) as file:
        read = cast(io.BufferedReader, file).read1 if as_they_come else file.read
        while True:
            try:
                chunk = read(chunk_bytes)
            except (*_DAMAGE, OSError) as error:
                raise _damaged(path, error) from None
            if not chunk:
                return
            yield chunk


@contextlib.contextmanager
def chunk_reader(path: str | Path) -> Iterator[Callable[[memoryview], int]]:
    """A function that fills memory with the next decompressed bytes of a file and says how many, 0 at its end."""
    with open_compressed(path) as file:

        def read(memory: memoryview) -> int:
            try:
                return file.readinto(memory)  # type: ignore[attr-defined,no-any-return]
            except (*_DAMAGE, OSError) as error:
                raise _damaged(path, error) from None

        yield read


def iter_lines(path: str | Path, *, max_line_bytes: int = 1 << 26) -> Iterator[bytes]:
    """Lines of a possibly compressed file, split on the byte `\\n`, without it; a longer line is a `UserError`."""
    rest, n_rest = (
        list[bytes](),
        0,
    )  # what was read of the next line, in pieces: a long one is put together once
    for chunk in read_chunks(path, _LINES_BYTES, as_they_come=True):
        first, *lines = chunk.split(b"\n")
        rest.append(first)
        n_rest += len(first)
        if n_rest > max_line_bytes:
            raise UserError(
                f"{path} has a line of more than {max_line_bytes:,} bytes; it is no line-based file."
            )
        if lines:
            yield b"".join(rest)
            rest = [lines.pop()]
            n_rest = len(rest[0])
            yield from lines
    if n_rest:
        yield b"".join(rest)
