"""§3.1, Table 3: how well a text is predicted, per unit of the original file.

Total nats of the whole text under the model over the number of *canonical units of the original file* (words with
one end of line per line, bytes, or characters), exponentiated or in bits. The text the model reads is de-tokenized
first; that is legitimate because the de-tokenizer is invertible.

The paper states neither the stride nor the joining of lines. Here the text is one stream after `<|endoftext|>`,
read in windows of the model's context that move on by `stride` tokens; publish 1024, 512 and 32. Public runs of the
smallest model: WikiText-103 37.37 per original word in windows of 1024 (paper 37.50); WikiText-2 29.94 per *token*,
which is not the paper's unit. 1BW is scored both as a stream of lines and with `<|endoftext|>` before each
sentence.

Per-token, per-word, per-byte and per-character figures are all given; none is a bare "perplexity".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fourhorn.evaluation.detokenize import PTB, WIKITEXT, Rules, detokenize
from fourhorn.evaluation.metrics import bits, rate
from fourhorn.evaluation.scoring import Scorer, Window, window_request, windows
from fourhorn.evaluation.task import Metric, Record, Source, Task

DETOKENIZERS: dict[str, Rules | None] = {
    "wikitext2": WIKITEXT,
    "wikitext103": WIKITEXT,
    "ptb": PTB,
    "1bw": WIKITEXT,
}


@dataclass(frozen=True)
class Units:
    """How many of each unit the original text has."""

    words: int
    bytes: int
    chars: int


def count_units(data: bytes) -> Units:
    """Words plus one end of line per line, bytes, and characters (of the text read as UTF-8)."""
    text = data.decode("utf-8", errors="surrogateescape")
    return Units(len(text.split()) + data.count(b"\n"), len(data), len(text))


class LanguageModeling(Task):
    """One text or a set of documents, scored in windows; an item is one window."""

    section = "3.1"

    def __init__(
        self,
        name: str,
        source: Source,
        documents: Sequence[bytes],
        *,
        detokenized: bool = True,
        strides: Sequence[int] = (1024,),
        limit: int | None = None,
    ) -> None:
        super().__init__(source)
        self.name = name
        self.rules = DETOKENIZERS.get(name) if detokenized else None
        self.units = [count_units(document) for document in documents]
        self.texts = [self._detokenize(document) for document in documents]
        self.strides, self.limit = tuple(strides), limit
        self._tokens: list[list[int]] = []
        self._items: list[tuple[int, int, Window]] = []

    def _detokenize(self, document: bytes) -> bytes:
        if self.rules is None:
            return document
        lines = document.decode("utf-8", errors="surrogateescape").split("\n")
        text = "\n".join(detokenize(line, self.rules) for line in lines)
        return text.encode("utf-8", errors="surrogateescape")

    @property
    def n_items(self) -> int:
        return len(self._items)

    def protocol(self) -> dict[str, Any]:
        return {
            "unit": "total nats over the original file's units; words count one end of line per line",
            "units": {
                unit: sum(getattr(u, unit) for u in self.units) for unit in ("words", "bytes", "chars")
            },
            "detokenizer": "fourhorn, invertible" if self.rules else "none",
            "strides": list(self.strides),
            "documents": len(self.units),
            "first_token": "after <|endoftext|>, once per document",
        }

    def batches(self, scorer: Scorer) -> list[list[int]]:
        """Windows of every document and stride; equal widths make good batches in reading order."""
        self._tokens = [encode_bytes(scorer.tokenizer, text) for text in self.texts]
        self.strides = tuple(sorted({min(stride, scorer.n_ctx) for stride in self.strides}, reverse=True))
        self._items = [
            (stride, document, window)
            for stride in self.strides
            for document, tokens in enumerate(self._tokens)
            for window in windows(len(tokens), scorer.n_ctx, stride)
        ][: self.limit]
        lengths = [window.stop - window.start for _, _, window in self._items]
        order = sorted(range(len(self._items)), key=lambda i: (-lengths[i], i))
        return [order[start : start + scorer.batch_size] for start in range(0, len(order), scorer.batch_size)]

    def score(self, scorer: Scorer, batch: Sequence[int]) -> list[Record]:
        items = [self._items[i] for i in batch]
        requests = [
            window_request(self._tokens[document], window, scorer.eot) for _, document, window in items
        ]
        records = []
        for i, (stride, document, window), score in zip(
            batch, items, scorer.loglikelihoods(requests), strict=True
        ):
            covered = self._tokens[document][window.first : window.stop]
            records.append(
                {
                    "id": str(i),
                    "stride": stride,
                    "document": document,
                    "first": window.first,
                    "n_tokens": len(covered),
                    "n_bytes": sum(len(scorer.token_bytes[token]) for token in covered),
                    "nats": -score.loglikelihood,
                }
            )
        return records

    def metrics(self, records: Sequence[Record]) -> dict[str, Metric]:
        """The first stride's figures under plain names, further strides' with `_stride_N`."""
        found: dict[str, Metric] = {}
        for position, stride in enumerate(self.strides):
            part = [r for r in records if r["stride"] == stride]
            if part:
                suffix = f"_stride_{stride}" if position else ""
                found |= {f"{name}{suffix}": metric for name, metric in self._figures(part).items()}
        return found

    def _figures(self, records: Sequence[Record]) -> dict[str, Metric]:
        """Bootstrap over documents; a single stream is cut into its windows.

        A window's share of its document's units is its share of the bytes: only the interval depends on that.
        """
        by_document = len(self.units) > 1
        blocks: dict[int, list[Record]] = {}
        for record in sorted(records, key=lambda r: (r["document"], r["first"])):
            blocks.setdefault(record["document"] if by_document else record["first"], []).append(record)
        nats = [math.fsum(r["nats"] for r in block) for block in blocks.values()]

        def per(unit: str) -> list[float]:
            per_byte = [
                getattr(u, unit) / max(1, len(text)) for u, text in zip(self.units, self.texts, strict=True)
            ]
            return [
                math.fsum(r["n_bytes"] * per_byte[r["document"]] for r in block) for block in blocks.values()
            ]

        return {
            "token_perplexity": rate(nats, [sum(r["n_tokens"] for r in block) for block in blocks.values()]),
            "word_perplexity": rate(nats, per("words")),
            "bits_per_byte": rate(nats, per("bytes"), bits),
            "bits_per_char": rate(nats, per("chars"), bits),
        }


def encode_bytes(tokenizer: Any, data: bytes) -> list[int]:
    """Tokens of any bytes, also of text cut inside a character: each invalid byte becomes its own byte token."""
    tokens: list[int] = []
    while data:
        try:
            return tokens + list(tokenizer.encode_ordinary(data.decode("utf-8")))
        except UnicodeDecodeError as error:
            if error.start:
                tokens += tokenizer.encode_ordinary(data[: error.start].decode("utf-8"))
            single = single_bytes(tokenizer)
            tokens += [single[byte] for byte in data[error.start : error.end]]
            data = data[error.end :]
    return tokens


def single_bytes(tokenizer: Any) -> dict[int, int]:
    """The token of each single byte; byte-level BPE has all 256."""
    found: dict[int, int] = {}
    for token in range(tokenizer.n_vocab):
        piece = tokenizer.decode_bytes([token])
        if len(piece) == 1:
            found.setdefault(piece[0], token)
        if len(found) == 256:
            break
    return found
