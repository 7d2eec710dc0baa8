"""Vocabulary files, read and written: the release's pair, Hugging Face's, and tiktoken's.

| files | from |
| --- | --- |
| `encoder.json` + `vocab.bpe` | the release of GPT-2; written byte for byte like it |
| `vocab.json` + `merges.txt` | Hugging Face, the same content under other names |
| `tokenizer.json` | Hugging Face `tokenizers` |
| `NAME.tiktoken` | tiktoken: base64 of a token's bytes, and its rank |

Every file is checked against itself (a merge of unknown tokens, a duplicate, a gap, a token that nothing makes), and
one that is the released vocabulary but for damage is told by its SHA-256. Damage raises `UserError` naming the file.
"""

import base64
import binascii
import contextlib
import gc
import itertools
import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fourhorn.errors import UserError, unknown
from fourhorn.files import atomic_write, read_json, sha256_bytes, sha256_file
from fourhorn.tokenizer.bpe import Pair, encode_piece, token_bytes
from fourhorn.tokenizer.bytes import BYTE_OF_CHAR, BYTE_OF_TOKEN, visible
from fourhorn.tokenizer.pattern import SPLIT_PATTERN
from fourhorn.tokenizer.vocabulary import EOT, Vocabulary

VERSION_LINE = "#version: 0.2"
PAIRS_OF_FILES = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))

# The published files of the release, and what tells that a file claims to be them: its first thousand merges.
RELEASED_SHA256 = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
RELEASED_FIRST_MERGES_SHA256 = "ea52bc42f5a8998c6f5a288a6dff8908216550ed081631640e8cd3f46f90ffa3"
N_FIRST_MERGES = 1000


def load(path: str | Path) -> Vocabulary:
    """Read a vocabulary from a folder or a file of any of the formats above."""
    with without_collection():
        return _load(Path(path))


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Leave out Python's search for cycles while 50,000 tuples are made that stay: it takes a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _load(path: Path) -> Vocabulary:
    if path.is_dir():
        for names in PAIRS_OF_FILES:
            if any((path / name).exists() for name in names):
                return load_pair(path / names[0], path / names[1])
        if (path / "tokenizer.json").exists():
            return load_tokenizer_json(path / "tokenizer.json")
        ranks = sorted(path.glob("*.tiktoken"))
        if len(ranks) == 1:
            return load_tiktoken(ranks[0])
        raise UserError(
            f"{path} holds no vocabulary: encoder.json + vocab.bpe, vocab.json + merges.txt, tokenizer.json "
            "or one .tiktoken file. Train one: fourhorn tokenizer train TEXT FOLDER."
        )
    if not path.exists():
        raise UserError(
            f"{path} does not exist. Give a folder with encoder.json and vocab.bpe, or a tokenizer.json."
        )
    if path.suffix == ".tiktoken":
        return load_tiktoken(path)
    for names in PAIRS_OF_FILES:
        if path.name in names:
            return load_pair(path.parent / names[0], path.parent / names[1])
    return load_tokenizer_json(path)


# --------------------------------------------------------------------------- encoder.json + vocab.bpe and its twin


def load_pair(encoder_path: Path, merges_path: Path) -> Vocabulary:
    """Read `encoder.json` + `vocab.bpe`, or `vocab.json` + `merges.txt`."""
    if released := _released(encoder_path, merges_path):
        return released
    encoder = read_json(encoder_path)
    try:
        text = merges_path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"{merges_path} does not exist; {encoder_path.name} needs it beside it.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{merges_path} is damaged: not UTF-8 at byte {error.start:,}.") from None
    lines = text.split("\n")
    first = 1 if lines[0].startswith("#version") else 0
    if lines.pop() != "":
        raise UserError(f"{merges_path} is cut off: its last line does not end. Fetch it again.")
    lines = [line.rstrip("\r") for line in lines]
    special = None if encoder_path.name == "vocab.json" else ()
    vocabulary = assemble(encoder, lines[first:], str(merges_path), str(encoder_path), first + 1, special)
    claims = sha256_bytes("\n".join(lines[first:][:N_FIRST_MERGES]).encode())
    if claims == RELEASED_FIRST_MERGES_SHA256 and len(lines) > 45_000:
        _check_released(vocabulary, encoder_path, merges_path)
    return vocabulary


def _released(encoder_path: Path, merges_path: Path) -> Vocabulary | None:
    """The release's vocabulary, if these are its files to the byte: nothing in it needs a check, which takes long."""
    try:
        files = encoder_path.read_bytes(), merges_path.read_bytes()
    except OSError:
        return None  # worded by who reads them one by one
    if [sha256_bytes(data) for data in files] != list(RELEASED_SHA256.values()):
        return None
    numbers = {visible(bytes([byte])): number for number, byte in enumerate(BYTE_OF_TOKEN)}
    parts = (
        files[1].decode().partition("\n")[2].split()
    )  # in printable characters: there is no space in a token
    lefts, rights = parts[::2], parts[1::2]
    numbers.update(zip(map(operator.add, lefts, rights), itertools.count(256)))
    merges = list(zip(map(numbers.__getitem__, lefts), map(numbers.__getitem__, rights)))
    special = {EOT: 256 + len(merges)}
    return Vocabulary(merges, special, None, str(merges_path), sha256_bytes(b"".join(files)))


def _check_released(vocabulary: Vocabulary, encoder_path: Path, merges_path: Path) -> None:
    """A vocabulary that begins as the release does must be the release, to the byte."""
    writers = {"encoder.json": encoder_text, "vocab.bpe": merges_text}
    for (name, text_of), path in zip(writers.items(), (encoder_path, merges_path)):
        known = RELEASED_SHA256[name]
        # a copy with other white space between its tokens is the release, too
        if sha256_file(path) != known and sha256_bytes(text_of(vocabulary).encode()) != known:
            raise UserError(
                f"{path} is damaged: it begins as the released GPT-2 vocabulary, but its SHA-256 is not "
                f"{known[:12]}…. Fetch it again."
            )


def assemble(
    encoder: Any,
    merge_lines: Sequence[str],
    merges_name: str,
    encoder_name: str,
    first_line: int,
    special: Sequence[str] | None,
) -> Vocabulary:
    """A vocabulary from `{token: id}` and lines `left right`, both in printable characters.

    `special` names the special tokens; None or what is missing in it is taken from tokens written like `<…>` or `[…]`.
    """
    if not isinstance(encoder, dict) or not set(map(type, encoder.values())) <= {int}:
        raise UserError(f"{encoder_name} is not a vocabulary: it must map each token to its id.")
    numbers = {visible(bytes([byte])): number for number, byte in enumerate(BYTE_OF_TOKEN)}
    missing = [text for text in numbers if text not in encoder]
    if missing:
        raise UserError(
            f"{encoder_name} is no byte-level vocabulary of GPT-2's kind: byte 0x{BYTE_OF_CHAR[missing[0]]:02x} "
            f"({missing[0]}) has no token."
        )
    merges: list[Pair] = []
    for line in merge_lines:
        left, _, right = line.partition(" ")
        try:
            merges.append((numbers[left], numbers[right]))
        except KeyError:
            line_number = first_line + len(merges)
            raise UserError(
                f"{merges_name} is damaged at line {line_number:,}: {line!r} is not two tokens that earlier lines make."
            ) from None
        numbers.setdefault(left + right, 255 + len(merges))
    if len(numbers) != 256 + len(merges):
        Vocabulary.of(merges, merges_name)  # names the duplicate
    if not numbers.keys() <= encoder.keys():
        text, number = next((text, number) for text, number in numbers.items() if text not in encoder)
        raise UserError(
            f"{encoder_name} does not belong to {merges_name}: line {first_line + number - 256:,} makes {text!r}, "
            "which has no id. Use the two files of one vocabulary."
        )
    ids = list(map(encoder.__getitem__, numbers))
    if not all(map(operator.lt, ids[256:], ids[257:])):
        raise UserError(
            f"{encoder_name} does not belong to {merges_name}: ids do not rise in the order of the merges."
        )
    rest = {text: encoder[text] for text in sorted(encoder.keys() - numbers.keys(), key=encoder.__getitem__)}
    for text in rest:
        if text not in (special or ()) and not (len(text) > 2 and text[0] + text[-1] in ("<>", "[]")):
            raise UserError(
                f"{merges_name} is cut off or does not belong to {encoder_name}: no merge makes {text!r} "
                f"({len(rest):,} such tokens). Use the two files of one vocabulary."
            )
    return Vocabulary(merges, rest, None if ids == list(range(len(ids))) else ids, merges_name)


def encoder_text(vocabulary: Vocabulary) -> str:
    """The text of `encoder.json`."""
    return json.dumps(encoder_of(vocabulary))


def encoder_of(vocabulary: Vocabulary) -> dict[str, int]:
    """`{token in printable characters: id}`, special tokens as they are, in order of ids."""
    names = vocabulary.names
    ids = range(len(names)) if vocabulary.ids is None else vocabulary.ids
    return dict(sorted([*zip(names, ids), *vocabulary.special_tokens.items()], key=operator.itemgetter(1)))


def merge_lines(vocabulary: Vocabulary) -> list[str]:
    """Each merge as `left right` in printable characters."""
    names = vocabulary.names
    return [f"{names[left]} {names[right]}" for left, right in vocabulary.merges]


def merges_text(vocabulary: Vocabulary) -> str:
    """The text of `vocab.bpe`."""
    return "\n".join([VERSION_LINE, *merge_lines(vocabulary), ""])


def save_pair(vocabulary: Vocabulary, folder: Path, names: tuple[str, str] = PAIRS_OF_FILES[0]) -> None:
    """Write `encoder.json` + `vocab.bpe` (or, by `names`, `vocab.json` + `merges.txt`)."""
    for name, text in zip(names, (encoder_text(vocabulary), merges_text(vocabulary))):
        with atomic_write(folder / name, "wb") as file:
            file.write(text.encode())


# ------------------------------------------------------------------------------------------------- tokenizer.json


def load_tokenizer_json(path: Path) -> Vocabulary:
    """Read the `tokenizer.json` of a byte-level BPE that splits as GPT-2 does."""
    value = read_json(path)
    try:
        model, split, special = value["model"], value["pre_tokenizer"], value.get("added_tokens", [])
        kind, encoder, merges = model["type"], dict(model["vocab"]), model["merges"]
        names = [token["content"] for token in special]
        encoder |= {token["content"]: token["id"] for token in special}
        lines = [line if isinstance(line, str) else " ".join(line) for line in merges]
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{path} is not a tokenizer.json: it has no BPE model with vocab and merges."
        ) from None
    named = all(isinstance(name, str) for name in names)
    if kind != "BPE" or value.get("normalizer") or not named or not _splits_as_gpt2(split):
        raise UserError(
            f"{path} is not a tokenizer of GPT-2's kind: byte-level BPE with the split pattern of GPT-2."
        )
    return assemble(encoder, lines, str(path), str(path), 1, names)


def _splits_as_gpt2(split: Any) -> bool:
    steps = split.get("pretokenizers", [split]) if isinstance(split, dict) else []
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        return False
    if not steps or steps[-1].get("type") != "ByteLevel" or any(s.get("add_prefix_space") for s in steps):
        return False
    if len(steps) == 1:
        return bool(steps[0].get("use_regex", True))
    return len(steps) == 2 and steps[0].get("pattern") == {"Regex": SPLIT_PATTERN}


def save_tokenizer_json(vocabulary: Vocabulary, path: Path) -> None:
    """Write a `tokenizer.json` that Hugging Face `tokenizers` and `transformers` load."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip"), False) | {"normalized": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    options = dict.fromkeys(("dropout", "unk_token"), None) | {
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
    }
    value = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": text, **flags} for text, i in vocabulary.special_tokens.items()
        ],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": {**level, "trim_offsets": False},
        "decoder": level,
        "model": {
            "type": "BPE",
            **options,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": encoder_of(vocabulary),
            "merges": merge_lines(vocabulary),
        },
    }
    with atomic_write(path, "wb") as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=2).encode())


# ------------------------------------------------------------------------------------------------------ .tiktoken


def load_tiktoken(path: Path) -> Vocabulary:
    """Read tiktoken's list of ranks. Merges are recovered: a token joins the two parts that lower ranks leave of it."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise UserError(f"{path} is damaged at line {number:,}: not base64 and a rank.") from None
    order = sorted(ranks, key=ranks.__getitem__)
    singles = [token for token in order if len(token) == 1]
    if len(singles) != 256:
        raise UserError(f"{path} is damaged: {len(singles)} of the 256 bytes have a token.")
    known: dict[Pair, int] = {}
    numbers = {bytes([byte]): number for number, byte in enumerate(BYTE_OF_TOKEN)}
    table = token_bytes([])
    for token in order:
        if len(token) == 1:
            continue
        parts = encode_piece(token, known)
        if len(parts) != 2:
            raise UserError(f"{path} is damaged: no two earlier tokens make {visible(token)!r}.")
        numbers[token] = 256 + len(known)
        known[parts[0], parts[1]] = len(known)
        table.append(token)
    ids = [ranks[data] for data in table]
    special = {EOT: max(ids) + 1}
    return Vocabulary(list(known), special, None if ids == list(range(len(ids))) else ids, str(path))


def save_tiktoken(vocabulary: Vocabulary, path: Path) -> None:
    """Write tiktoken's list of ranks (it holds no special tokens)."""
    ids = range(len(vocabulary.token_bytes)) if vocabulary.ids is None else vocabulary.ids
    rows = sorted(zip(ids, vocabulary.token_bytes))
    with atomic_write(path, "wb") as file:
        for token, data in rows:
            file.write(base64.b64encode(data) + f" {token}\n".encode())


WRITERS: Mapping[str, Callable[[Vocabulary, Path], None]] = {
    "openai": save_pair,
    "huggingface-pair": lambda vocabulary, folder: save_pair(vocabulary, folder, PAIRS_OF_FILES[1]),
    "huggingface": lambda vocabulary, folder: save_tokenizer_json(vocabulary, folder / "tokenizer.json"),
    "tiktoken": lambda vocabulary, folder: save_tiktoken(vocabulary, folder / "vocabulary.tiktoken"),
}


def save(vocabulary: Vocabulary, folder: Path, format: str) -> None:
    """Write the files of one format into `folder`."""
    if format not in WRITERS:
        raise unknown("vocabulary format", format, WRITERS)
    WRITERS[format](vocabulary, folder)
