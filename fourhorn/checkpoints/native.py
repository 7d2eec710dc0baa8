"""The native checkpoint: one folder with weights, config and tokenizer, complete or absent.

    model.safetensors   weights under OpenAI's names, in nn.Linear's orientation, with a sha256 over all of them
    config.json         sizes, digest, number of weights, and what the writer wanted to remember
    encoder.json, vocab.bpe   the tokenizer, in OpenAI's format

In: a `GPT2` and a `Tokenizer`. Out: the folder, and back; it appears by one rename, never by halves.
Raises: `UserError` for a folder that is missing, damaged or something else.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from fourhorn.checkpoints.bounds import read_json_object
from fourhorn.checkpoints.names import Checkpoint, Weights, check_size, check_weights, config_of
from fourhorn.checkpoints.tensors import read_tensors, write_tensors
from fourhorn.errors import UserError
from fourhorn.files import atomic_folder, write_json
from fourhorn.model.transformer import GPT2

if TYPE_CHECKING:
    from fourhorn.tokenizer.tokenizer import Tokenizer

FORMAT = "fourhorn-checkpoint"
VERSION = 1
FILLING = {"kaiming_uniform_", "normal_", "uniform_", "fill_", "zero_"}


def save(
    model: GPT2, tokenizer: Tokenizer | None, folder: str | Path, *, details: dict[str, Any] | None = None
) -> Path:
    """Write a model and its tokenizer as a native checkpoint folder.

    Args:
        model: the model; its weights are written in the type they have.
        tokenizer: the tokenizer it was trained with; None writes weights and config alone.
        folder: the folder to write; one that is there already is replaced in one step.
        details: anything JSON can hold that should stay with the weights (step, losses, data).

    Returns:
        The folder.
    """
    return write(Checkpoint(model.config, weights_of(model), tokenizer, details or {}), folder)


def load(folder: str | Path) -> tuple[GPT2, Tokenizer | None]:
    """Read a native checkpoint folder: the model on the CPU, ready for evaluation, and its tokenizer."""
    checkpoint = read(folder)
    return model_of(checkpoint), checkpoint.tokenizer


def write(checkpoint: Checkpoint, folder: str | Path) -> Path:
    """Write a checkpoint folder; see `save`."""
    folder = Path(folder)
    check_weights(checkpoint.weights, checkpoint.config, folder)
    with atomic_folder(folder) as temporary:
        sha256 = write_tensors(checkpoint.weights, temporary / "model.safetensors")
        if checkpoint.tokenizer is not None:
            checkpoint.tokenizer.save(temporary)
        config = {
            "format": FORMAT,
            "version": VERSION,
            "model": checkpoint.config.to_dict(),
            "dtype": str(checkpoint.weights["wte.weight"].dtype).removeprefix("torch."),
            "n_params": sum(weight.numel() for weight in checkpoint.weights.values()),
            "sha256": sha256,
            "details": checkpoint.details,
        }
        write_json(temporary / "config.json", config)
    return folder


def read(folder: str | Path) -> Checkpoint:
    """Read a checkpoint folder into weights, config and tokenizer."""
    folder = Path(folder)
    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        raise UserError(f"{folder} is no checkpoint: config.json or model.safetensors is missing.")
    fields = read_json_object(folder / "config.json")
    if fields.get("format") != FORMAT:
        raise UserError(
            f"{folder} is no native checkpoint. To convert one, run: fourhorn convert {folder} NEW_FOLDER"
        )
    if fields.get("version") != VERSION:
        raise UserError(
            f"{folder} has version {fields.get('version')!r}; this release reads version {VERSION}."
        )
    sizes = fields.get("model")
    config = config_of(sizes if isinstance(sizes, dict) else {}, folder / "config.json")
    path = folder / "model.safetensors"
    check_size(config, path.stat().st_size, path)
    weights, metadata = read_tensors(path)
    if metadata.get("sha256") != fields.get("sha256"):
        raise UserError(
            f"{folder}: config.json and model.safetensors are not of the same checkpoint. Copy both again."
        )
    check_weights(weights, config, path)
    details = fields.get("details")
    return Checkpoint(config, weights, read_tokenizer(folder), details if isinstance(details, dict) else {})


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer beside the weights, or None where there is none."""
    from fourhorn.tokenizer.tokenizer import Tokenizer

    names = {path.name for path in folder.iterdir()}
    if (
        {"encoder.json", "vocab.bpe"} <= names
        or {"vocab.json", "merges.txt"} <= names
        or "tokenizer.json" in names
    ):
        return Tokenizer.load(folder)
    return None


def weights_of(model: GPT2) -> Weights:
    """A model's weights by name, on the CPU."""
    return {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}


def model_of(checkpoint: Checkpoint) -> GPT2:
    """Build the model around the checkpoint's own tensors, without a second copy of them."""
    with torch.device("meta"), Unfilled():
        model = GPT2(checkpoint.config)
    model.load_state_dict(checkpoint.weights, assign=True)
    return model.eval()


class Unfilled(TorchFunctionMode):
    """Leaves tensors as they were made: to draw numbers without memory, torch would import 800 modules (75 MB)."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Every call as it is, except those that fill a tensor."""
        if getattr(function, "__name__", "") in FILLING:
            return None
        return function(*args, **(kwargs or {}))


def is_native(path: Path) -> bool:
    """True for a folder whose config.json says it is ours."""
    return json_field(path / "config.json", "format") == FORMAT


def json_field(path: Path, name: str) -> Any:
    """One field of a JSON file's object; None where there is no such file or field."""
    try:
        return read_json_object(path).get(name)
    except (UserError, OSError):
        return None
