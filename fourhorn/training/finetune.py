"""`finetune`: go on training a checkpoint on one's own text, or on questions with their answers.

§5: the same model, adapted. Text is cut into windows like WebText was; documents stay apart by `<|endoftext|>`. Rows
with `prompt` and `completion` are supervised pairs: each is one sample, padded to the longest, and only the
completion's tokens count in the loss. A twentieth of the documents (at least one) is held out by a hash of their
text; training stops early once their loss no longer falls. The loop is that of `train`.

In: .txt, .jsonl, .csv, .parquet, or a folder of them. Raises `UserError` for empty or unusable data.
"""

import csv
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourhorn.errors import UserError
from fourhorn.records import iter_records
from fourhorn.runtime import runtime, set_threads
from fourhorn.training import parallel
from fourhorn.training.batches import Batch, Batches, BatchSource, Windows, key_of, permuted
from fourhorn.training.config import FINETUNE, TrainConfig
from fourhorn.training.loop import Job, resolve, run_job


class TokenArray:
    """Tokens in memory as a stream."""

    def __init__(self, tokens: NDArray[np.generic]) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def read(self, start: int, count: int) -> NDArray[np.generic]:
        """`count` tokens from position `start`."""
        return self.tokens[start : start + count]


class Pairs:
    """Prompt-completion pairs as samples; with `seed` in a new order every pass, without it in order."""

    def __init__(
        self, pairs: list[tuple[list[int], list[int]]], *, n_ctx: int, eot: int, seed: int | None
    ) -> None:
        self.pairs, self.seed, self.eot = pairs, seed, eot
        self.n_samples = len(pairs)
        longest = max(len(prompt) + len(completion) + 1 for prompt, completion in pairs)
        self.width = min((longest + 31) // 32 * 32, n_ctx)

    def read(self, position: int, count: int) -> Batch:
        """Samples `position` … `position + count - 1`: [eot] prompt completion [eot], the completion's end counting."""
        numbers = np.arange(position, position + count, dtype=np.int64)
        if self.seed is None:
            numbers = numbers[numbers < self.n_samples]
        tokens = np.full((len(numbers), self.width + 1), self.eot, np.int64)
        weights = np.zeros((len(numbers), self.width), np.float32)
        for row, number in enumerate(numbers):
            index = int(number)
            if self.seed is not None:
                key = key_of(self.seed, int(number) // self.n_samples, 4)
                index = int(permuted(np.array([number % self.n_samples]), self.n_samples, key)[0])
            prompt, completion = self.pairs[index]
            ids = [self.eot, *prompt, *completion, self.eot][: self.width + 1]
            tokens[row, : len(ids)] = ids
            weights[row, len(prompt) : len(ids) - 1] = 1.0
        return Batch(tokens[:, :-1], tokens[:, 1:], weights)


def finetune(
    data: str | Path | Iterable[str],
    run: str | Path,
    *,
    model: str | Path = "124M",
    text_column: str = "text",
    config: TrainConfig | None = None,
) -> dict[str, Any]:
    """Fine-tune a checkpoint on your own text, or on prompt-completion pairs.

    Args:
        data: A text file, jsonl, csv or parquet, a folder of them, or texts.
        run: The run folder to make or to go on with.
        model: The checkpoint to start from: a size such as 124M, a run folder, a checkpoint folder or file.
        text_column: The column that holds the text.
        config: The options of the run; size and context are those of the checkpoint.

    Returns:
        The summary, as in `summary.json`.
    """
    from fourhorn.checkpoints.load import load

    config, run = config or FINETUNE, Path(run)
    place = runtime(config.device, config.dtype)
    set_threads(config.n_threads)
    rows = list(read_rows(data, text_column))
    loaded, tokenizer = load(model)
    if tokenizer is None:
        raise UserError(
            f"{model} has no tokenizer beside it; fine-tuning needs the one the model was trained with."
        )
    shape = loaded.config
    config = config.with_options(
        n_layer=shape.n_layer,
        n_head=shape.n_head,
        n_embd=shape.n_embd,
        n_ctx=shape.n_ctx,
        n_vocab=shape.n_vocab,
    )
    loaded.config = shape = config.model()
    set_dropout(loaded, config.dropout)
    with parallel.process_group(place):
        config = resolve(config, shape, place, run)
        source, held_out = sources(rows, tokenizer, config)
        digest = hashlib.sha256("\0".join(map(repr, rows)).encode()).hexdigest()
        job = Job(
            run, config, shape, source, held_out, tokenizer, model=lambda: loaded, facts={"tokens": digest}
        )
        return run_job(job, place)


def set_dropout(model: Any, dropout: float) -> None:
    """Use another dropout than the checkpoint was made with."""
    for module in model.modules():
        if hasattr(module, "p") and hasattr(module, "inplace"):
            module.p = dropout
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = dropout


def read_rows(data: str | Path | Iterable[str], text_column: str) -> Iterator[str | tuple[str, str]]:
    """The texts, or (prompt, completion) pairs, of the data."""
    if not isinstance(data, str | Path):
        yield from data
        return
    path = Path(data)
    if not path.exists():
        raise UserError(
            f"{path} does not exist. Give a text file, jsonl, csv or parquet, or a folder of them."
        )
    if path.is_file() and path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield _row(row, path, text_column)
        return
    for record in iter_records(path):
        yield _row(record, path, text_column)


def _row(record: dict[str, Any], path: Path, text_column: str) -> str | tuple[str, str]:
    prompt, completion = record.get("prompt"), record.get("completion")
    if isinstance(prompt, str) and isinstance(completion, str):
        return prompt, completion
    text = record.get(text_column)
    if not isinstance(text, str):
        raise UserError(
            f"A row of {path} has neither {text_column!r} nor prompt and completion; it has {', '.join(record)}. "
            "Name the column with --text-column."
        )
    return text


def sources(
    rows: list[str | tuple[str, str]], tokenizer: Any, config: TrainConfig
) -> tuple[BatchSource, BatchSource | None]:
    """What is trained on, and what is held out: about a twentieth of the rows, none of a single one."""
    if not rows:
        raise UserError("There is no text to train on.")
    held = {i for i, row in enumerate(rows) if hashlib.sha256(repr(row).encode()).digest()[0] < 13}
    if len(held) == len(rows) or (not held and len(rows) > 1):
        held = {len(rows) - 1}
    kept, out = [r for i, r in enumerate(rows) if i not in held], [r for i, r in enumerate(rows) if i in held]
    if all(isinstance(row, tuple) for row in rows):
        encode = tokenizer.encode_ordinary
        parts = [[(encode(row[0]), encode(row[1])) for row in part] for part in (kept, out)]
        make = [
            Pairs(part, n_ctx=config.n_ctx, eot=tokenizer.eot, seed=config.seed if i == 0 else None)
            if part
            else None
            for i, part in enumerate(parts)
        ]
        assert make[0] is not None  # `kept` is never empty
        return make[0], make[1]
    tokens = as_tokens(kept, tokenizer)
    if not out:  # one document: its last twentieth is held out
        cut = len(tokens) - max(len(tokens) // 20, 2)
        tokens, ends = tokens[:cut], tokens[cut:]
    else:
        ends = as_tokens(out, tokenizer)
    if len(tokens) < 2 * config.n_ctx + 1:  # very little text is read again and again
        tokens = np.tile(tokens, 2 * config.n_ctx // max(len(tokens), 1) + 2)
    stream, measured = TokenArray(tokens), TokenArray(ends)
    held_out = Windows(measured, n_ctx=config.n_ctx, n_tokens=config.eval_tokens) if len(ends) > 1 else None
    return Batches(stream, n_ctx=config.n_ctx, seed=config.seed), held_out


def as_tokens(rows: list[str | tuple[str, str]], tokenizer: Any) -> NDArray[np.int64]:
    """Documents one after the other, each begun by the separator; a pair counts as one text."""
    ids: list[int] = []
    for row in rows:
        ids += [tokenizer.eot, *tokenizer.encode_ordinary(row if isinstance(row, str) else "".join(row))]
    return np.array(ids, np.int64)
