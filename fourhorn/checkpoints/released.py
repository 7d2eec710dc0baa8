"""The released models: where they are kept on this machine, and fetched from the official places.

`fourhorn download 124M` fetches OpenAI's seven files into the cache folder, resuming what an earlier try left behind;
afterwards `fourhorn.load("124M")` works without a network. The tokenizer's two files are checked against the published
SHA-256, and every tensor against the checksum that is inside the checkpoint.

In: a size, or a Hugging Face model id. Out: a folder. Raises: `UserError` naming the address and what to do offline.
The cache is `$FOURHORN_HOME`, else `~/.cache/fourhorn`.
"""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from fourhorn.errors import UserError, unknown
from fourhorn.files import sha256_file, write_json
from fourhorn.model.config import SIZES
from fourhorn.progress import progress
from fourhorn.tokenizer.formats import RELEASED_SHA256

OPENAI = "https://openaipublic.blob.core.windows.net/gpt-2/models"
OPENAI_FILES = (
    "checkpoint",
    "encoder.json",
    "hparams.json",
    "vocab.bpe",
    "model.ckpt.index",
    "model.ckpt.meta",
    "model.ckpt.data-00000-of-00001",
)
HUGGING_FACE = "https://huggingface.co"
HUGGING_FACE_FILES = ("config.json", "vocab.json", "merges.txt", "model.safetensors")
HUGGING_FACE_IDS = {
    "124M": "openai-community/gpt2",
    "355M": "openai-community/gpt2-medium",
    "774M": "openai-community/gpt2-large",
    "1558M": "openai-community/gpt2-xl",
}
CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30
MAX_FILE_BYTES = 16 << 30
DONE = "download.json"


def cache_folder() -> Path:
    """Where downloaded models are kept."""
    home = os.environ.get("FOURHORN_HOME")
    return Path(home) if home else Path.home() / ".cache" / "fourhorn"


def cached(size: str) -> Path:
    """The folder of a downloaded release."""
    folder = cache_folder() / size
    if not (folder / DONE).is_file():
        raise UserError(
            f"The released {size} is not on this machine ({folder}). Fetch it once with: fourhorn download {size}; "
            "or give the path of a folder that holds it."
        )
    return folder


def download(
    size: str,
    destination: str | Path | None = None,
    *,
    place: str = "openai",
    base_url: str | None = None,
    offline: bool = False,
) -> Path:
    """Fetch a released model; what an interrupted try left is kept and completed.

    Args:
        size: 124M, 355M, 774M or 1558M.
        destination: folder to write; by default the cache, where `fourhorn.load("124M")` looks.
        place: openai (the original TensorFlow files) or huggingface (safetensors).
        base_url: another address that holds the same files, for mirrors inside a network.
        offline: fetch nothing; only check that all files are there.
    """
    if size not in SIZES:
        raise unknown("released size", size, SIZES)
    folder = Path(destination) if destination is not None else cache_folder() / size
    names: tuple[str, ...]
    if place == "openai":
        names, address = OPENAI_FILES, f"{OPENAI}/{size}"
    elif place == "huggingface":
        names, address = HUGGING_FACE_FILES, f"{HUGGING_FACE}/{HUGGING_FACE_IDS[size]}/resolve/main"
    else:
        raise unknown("place", place, ("openai", "huggingface"))
    address = (base_url or address).rstrip("/")
    if not address.startswith(("https://", "http://")):
        raise UserError(f"{address} is no web address; one starting with https:// is needed.")
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (folder / name).is_file():
            if offline:
                raise UserError(
                    f"{folder / name} is missing and --offline forbids fetching it. Copy it there."
                )
            fetch(f"{address}/{name}", folder / name)
    check_tokenizer(folder)
    digests = {name: sha256_file(folder / name) for name in names}
    if not (folder / DONE).is_file():
        write_json(folder / DONE, {"size": size, "place": place, "address": address, "sha256": digests})
    return folder


def check_tokenizer(folder: Path) -> None:
    """Compare the vocabulary with the published one; a wrong file is removed so that the next try fetches it."""
    for name, original in (("encoder.json", "encoder.json"), ("vocab.bpe", "vocab.bpe")):
        path = folder / name
        if path.is_file() and sha256_file(path) != RELEASED_SHA256[original]:
            path.unlink()
            raise UserError(f"{path} was not the published file and has been removed. Run the command again.")


def fetch(url: str, path: Path) -> None:
    """Fetch one file beside its place and rename it when complete; continue an earlier piece where the server can."""
    piece = path.with_name(path.name + ".part")
    have = piece.stat().st_size if piece.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            resumed = response.status == 206
            length = response.headers.get("Content-Length")
            expected = int(length) + (have if resumed else 0) if length and length.isdigit() else None
            with piece.open("ab" if resumed else "wb") as file:
                receive(response.read, file.write, path.name, have if resumed else 0, expected)
                file.flush()
                os.fsync(file.fileno())
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # the piece is whole, or not of this file
            piece.unlink()
            fetch(url, path)
            return
        raise UserError(
            f"{url} answered {error.code} {error.reason}. Is the address right? Try --place."
        ) from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{url} could not be reached ({reason}). Run the command again to go on where it stopped, "
            f"or copy the file to {path}."
        ) from None
    size = piece.stat().st_size
    if expected is not None and size != expected:
        raise UserError(
            f"{url} stopped at {size} of {expected} bytes. Run the command again to go on from there."
        )
    os.replace(piece, path)


def receive(
    read: Callable[[int], bytes], write: Callable[[bytes], int], name: str, have: int, expected: int | None
) -> None:
    """Copy a response to a file under a progress bar, within the size budget."""
    with progress(f"download {name}", total=expected, unit="bytes") as bar:
        bar.update(have)
        while chunk := read(CHUNK_BYTES):
            have += len(chunk)
            if have > MAX_FILE_BYTES or (expected is not None and have > expected):
                raise UserError(f"{name} is larger than announced ({have} bytes); the download was stopped.")
            write(chunk)
            bar.update(len(chunk))
