"""Pickled checkpoints, told by their first bytes, refused by default, and read only on explicit trust.

A pickle is a program. `fourhorn convert --trust-pickle` gives one to torch's weights-only loader, which allows tensors
and plain containers, and turns the result into safe files; nothing else here ever opens one.

In: a .pt or .bin file or the folder around it. Out: a `Checkpoint`. Raises: `UserError`.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from fourhorn.checkpoints.bounds import damaged, read_json_object
from fourhorn.checkpoints.huggingface import check_settings, from_stored, read_own_tokenizer, sizes_of
from fourhorn.checkpoints.names import Checkpoint, check_weights, config_of
from fourhorn.checkpoints.nanogpt import from_nanogpt
from fourhorn.checkpoints.native import read_tokenizer
from fourhorn.errors import UserError

SUFFIXES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
MAX_ZIP_MEMBERS = 100_000


def is_pickle(path: Path) -> bool:
    """True for a pickled file, or a folder that holds one."""
    return bool(files_of(path))


def files_of(path: Path) -> list[Path]:
    """The pickled files that a path stands for."""
    if path.is_dir():
        candidates = sorted(inner for suffix in SUFFIXES for inner in path.glob(suffix) if inner.is_file())[
            :1_000
        ]
        return [inner for inner in candidates if files_of(inner)]
    with path.open("rb") as file:
        start = file.read(4)
    return [path] if (start[:1] == b"\x80" and start[1:2] <= b"\x05") or start == b"PK\x03\x04" else []


def read(path: Path) -> Checkpoint:
    """Read nanoGPT's `ckpt.pt` or a Hugging Face folder with `pytorch_model.bin`, trusting it as far as torch does."""
    files = files_of(path)
    folder = path if path.is_dir() else path.parent
    stored: dict[str, Any] = {}
    if len(files) > 1 and not all(file.name.startswith("pytorch_model") for file in files):
        names = ", ".join(file.name for file in files[:5])
        raise UserError(f"{path} holds {len(files)} pickles ({names}); name one of them.")
    for file in files:
        stored |= unpickle(file)
    if isinstance(stored.get("model"), dict) and isinstance(stored.get("model_args"), dict):
        checkpoint = from_nanogpt(stored["model_args"], stored["model"], path)
        checkpoint.tokenizer = read_tokenizer(folder)
        return checkpoint
    if not (folder / "config.json").is_file():
        raise UserError(f"{path} is neither nanoGPT's ckpt.pt nor beside a Hugging Face config.json.")
    fields = read_json_object(folder / "config.json")
    check_settings(fields, folder / "config.json")
    config = config_of(sizes_of(fields), folder / "config.json")
    tensors = {str(name): value for name, value in stored.items() if isinstance(value, torch.Tensor)}
    weights = from_stored(tensors, path)
    check_weights(weights, config, path)
    return Checkpoint(config, weights, read_own_tokenizer(folder), {"converted_from": "huggingface"})


def unpickle(path: Path) -> dict[str, Any]:
    """Load one file with torch's weights-only loader; it must hold a dictionary."""
    if zipfile.is_zipfile(path):
        check_zip(path)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        first = str(error).splitlines()[0][:200]
        raise UserError(
            f"{path} holds more than weights and is refused even with --trust-pickle: {first}"
        ) from None
    except (
        RuntimeError,
        ValueError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        OSError,
    ) as error:
        raise damaged(
            path, str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        ) from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__}, not a table of weights.")
    return value


def check_zip(path: Path) -> None:
    """torch stores its archives uncompressed; one that would unpack to more than it weighs is a bomb."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise damaged(path, str(error)) from None
    if (
        len(members) > MAX_ZIP_MEMBERS
        or sum(member.file_size for member in members) > 2 * path.stat().st_size
    ):
        raise damaged(path, "it would unpack to more than it holds")
