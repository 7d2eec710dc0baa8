"""The commands of section 2.2: `fourhorn tokenizer train|encode|decode|show|compare` and `fourhorn tokens`."""

import sys
from pathlib import Path
from typing import Any

from fourhorn.cli.command import command
from fourhorn.errors import UserError

train = command(
    "fourhorn.tokenizer.train:train",
    next_command="fourhorn tokens {source} tokens/train --tokenizer {destination}",
)
tokens = command(
    "fourhorn.tokenizer.tokens:tokens", next_command="fourhorn train {destination.parent} runs/NAME"
)


def encode(text: str = "-", *, tokenizer: Path, special: bool = False) -> None:
    """Encode a text and print its ids, separated by spaces.

    Args:
        text: the text; "-" reads standard input.
        tokenizer: the vocabulary: a folder with encoder.json and vocab.bpe, a tokenizer.json or a .tiktoken file.
        special: encode <|endoftext|> as the token that ends a document, not as ordinary text.
    """
    encoder = _load(tokenizer)
    if special:
        ids = encoder.encode(_text(text).decode("utf-8", "replace"), allowed_special="all")
    else:
        ids = encoder.encode_to_numpy(_text(text)).tolist()
    print(*ids)


def decode(*ids: int, tokenizer: Path) -> None:
    """Decode ids and print their text.

    Args:
        ids: the ids; none at all reads them from standard input, separated by white space or commas.
        tokenizer: the vocabulary: a folder with encoder.json and vocab.bpe, a tokenizer.json or a .tiktoken file.
    """
    words = [str(i) for i in ids] or sys.stdin.read().replace(",", " ").split()
    bad = [word for word in words if not word.isdecimal()]
    if bad:
        raise UserError(
            f"{bad[0]!r} is no id. Give whole numbers, such as: fourhorn tokenizer decode 15496 995."
        )
    sys.stdout.flush()
    sys.stdout.buffer.write(_load(tokenizer).decode_bytes([int(word) for word in words]) + b"\n")
    sys.stdout.flush()


def show(text: str = "-", *, tokenizer: Path, special: bool = False) -> None:
    """Show the tokens of a text in color, with their ids.

    Args:
        text: the text; "-" reads standard input.
        tokenizer: the vocabulary: a folder with encoder.json and vocab.bpe, a tokenizer.json or a .tiktoken file.
        special: encode <|endoftext|> as the token that ends a document, not as ordinary text.
    """
    from rich.console import Console
    from rich.text import Text

    from fourhorn.tokenizer.bytes import visible

    encoder = _load(tokenizer)
    string = _text(text).decode("utf-8", "replace")
    ids = encoder.encode(string, allowed_special="all" if special else (), disallowed_special=())
    colors = (
        "black on bright_cyan",
        "black on bright_yellow",
        "black on bright_green",
        "black on bright_magenta",
    )
    words, numbers = Text(), Text()
    for i, token in enumerate(ids):
        data = encoder.token_bytes(token)
        try:
            shown = data.decode().replace("\n", "⏎\n").replace("\t", "⇥")
        except UnicodeDecodeError:  # a part of a character: as the vocabulary's files write it
            shown = visible(data)
        words.append(shown, colors[i % len(colors)])
        numbers.append(str(token), colors[i % len(colors)])
        numbers.append(" ")
    console = Console(highlight=False)
    console.print(words, soft_wrap=True)
    console.print(numbers, soft_wrap=True)
    n_bytes = len(string.encode("utf-8", "replace"))
    ratio = f", {n_bytes / len(ids):.2f} bytes per token" if ids else ""
    console.print(f"{len(string):,} characters, {n_bytes:,} bytes, {len(ids):,} tokens{ratio}")


def compare(
    first: Path, second: Path, *more: Path, text: dict[str, Path] | None = None, output: Path | None = None
) -> None:
    """Compare vocabularies: bytes per token by kind of text, as a table and a plot.

    Args:
        first: a vocabulary: a folder with encoder.json and vocab.bpe, a tokenizer.json or a .tiktoken file.
        second: another.
        more: further ones.
        text: files by kind, such as --text.english news.txt --text.code code.jsonl; small built-in samples without.
        output: the folder that gets comparison.json and comparison.svg; none is written without.
    """
    from rich.console import Console
    from rich.table import Table

    from fourhorn.tokenizer.compare import COLORS, measure, write

    paths = [first, second, *more]
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    rows = measure({name: _load(path) for name, path in zip(names, paths)}, text)
    table = Table("text", *names, title="bytes per token (more is better)")
    most = max(row.bytes_per_token for row in rows)
    for kind in dict.fromkeys(row.kind for row in rows):
        cells = []
        for i, row in enumerate(row for row in rows if row.kind == kind):
            bar = "█" * max(round(24 * row.bytes_per_token / most), 1)
            cells.append(f"{row.bytes_per_token:5.2f} [{COLORS[i % len(COLORS)]}]{bar}[/]")
        table.add_row(kind, *cells)
    Console().print(table)
    if output:
        write(rows, output)
        print(f"Wrote {output / 'comparison.json'} and {output / 'comparison.svg'}.")


def _load(path: Path) -> Any:
    from fourhorn.tokenizer import Tokenizer

    return Tokenizer.load(path)


def _text(text: str) -> bytes:
    return sys.stdin.buffer.read() if text == "-" else text.encode("utf-8", "surrogateescape")
