"""nanoGPT's weights, both ways: its names and orientation in a safetensors file, its `model_args` beside it.

nanoGPT itself saves pickles; those come in through `pickles` and `--trust-pickle`. Going out, no pickle is written: a
nanoGPT user reads the folder with `model.load_state_dict(safetensors.torch.load_file(…))`.
Without biases (`bias=False`) is the same as with biases of zero, and is read so.

In: a folder with model.safetensors and model_args.json. Out: a `Checkpoint`, and back. Raises: `UserError`.
Source: karpathy/nanoGPT `model.py` (names) and `train.py` (the fields of its checkpoint).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fourhorn.checkpoints.bounds import read_json_object
from fourhorn.checkpoints.names import (
    Checkpoint,
    Weights,
    check_size,
    check_weights,
    config_of,
    weight_shapes,
)
from fourhorn.checkpoints.native import read_tokenizer
from fourhorn.checkpoints.tensors import read_tensors, write_tensors
from fourhorn.errors import UserError
from fourhorn.files import atomic_folder, write_json

COMPILED_PREFIX = "_orig_mod."  # left in the names when a compiled model is saved


def is_nanogpt(path: Path) -> bool:
    """True for a folder with nanoGPT's weights as safetensors."""
    return (path / "model_args.json").is_file() and (path / "model.safetensors").is_file()


def read(folder: Path) -> Checkpoint:
    """Read a folder that `write` made."""
    path = folder / "model.safetensors"
    arguments = read_json_object(folder / "model_args.json")
    check_size(config_of(sizes_of(arguments), folder), path.stat().st_size, path)
    checkpoint = from_nanogpt(arguments, read_tensors(path)[0], folder)
    checkpoint.tokenizer = read_tokenizer(folder)
    return checkpoint


def sizes_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """Our names for nanoGPT's sizes."""
    sizes = {name: arguments.get(name) for name in ("n_layer", "n_head", "n_embd")}
    dropout = arguments.get("dropout", 0.0)
    return sizes | {
        "n_ctx": arguments.get("block_size"),
        "n_vocab": arguments.get("vocab_size"),
        "dropout": dropout,
    }


def from_nanogpt(arguments: dict[str, Any], stored: Weights, source: Path) -> Checkpoint:
    """A checkpoint from nanoGPT's `model_args` and state dict."""
    config = config_of(sizes_of(arguments), source)
    weights: Weights = {}
    for stored_name, tensor in stored.items():
        name = stored_name.removeprefix(COMPILED_PREFIX).removeprefix("transformer.")
        if name == "lm_head.weight" or name.endswith(".attn.bias"):
            continue  # the head is the embedding; the mask is no weight
        weights[name] = tensor
    head = stored.get("lm_head.weight", stored.get(f"{COMPILED_PREFIX}lm_head.weight"))
    if head is not None and "wte.weight" in weights and not torch.equal(head, weights["wte.weight"]):
        raise UserError(
            f"{source} has a head of its own beside its embedding; GPT-2's head is the embedding."
        )
    for name, shape in weight_shapes(config).items():
        if name.endswith(".bias") and name not in weights and not arguments.get("bias", True):
            weights[name] = torch.zeros(
                shape, dtype=weights["wte.weight"].dtype if "wte.weight" in weights else None
            )
    check_weights(weights, config, source)
    return Checkpoint(config, weights, None, {"converted_from": "nanogpt"})


def write(checkpoint: Checkpoint, folder: str | Path) -> Path:
    """Write a folder with nanoGPT's names; the head is written a second time as it has it."""
    folder, config = Path(folder), checkpoint.config
    check_weights(checkpoint.weights, config, folder)
    stored = {f"transformer.{name}": tensor for name, tensor in checkpoint.weights.items()}
    stored["lm_head.weight"] = checkpoint.weights["wte.weight"].clone()
    arguments = {
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_embd": config.n_embd,
        "block_size": config.n_ctx,
        "vocab_size": config.n_vocab,
        "dropout": config.dropout,
        "bias": True,
    }
    with atomic_folder(folder) as temporary:
        write_tensors(stored, temporary / "model.safetensors")
        write_json(temporary / "model_args.json", arguments)
        if checkpoint.tokenizer is not None:
            checkpoint.tokenizer.save(temporary)
    return folder
