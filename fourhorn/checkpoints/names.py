"""One set of weight names and shapes; every format is a renaming and a transposition of it.

§2.3. In memory a model's weights carry OpenAI's names and `nn.Linear`'s orientation: y = x Wᵀ + b, W of shape
(out, in). OpenAI's TensorFlow graph and Hugging Face store the four matrices of a block as (in, out).

In: a `GPT2Config`. Out: names with shapes. Raises: `UserError` naming what is missing, unexpected or misshapen.
Source: the variable names of openai/gpt-2 `src/model.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fourhorn.errors import UserError
from fourhorn.model.config import GPT2Config

if TYPE_CHECKING:
    from fourhorn.tokenizer.tokenizer import Tokenizer

Weights = dict[str, torch.Tensor]
MATRICES = (
    "attn.c_attn",
    "attn.c_proj",
    "mlp.c_fc",
    "mlp.c_proj",
)  # the four that OpenAI and Hugging Face store turned
LIMITS = {"n_layer": 1_000, "n_head": 65_536, "n_embd": 65_536, "n_ctx": 1 << 20, "n_vocab": 1 << 22}


@dataclass
class Checkpoint:
    """What every reader returns and every writer takes: weights under our names, config and tokenizer."""

    config: GPT2Config
    weights: Weights
    tokenizer: Tokenizer | None = None
    details: dict[str, Any] = field(default_factory=dict)


def weight_shapes(config: GPT2Config) -> dict[str, tuple[int, ...]]:
    """Every weight's name and shape, in the model's order."""
    C = config.n_embd
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (config.n_vocab, C), "wpe.weight": (config.n_ctx, C)}
    for layer in range(config.n_layer):
        shapes |= {f"h.{layer}.{name}": shape for name, shape in block_shapes(C).items()}
    return shapes | {"ln_f.weight": (C,), "ln_f.bias": (C,)}


def block_shapes(C: int) -> dict[str, tuple[int, ...]]:
    """The twelve weights of one block."""
    return {
        "ln_1.weight": (C,),
        "ln_1.bias": (C,),
        "attn.c_attn.weight": (3 * C, C),
        "attn.c_attn.bias": (3 * C,),
        "attn.c_proj.weight": (C, C),
        "attn.c_proj.bias": (C,),
        "ln_2.weight": (C,),
        "ln_2.bias": (C,),
        "mlp.c_fc.weight": (4 * C, C),
        "mlp.c_fc.bias": (4 * C,),
        "mlp.c_proj.weight": (C, 4 * C),
        "mlp.c_proj.bias": (C,),
    }


def is_matrix(name: str) -> bool:
    """True for the weights that OpenAI's and Hugging Face's files hold as (in, out)."""
    return name.endswith(tuple(f"{matrix}.weight" for matrix in MATRICES))


def config_of(fields: Mapping[str, Any], source: Path) -> GPT2Config:
    """Build a `GPT2Config` from a file's own figures, each within bounds.

    Args:
        fields: n_layer, n_head, n_embd, n_ctx, n_vocab and perhaps dropout.
        source: the file that says so, for the message.
    """
    sizes: dict[str, int] = {}
    for name, limit in LIMITS.items():
        value = fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
            raise UserError(f"{source} says {name} = {value!r}; a whole number from 1 to {limit} is needed.")
        sizes[name] = value
    dropout = fields.get("dropout", 0.1)
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise UserError(f"{source} says dropout = {dropout!r}; a number from 0 to below 1 is needed.")
    return GPT2Config(**sizes, dropout=float(dropout))


def check_weights(weights: Mapping[str, torch.Tensor], config: GPT2Config, source: Path) -> None:
    """Compare weights with what the config calls for, by name and shape."""
    expected = weight_shapes(config)
    missing = [name for name in expected if name not in weights]
    if missing:
        raise UserError(
            f"{source} lacks {len(missing)} of GPT-2's {len(expected)} weights, first {missing[0]!r}."
        )
    unexpected = [name for name in weights if name not in expected]
    if unexpected:
        raise UserError(
            f"{source} holds {len(unexpected)} weights that are not GPT-2's, first {unexpected[0]!r}."
        )
    for name, shape in expected.items():
        if tuple(weights[name].shape) != shape:
            found = tuple(weights[name].shape)
            raise UserError(f"{source}: {name} has the shape {found}, its config calls for {shape}.")
        if not weights[name].dtype.is_floating_point:
            raise UserError(f"{source}: {name} holds {weights[name].dtype}, not floating-point numbers.")


def check_size(
    config: GPT2Config, available_bytes: int, source: Path, *, bytes_per_weight: float = 1.0
) -> None:
    """Refuse, before anything is allocated, a config whose weights could not be in the file."""
    C = config.n_embd
    block = sum(math.prod(shape) for shape in block_shapes(C).values())
    needed = (config.n_vocab + config.n_ctx + 2) * C + config.n_layer * block
    if needed * bytes_per_weight > available_bytes:
        raise UserError(
            f"{source} has {available_bytes} bytes, too few for the {needed} weights of its config."
        )


def crop_vocabulary(checkpoint: Checkpoint) -> Checkpoint:
    """Drop the rows of `wte` past the tokenizer's last token.

    Other trainers round the vocabulary up (nanoGPT to 50,304) for speed; those rows stand for no text.
    """
    tokenizer = checkpoint.tokenizer
    if tokenizer is None or tokenizer.n_vocab >= checkpoint.config.n_vocab:
        return checkpoint
    config = GPT2Config.from_dict(checkpoint.config.to_dict() | {"n_vocab": tokenizer.n_vocab})
    weights = checkpoint.weights | {
        "wte.weight": checkpoint.weights["wte.weight"][: tokenizer.n_vocab].clone()
    }
    details = checkpoint.details | {"padded_n_vocab": checkpoint.config.n_vocab}
    return Checkpoint(config, weights, tokenizer, details)
