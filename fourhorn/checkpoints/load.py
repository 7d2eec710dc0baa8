"""One door for every checkpoint: what a file or folder is, is read off its content, never off its name.

    native folder or run folder · Hugging Face folder · OpenAI's TensorFlow folder · nanoGPT · llm.c · GGUF

In: a path, or a released size such as "124M" that `fourhorn download` has fetched. Out: a model and its tokenizer.
Raises: `UserError` for what is missing, damaged, unknown, or a pickle: unpickling runs whatever code the file holds, so
only `fourhorn convert --trust-pickle` reads one, with torch's weights-only loader.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fourhorn.checkpoints import native
from fourhorn.checkpoints.names import Checkpoint, crop_vocabulary
from fourhorn.errors import UserError, unknown
from fourhorn.model.config import SIZES
from fourhorn.model.transformer import GPT2

if TYPE_CHECKING:
    from fourhorn.tokenizer.tokenizer import Tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
KNOWN = "a native, run, Hugging Face, OpenAI TensorFlow, nanoGPT or llm.c checkpoint, or a .gguf file"
PICKLE = "pickle"


def load(
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: str = "float32",
    tokenizer: str | Path | None = None,
) -> tuple[GPT2, Tokenizer]:
    """Load a model and its tokenizer from any known checkpoint.

    Args:
        source: a checkpoint's file or folder, a run folder, or a released size that was downloaded ("124M").
        device: where the model is put ("cpu", "cuda", "cuda:1", "mps").
        dtype: type of its weights: float32, bfloat16 or float16.
        tokenizer: folder or file of the tokenizer, for checkpoints that come without one.

    Returns:
        The model, ready for evaluation, and the tokenizer.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    checkpoint = read(source, tokenizer=tokenizer)
    if checkpoint.tokenizer is None:
        raise UserError(
            f"{source} comes without a tokenizer. Name the folder that has its encoder.json and vocab.bpe: "
            f"fourhorn.load({str(source)!r}, tokenizer=FOLDER), or --tokenizer FOLDER."
        )
    model = native.model_of(checkpoint)
    return model.to(device=device, dtype=DTYPES[dtype]), checkpoint.tokenizer


def read(
    source: str | Path, *, tokenizer: str | Path | None = None, trust_pickle: bool = False
) -> Checkpoint:
    """Read any known checkpoint into weights, config and tokenizer.

    Args:
        source: see `load`.
        tokenizer: see `load`; it replaces the one that came with the weights.
        trust_pickle: read .bin and .pt files with torch's weights-only loader instead of refusing them.
    """
    path = find(source)
    found = detect(path)
    if found is None:
        raise UserError(f"{source} is not a checkpoint that is known here: {KNOWN}.")
    if found == PICKLE and not trust_pickle:
        raise UserError(
            f"{source} is a pickle, which can run code when it is read. If you trust its author, convert it once: "
            f"fourhorn convert {source} NEW_FOLDER --trust-pickle"
        )
    checkpoint = readers()[found](path)
    if tokenizer is not None:
        from fourhorn.tokenizer.tokenizer import Tokenizer

        checkpoint.tokenizer = Tokenizer.load(tokenizer)
    return check_vocabulary(crop_vocabulary(checkpoint), source)


def check_vocabulary(checkpoint: Checkpoint, source: str | Path) -> Checkpoint:
    """A tokenizer must not name tokens that the model has no row for."""
    tokenizer, n_vocab = checkpoint.tokenizer, checkpoint.config.n_vocab
    if tokenizer is not None and tokenizer.n_vocab > n_vocab:
        raise UserError(
            f"The tokenizer of {source} has {tokenizer.n_vocab} tokens, its model only {n_vocab}; "
            "they do not belong together."
        )
    return checkpoint


def find(source: str | Path) -> Path:
    """The path that a source stands for: itself, a run's checkpoint, or a downloaded release."""
    path = Path(source)
    if str(source) in SIZES and not path.exists():
        from fourhorn.checkpoints.released import cached

        return cached(str(source))
    if not path.exists():
        raise UserError(f"{source} does not exist. Give {KNOWN}, or one of {', '.join(SIZES)}.")
    if (path / "checkpoint" / "config.json").is_file():
        return path / "checkpoint"
    return path


def detect(path: Path) -> str | None:
    """Name the format of a file or folder by its content; None if it is none of ours."""
    from fourhorn.checkpoints import gguf, huggingface, llmc, nanogpt, openai, pickles

    formats = (
        ("native", native.is_native),
        ("huggingface", huggingface.is_huggingface),
        ("nanogpt", nanogpt.is_nanogpt),
        ("openai", openai.is_openai),
        ("gguf", gguf.is_gguf),
        ("llmc", llmc.is_llmc),
        (PICKLE, pickles.is_pickle),
    )
    return next((name for name, matches in formats if matches(path)), None)


def readers() -> dict[str, Callable[[Path], Checkpoint]]:
    """How each format is read."""
    from fourhorn.checkpoints import gguf, huggingface, llmc, nanogpt, openai, pickles

    return {
        "native": native.read,
        "huggingface": huggingface.read,
        "nanogpt": nanogpt.read,
        "openai": openai.read,
        "gguf": gguf.read,
        "llmc": llmc.read,
        PICKLE: pickles.read,
    }
