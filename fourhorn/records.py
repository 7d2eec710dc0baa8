"""Shards of text records: read jsonl, parquet or plain text, write jsonl.zst or parquet.

A record is a dict with at least `text`. A source is one file or a folder of shards; the suffix tells the kind:
`.jsonl` (also `.zst .gz .bz2 .xz`), `.parquet`, `.txt` (documents joined by the literal `<|endoftext|>`).
Written shards have the same bytes for the same records, so their hashes can be compared.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from fourhorn.errors import UserError
from fourhorn.files import atomic_write, iter_lines, read_chunks
from fourhorn.zstd import frame_writer

DOCUMENT_SEPARATOR = "<|endoftext|>"
_COMPRESSIONS = (".zst", ".gz", ".bz2", ".xz")
_KINDS = (".jsonl", ".ndjson", ".parquet", ".txt")
ZSTD_LEVEL = 3


def kind(path: Path) -> str | None:
    """`.jsonl`, `.parquet` or `.txt` for a record file, None for anything else."""
    suffixes = [s for s in path.suffixes if s not in _COMPRESSIONS]
    suffix = suffixes[-1] if suffixes else ""
    return ".jsonl" if suffix == ".ndjson" else suffix if suffix in _KINDS else None


def list_shards(source: str | Path) -> list[Path]:
    """The record files of `source` in name order: itself, or those in the folder; none at all is a `UserError`."""
    source = Path(source)
    if source.is_file():
        if kind(source) is None:
            raise UserError(f"{source} is not a record file. Give .jsonl[.zst], .parquet or .txt.")
        return [source]
    if not source.is_dir():
        raise UserError(f"{source} does not exist. Give a record file or a folder of shards.")
    shards = sorted(p for p in source.iterdir() if p.is_file() and not p.name.startswith(".") and kind(p))
    if not shards:
        raise UserError(f"{source} holds no .jsonl, .jsonl.zst, .parquet or .txt shard.")
    return shards


def shard_name(index: int, suffix: str = ".jsonl.zst") -> str:
    """`part-00007.jsonl.zst` for index 7."""
    return f"part-{index:05d}{suffix}"


def iter_records(source: str | Path, *, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """All records of a file or folder, in order; `columns` limits what is read from each."""
    for shard in list_shards(source):
        if kind(shard) == ".parquet":
            yield from _iter_parquet(shard, columns)
        elif kind(shard) == ".txt":
            for text in _iter_plain(shard):
                yield {"text": text}
        else:
            yield from _iter_jsonl(shard, columns)


def iter_texts(source: str | Path, *, text_column: str = "text") -> Iterator[str]:
    """The text of every record; a record without it is a `UserError`."""
    for number, record in enumerate(iter_records(source, columns=[text_column]), start=1):
        text = record.get(text_column)
        if not isinstance(text, str):
            raise UserError(f"Record {number} of {source} has no text in column {text_column!r}.")
        yield text


def write_records(path: str | Path, records: Iterable[dict[str, Any]]) -> int:
    """Write a shard atomically, its kind given by the suffix; returns how many records."""
    path = Path(path)
    if kind(path) == ".parquet":
        return _write_parquet(path, records)
    if kind(path) != ".jsonl":
        raise UserError(f"{path} cannot be written: its name must end in .jsonl, .jsonl.zst or .parquet.")
    n = 0
    with atomic_write(path) as file:
        if path.suffix == ".zst":
            with frame_writer(file, ZSTD_LEVEL) as sink:
                for n, record in enumerate(records, start=1):
                    sink.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        else:
            for n, record in enumerate(records, start=1):
                file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
    return n


def _iter_jsonl(path: Path, columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(iter_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise UserError(f"{path} line {number} is not JSON: {error}.") from None
        if not isinstance(record, dict):
            raise UserError(f"{path} line {number} is not a JSON object.")
        yield record if columns is None else {c: record.get(c) for c in columns}


def _iter_plain(path: Path) -> Iterator[str]:
    separator, rest = DOCUMENT_SEPARATOR.encode(), b""
    for chunk in read_chunks(path):
        *documents, rest = (rest + chunk).split(separator)
        for document in documents:
            if document.strip():
                yield document.decode("utf-8", errors="replace")
    if rest.strip():
        yield rest.decode("utf-8", errors="replace")


def _iter_parquet(path: Path, columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    parquet = _pyarrow_parquet()
    try:
        file = parquet.ParquetFile(path)
        known = set(file.schema_arrow.names)
        wanted = None if columns is None else [c for c in columns if c in known]
        for batch in file.iter_batches(batch_size=1024, columns=wanted):
            yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable parquet file: {str(error).splitlines()[0]}") from None


def _write_parquet(path: Path, records: Iterable[dict[str, Any]]) -> int:
    parquet = _pyarrow_parquet()
    import pyarrow

    rows = list(records)
    with atomic_write(path) as file:
        parquet.write_table(pyarrow.Table.from_pylist(rows), file, compression="zstd", compression_level=3)
    return len(rows)


def _pyarrow_parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError("Reading parquet needs pyarrow: pip install 'fourhorn[webtext]'.") from None
    return pyarrow.parquet
