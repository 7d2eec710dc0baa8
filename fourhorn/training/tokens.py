"""The folder a run reads: token shards of `train` and `val`, and the tokenizer they were made with, kept beside them.

§2.2 made the tokens; here they are only opened, checked against the model's shape, and given a digest that a resumed
run and every other process must agree on.

Raises `UserError` for a folder without token shards, or with ids the model has no embedding for.
"""

import json
from pathlib import Path
from typing import Any

from fourhorn.errors import UserError
from fourhorn.files import read_json, sha256_bytes
from fourhorn.model.config import GPT2Config
from fourhorn.tokenizer.tokens import TokenShards
from fourhorn.training.batches import TokenStream


class TokenFolder:
    """`tokens/train` and, where there is one, `tokens/val`."""

    def __init__(self, folder: Path, tokenizer: str | Path | None = None) -> None:
        if not (folder / "train" / "index.json").is_file():
            raise UserError(
                f"{folder} holds no token shards: train/index.json is missing. Make them with "
                f"`fourhorn tokens webtext/train {folder / 'train'} --tokenizer tokenizer`."
            )
        self.folder = folder
        self.index: dict[str, Any] = read_json(folder / "train" / "index.json")
        self.train: TokenStream = TokenShards(folder / "train")
        has_val = (folder / "val" / "index.json").is_file()
        self.val: TokenStream | None = TokenShards(folder / "val") if has_val else None
        self.n_vocab = int(self.index["n_vocab"])
        self._tokenizer = Path(tokenizer) if tokenizer else None

    @property
    def digest(self) -> str:
        """A SHA-256 over the shards' own."""
        return sha256_bytes(json.dumps(self.index["shards"], sort_keys=True).encode())

    def check(self, shape: GPT2Config) -> None:
        """Refuse a model whose embedding lacks some of the ids."""
        if shape.n_vocab < self.n_vocab:
            raise UserError(
                f"n_vocab {shape.n_vocab} is smaller than the tokenizer's {self.n_vocab} in {self.folder}. "
                "Leave --n-vocab out to take the tokenizer's."
            )

    def tokenizer(self) -> Any:
        """The tokenizer the tokens were made with; None where none is beside them."""
        from fourhorn.tokenizer import Tokenizer

        beside = (self.folder / "train", self.folder / "tokenizer", self.folder.parent / "tokenizer")
        for place in (self._tokenizer,) if self._tokenizer else beside:
            if self._tokenizer or (place / "encoder.json").is_file():
                found = Tokenizer.load(place)
                if found.sha256 == self.index["tokenizer_sha256"]:
                    return found
                if self._tokenizer:
                    raise UserError(
                        f"{place} is not the tokenizer that made {self.folder}; their SHA-256 differ."
                    )
        return None
