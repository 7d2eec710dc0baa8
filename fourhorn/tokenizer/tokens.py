"""Documents → token shards, and the reader that training uses: `fourhorn tokens`.

Section 2.2 meets section 2.3 here. Every document is written as `<|endoftext|>` and its ids, documents one after the
other, in files `part-00000.bin` of little-endian uint16 (uint32 beyond 65,536 ids) that can be memory-mapped, with one
`index.json` and the vocabulary. The position of a run in its data is a single integer. A shard begins with a document.
`TokenShards` reads any range of ids across shards. Damage and mismatches raise `UserError` naming the file.
"""

import hashlib
import itertools
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fourhorn.errors import UserError
from fourhorn.files import (
    Manifest,
    atomic_write,
    begin_sync,
    finished,
    read_json,
    sha256_bytes,
    sha256_file,
    write_json,
    write_manifest,
)
from fourhorn.progress import progress
from fourhorn.tokenizer.formats import PAIRS_OF_FILES
from fourhorn.tokenizer.memory import Buffers
from fourhorn.tokenizer.source import Batch, InputHashes, read_batches
from fourhorn.tokenizer.threads import at_least_one, in_order
from fourhorn.tokenizer.tokenizer import Tokenizer, Tokens

SYNC_BYTES = 1 << 24  # of a shard after which the system is asked to write them to disk
MAGIC, VERSION = "fourhorn-tokens", 1
UNFINISHED = "unfinished.json"
SHARD_NAME = re.compile(r"part-[0-9]{5,9}\.bin")
DTYPES = ("uint16", "uint32")
FIELDS: dict[str, type] = {
    **dict.fromkeys(("n_tokens", "n_documents", "n_bytes_text", "n_vocab", "eot"), int),
    **dict.fromkeys(("dtype", "tokenizer_sha256"), str),
    "shards": list,
}
SHARD_FIELDS: dict[str, type] = {"name": str, "n_tokens": int, "sha256": str}


def tokens(
    source: str | Path,
    destination: Path | str,
    *,
    tokenizer: str | Path,
    tokens_per_shard: int = 100_000_000,
    n_threads: int = 2,
    text_column: str = "text",
) -> Manifest:
    """Encode documents into memory-mapped token shards; goes on where an unfinished run stopped.

    Args:
        source: a .jsonl[.zst], .parquet or .txt file, or a folder of such shards.
        destination: the folder that gets part-*.bin, index.json, manifest.json and the vocabulary; training looks for
            `train` and `val` in one folder.
        tokenizer: the vocabulary: a folder with encoder.json and vocab.bpe, a tokenizer.json or a .tiktoken file.
        tokens_per_shard: a new shard begins with the first document after this many tokens.
        n_threads: threads that encode.
        text_column: the field of a record that holds its text.
    """
    at_least_one(tokens_per_shard=tokens_per_shard, n_threads=n_threads)
    started = time.monotonic()
    destination = Path(destination)
    hashes = InputHashes(source)
    encoder = Tokenizer.load(tokenizer)
    options = {
        "tokenizer_sha256": encoder.sha256,
        "tokens_per_shard": tokens_per_shard,
        "text_column": text_column,
    }
    done = (destination / "manifest.json").exists() and finished(
        destination, "tokens", options, hashes.result()
    )
    if done:
        return done
    memory = Buffers()

    def encode(batch: Batch) -> tuple[Batch, Tokens, NDArray[np.int64]]:
        out = memory.take(batch.room * encoder.dtype.itemsize)
        out = out[: len(out) & -encoder.dtype.itemsize]
        return batch, *encoder.encode_parts(batch, separator=encoder.eot, out=out.view(encoder.dtype))

    drops = {"empty": 0}
    manifest = Manifest("tokens", options, drops=drops)
    with (
        ShardWriter(destination, encoder, tokenizer, manifest, hashes) as writer,
        progress("tokens", unit="MB") as bar,
    ):
        source_batches = without_empty(read_batches(source, text_column=text_column, memory=memory), drops)
        work = skip_documents(source_batches, writer.total("n_documents"))
        for batch, ids, starts in in_order(encode, work, n_threads):
            writer.write(batch, ids, starts)
            bar.update(batch.n_bytes / 1e6, tokens=writer.total("n_tokens"))
            memory.give(batch.text)
            memory.give(ids.base)
    manifest.seconds = time.monotonic() - started
    return writer.finish()


def without_empty(source: Iterator[Batch], drops: dict[str, int]) -> Iterator[Batch]:
    """The batches without documents of nothing but white space, which are counted in `drops["empty"]`."""
    for batch in source:
        kept = batch.with_text()
        drops["empty"] += len(batch) - len(kept)
        if len(kept):
            yield kept


def skip_documents(source: Iterator[Batch], n: int) -> Iterator[Batch]:
    """The batches without the first `n` documents."""
    document = -1
    for batch in source:
        numbers = document + np.arange(len(batch)) + (not batch.continues)
        document += batch.n_documents
        if document >= n:
            yield batch if numbers[0] >= n else batch.only(numbers >= n)


class ShardWriter:
    """Writes shards one after the other; `unfinished.json` remembers the whole ones, for the next run."""

    def __init__(
        self,
        folder: Path,
        tokenizer: Tokenizer,
        vocabulary: str | Path,
        manifest: Manifest,
        hashes: InputHashes,
    ) -> None:
        self.folder, self.tokenizer, self.vocabulary = folder, tokenizer, Path(vocabulary)
        self.manifest, self.hashes = manifest, hashes
        self.shards: list[dict[str, Any]] = self._resume()
        self._stack = ExitStack()
        self._file: IO[bytes] | None = None
        self._count: dict[str, Any] = {}
        self._synced = 0

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self._close()
        else:
            self._stack.__exit__(kind, error, trace)

    def _resume(self) -> list[dict[str, Any]]:
        path = self.folder / UNFINISHED
        if not path.exists():
            return []
        state = read_json(path)
        self.manifest.inputs = self.hashes.result()
        if state["options"] != self.manifest.options or state["inputs"] != self.manifest.inputs:
            raise UserError(
                f"{self.folder} holds an unfinished result of other options or input. "
                "Choose another folder, or delete this one."
            )
        for leftover in self.folder.glob(".part-*.tmp"):  # of a process that was killed
            leftover.unlink()
        return list(
            itertools.takewhile(lambda shard: (self.folder / shard["name"]).exists(), state["shards"])
        )

    def total(self, what: str) -> int:
        """`n_tokens`, `n_documents` or `n_bytes_text` of all shards so far."""
        return sum(shard[what] for shard in [*self.shards, self._count] if shard)

    def write(self, batch: Batch, ids: Tokens, starts: NDArray[np.int64]) -> None:
        """Append the ids of a batch, beginning new shards where documents begin."""
        sizes = np.concatenate([[0], np.cumsum(batch.ends - batch.begins)])
        first = int(batch.continues)  # the first part at which a document, and so a shard, can begin
        here, n_parts = 0, len(batch)
        while here < n_parts:
            if self._file is None:
                self._open()
            # The shard ends with the first document that begins when it is full; it holds one document at least.
            full = int(starts[here]) + self.manifest.options["tokens_per_shard"] - self._count["n_tokens"]
            earliest = max(here + (self._count["n_tokens"] == 0), first)
            end = min(max(earliest, int(np.searchsorted(starts, full))), n_parts)
            self._append(
                ids[starts[here] : starts[end]], end - max(here, first), int(sizes[end] - sizes[here])
            )
            here = end
            if here < n_parts:
                self._close()

    def _append(self, ids: Tokens, n_documents: int, n_bytes_text: int) -> None:
        assert self._file is not None
        data = np.ascontiguousarray(ids.astype(ids.dtype.newbyteorder("<"), copy=False)).data
        self._file.write(data)
        self._digest.update(data)
        if self._file.tell() - self._synced > SYNC_BYTES:
            begin_sync(self._file, self._synced)
            self._synced = self._file.tell()
        self._count["n_tokens"] += len(ids)
        self._count["n_documents"] += n_documents
        self._count["n_bytes_text"] += n_bytes_text

    def _open(self) -> None:
        name = f"part-{len(self.shards):05d}.bin"
        self._count = {"name": name, "n_tokens": 0, "n_documents": 0, "n_bytes_text": 0, "sha256": ""}
        self._digest = hashlib.sha256()
        self._synced = 0
        self._file = self._stack.enter_context(atomic_write(self.folder / name))

    def _close(self) -> None:
        if self._file is None:
            return
        self._stack.close()
        self._file = None
        self.shards.append({**self._count, "sha256": self._digest.hexdigest()})
        self._count = {}
        self.manifest.inputs = self.hashes.result()
        state = {"options": self.manifest.options, "inputs": self.manifest.inputs, "shards": self.shards}
        write_json(self.folder / UNFINISHED, state)

    def finish(self) -> Manifest:
        """Write index.json and manifest.json."""
        tokenizer, manifest = self.tokenizer, self.manifest
        totals = {what: self.total(what) for what in ("n_tokens", "n_documents", "n_bytes_text")}
        if not totals["n_tokens"]:
            raise UserError("The input holds no text, so there are no tokens to write.")
        index = {
            "magic": MAGIC,
            "version": VERSION,
            "dtype": str(tokenizer.dtype),
            **totals,
            "tokenizer_sha256": tokenizer.sha256,
            "eot": tokenizer.eot,
            "n_vocab": tokenizer.n_vocab,
            "shards": self.shards,
        }
        keep_vocabulary(tokenizer, self.vocabulary, self.folder)
        write_json(self.folder / "index.json", index)
        for shard in self.shards:
            n_bytes = shard["n_tokens"] * tokenizer.dtype.itemsize
            manifest.outputs[shard["name"]] = {
                "sha256": shard["sha256"],
                "n_bytes": n_bytes,
                "n_items": shard["n_tokens"],
            }
        manifest.n_kept = totals["n_documents"]
        manifest.n_in = manifest.n_kept + sum(manifest.drops.values())
        manifest.details = {**totals, "bytes_per_token": totals["n_bytes_text"] / totals["n_tokens"]}
        write_manifest(self.folder, manifest)
        (self.folder / UNFINISHED).unlink(missing_ok=True)
        return manifest


def keep_vocabulary(tokenizer: Tokenizer, source: Path, folder: Path) -> None:
    """Write encoder.json and vocab.bpe beside the shards, where training finds them: a copy, if `source` has them."""
    names = PAIRS_OF_FILES[0]
    texts = [(source / name).read_bytes() for name in names if (source / name).is_file()]
    if sha256_bytes(b"".join(texts)) != tokenizer.sha256:
        tokenizer.save(folder)
        return
    for name, text in zip(names, texts):
        with atomic_write(folder / name) as file:
            file.write(text)


def check_index(index: dict[str, Any], path: Path) -> None:
    """Refuse an index whose fields are missing, of another kind, or lead out of its folder."""

    def check(values: Any, fields: dict[str, type]) -> None:
        for name, kind in fields.items():
            value: Any = values.get(name) if isinstance(values, dict) else None
            if type(value) is not kind or (isinstance(value, int) and value < 0):
                raise UserError(f"{path} is damaged: {name} is {value!r:.80}. Run fourhorn tokens again.")

    check(index, FIELDS)
    for shard in index["shards"]:
        check(shard, SHARD_FIELDS)
    strange = [shard["name"] for shard in index["shards"] if not SHARD_NAME.fullmatch(shard["name"])]
    if strange or index["dtype"] not in DTYPES:
        what = f"no shard is called {strange[0]!r:.80}" if strange else f"dtype is {index['dtype']!r:.80}"
        raise UserError(f"{path} is damaged: {what}. Run fourhorn tokens again.")


class TokenShards:
    """The ids of a folder of shards as one long array that stays on disk."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / "index.json"
        index = read_json(path)
        if not isinstance(index, dict) or index.get("magic") != MAGIC:
            raise UserError(
                f"{path} is no index of token shards. Make them with: fourhorn tokens TEXT FOLDER."
            )
        if index.get("version") != VERSION:
            raise UserError(
                f"{path} has version {index.get('version')}; this fourhorn reads version {VERSION}."
            )
        check_index(index, path)
        self.index: dict[str, Any] = index
        self.dtype = np.dtype(index["dtype"]).newbyteorder("<")
        self.eot, self.n_vocab = index["eot"], index["n_vocab"]
        self.n_documents, self.n_bytes_text = index["n_documents"], index["n_bytes_text"]
        self.tokenizer_sha256: str = index["tokenizer_sha256"]
        self._maps = [self._map(shard) for shard in index["shards"]]
        self._starts = np.concatenate([[0], np.cumsum([len(m) for m in self._maps])])
        if len(self) != index["n_tokens"]:
            raise UserError(
                f"{path} is damaged: its shards hold {len(self):,} tokens, not {index['n_tokens']:,}."
            )

    def _map(self, shard: dict[str, Any]) -> NDArray[Any]:
        path = self.folder / shard["name"]
        n_bytes = shard["n_tokens"] * self.dtype.itemsize
        if not path.exists():
            raise UserError(f"{path} is missing. Run fourhorn tokens again.")
        if path.stat().st_size != n_bytes or not n_bytes:
            raise UserError(
                f"{path} is damaged: {path.stat().st_size:,} bytes, not {n_bytes:,}. Run fourhorn tokens again."
            )
        return np.memmap(path, self.dtype, mode="r")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, count: int) -> NDArray[Any]:
        """The ids `start` to `start + count`, across shards; a view where they lie in one."""
        if not 0 <= start <= start + count <= len(self):
            raise UserError(
                f"Tokens {start:,} to {start + count:,} are outside of the {len(self):,} in {self.folder}."
            )
        parts = []
        shard = max(int(np.searchsorted(self._starts, start, side="right")) - 1, 0)
        while count > 0:
            offset = start - int(self._starts[shard])
            part = self._maps[shard][offset : offset + count]
            parts.append(part)
            start, count, shard = start + len(part), count - len(part), shard + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, self.dtype)])

    def verify(self) -> None:
        """Read all shards and compare their SHA-256 with the index."""
        for shard in self.index["shards"]:
            path = self.folder / shard["name"]
            if sha256_file(path) != shard["sha256"]:
                raise UserError(
                    f"{path} is damaged: its SHA-256 is not the index's. Run fourhorn tokens again."
                )
