"""Compare vocabularies: bytes per token by kind of text, as numbers and as a plot.

Section 2.2: the more bytes a token holds, the more text fits into a context of 1,024 tokens, and the cheaper a byte
is to model. A vocabulary learned on one kind of text is wasteful on another; this shows by how much.
In: vocabularies and texts by kind. Out: a JSON table and an SVG bar chart.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from fourhorn.errors import UserError
from fourhorn.files import atomic_write, write_json
from fourhorn.tokenizer.source import read_batches
from fourhorn.tokenizer.tokenizer import Tokenizer

SAMPLES = {
    "English": (
        "The ferry left an hour late, and nobody on the quay seemed to mind. A girl was teaching her small brother to "
        "count the gulls; he reached eleven, lost his place and began again, quite content to start from one."
    ),
    "French": (
        "Le bac est parti avec une heure de retard, et personne sur le quai ne s’en est plaint. Une fillette apprenait "
        "à son petit frère à compter les mouettes ; arrivé à onze, il recommençait depuis le début."
    ),
    "German": (
        "Die Fähre legte eine Stunde zu spät ab, und niemanden am Kai schien es zu stören. Ein Mädchen brachte seinem "
        "kleinen Bruder bei, Möwen zu zählen; bei elf verlor er den Faden und fing vergnügt von vorne an."
    ),
    "Russian": "Паром отошёл на час позже, и никто на причале не жаловался. Девочка учила брата считать чаек.",
    "Greek": "Το πλοίο έφυγε με μία ώρα καθυστέρηση και κανείς στην αποβάθρα δεν παραπονέθηκε.",
    "Chinese": "渡轮晚了一个小时才开，码头上却没有人抱怨。一个女孩正在教弟弟数海鸥，数到十一他又从头开始。",
    "Python code": (
        "def count_gulls(gulls, start=1):\n    seen = {}\n    for number, gull in enumerate(gulls, start=start):\n"
        "        if gull.name not in seen:\n            seen[gull.name] = number\n    return seen\n"
    ),
    "numbers": "1024 + 768 = 1792; 3.14159; 2019-02-14; 50,257 tokens; 1.5e9; 0x1F600; 99.7 %",
    "emoji": "🦄🦄🦄 four horns 🎉 — 👩‍🚀🚀 👍🏽",
}
COLORS = ("#2a6f97", "#e07a5f", "#81b29a", "#8d6a9f")


@dataclass(frozen=True)
class Row:
    """One vocabulary on one kind of text."""

    tokenizer: str
    n_vocab: int
    kind: str
    n_bytes: int
    n_tokens: int

    @property
    def bytes_per_token(self) -> float:
        """How many bytes a token holds on average."""
        return self.n_bytes / self.n_tokens


def measure(tokenizers: Mapping[str, Tokenizer], files: Mapping[str, Path] | None = None) -> list[Row]:
    """Bytes per token of each vocabulary on each kind of text: files by kind, or else the small built-in samples."""
    rows = []
    for kind in files or SAMPLES:
        parts = [p for b in read_batches(files[kind]) for p in b.parts] if files else [SAMPLES[kind].encode()]
        n_bytes = sum(map(len, parts))
        if not n_bytes:
            raise UserError(f"The text of kind {kind!r} is empty.")
        for name, tokenizer in tokenizers.items():
            ids, _ = tokenizer.encode_documents(parts, n_threads=2)
            rows.append(Row(name, tokenizer.n_vocab, kind, n_bytes, len(ids)))
    return rows


def write(rows: list[Row], folder: Path) -> None:
    """Write comparison.json and comparison.svg into `folder`."""
    write_json(
        folder / "comparison.json", [{**asdict(row), "bytes_per_token": row.bytes_per_token} for row in rows]
    )
    with atomic_write(folder / "comparison.svg", "w") as file:
        file.write(svg(rows))


def svg(rows: list[Row]) -> str:
    """A horizontal bar chart: one group of bars per kind of text, one color per vocabulary."""
    kinds = list(dict.fromkeys(row.kind for row in rows))
    names = list(dict.fromkeys(row.tokenizer for row in rows))
    bar, gap, left, width = 14, 12, 130, 720
    group = bar * len(names) + gap
    top = 40 + 18 * len(names)
    scale = (width - left - 60) / max(row.bytes_per_token for row in rows)
    parts = ['<text x="8" y="20" font-size="15" font-weight="bold">Bytes per token</text>']
    for i, name in enumerate(names):
        color = COLORS[i % len(COLORS)]
        parts.append(f'<rect x="8" y="{30 + 18 * i}" width="12" height="12" fill="{color}"/>')
        n_vocab = next(row.n_vocab for row in rows if row.tokenizer == name)
        parts.append(f'<text x="26" y="{40 + 18 * i}">{escape(name)} ({n_vocab:,} tokens)</text>')
    for row in rows:
        i, k = names.index(row.tokenizer), kinds.index(row.kind)
        y = top + k * group + i * bar
        length = row.bytes_per_token * scale
        if i == 0:
            parts.append(f'<text x="{left - 8}" y="{y + bar}" text-anchor="end">{escape(row.kind)}</text>')
        parts.append(
            f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 2}" fill="{COLORS[i % len(COLORS)]}"/>'
            f'<text x="{left + length + 5:.1f}" y="{y + bar - 4}" font-size="11">{row.bytes_per_token:.2f}</text>'
        )
    height = top + group * len(kinds)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        + "".join(parts)
        + "</svg>\n"
    )
