"""OpenAI's released TensorFlow folders, both ways: `model.ckpt.*`, `hparams.json`, `encoder.json`, `vocab.bpe`.

§2.3. Variables are named `model/wte`, `model/h0/attn/c_attn/w`, `model/ln_f/g`; matrices are (1, in, out), since
OpenAI's code runs them as convolutions of width one. Other variables (an optimizer's, a step counter) are passed by.

In: a folder. Out: a `Checkpoint`, and back. Raises: `UserError` naming the file.
Source: the graph in openai/gpt-2 `src/model.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from fourhorn.checkpoints.bounds import read_json_object
from fourhorn.checkpoints.names import (
    Checkpoint,
    Weights,
    check_size,
    check_weights,
    config_of,
    is_matrix,
    weight_shapes,
)
from fourhorn.checkpoints.native import read_tokenizer
from fourhorn.checkpoints.tensor_bundle import MAGIC, list_bundle, read_bundle, write_bundle
from fourhorn.errors import UserError
from fourhorn.files import atomic_folder, atomic_write, write_json

SIZES = ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")
MAX_CHECKPOINTS = 1_000


def is_openai(path: Path) -> bool:
    """True for a folder with hparams.json and a TensorFlow index."""
    return path.is_dir() and (path / "hparams.json").is_file() and bool(index_files(path))


def index_files(folder: Path) -> list[Path]:
    """The TensorFlow indexes in a folder, told by their last eight bytes."""
    found = []
    for path in sorted(folder.glob("*.index"))[:MAX_CHECKPOINTS]:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8))
            if file.read(8) == MAGIC.to_bytes(8, "little"):
                found.append(path)
    return found


def read(folder: Path) -> Checkpoint:
    """Read a folder; where it holds several checkpoints, the one its `checkpoint` file calls the latest."""
    prefix = latest(folder)
    config = config_of(read_json_object(folder / "hparams.json"), folder / "hparams.json")
    check_size(config, sum(path.stat().st_size for path in folder.glob(f"{prefix.name}.data-*")), folder)
    names = {variable_name(name): name for name in weight_shapes(config)}
    missing = sorted(set(names) - list_bundle(prefix))
    if missing:
        raise UserError(f"{prefix}.index lacks {len(missing)} of GPT-2's variables, first {missing[0]!r}.")
    stored = read_bundle(prefix, set(names))
    weights: Weights = {}
    for name in weight_shapes(config):
        tensor = stored[variable_name(name)]
        if is_matrix(name):
            tensor = tensor.reshape(tensor.shape[-2:]).t().contiguous() if tensor.dim() in (2, 3) else tensor
        weights[name] = tensor
    check_weights(weights, config, folder)
    return Checkpoint(config, weights, read_tokenizer(folder), {"converted_from": "openai"})


def latest(folder: Path) -> Path:
    """The path before `.index` of the checkpoint to read."""
    prefixes = [path.with_suffix("") for path in index_files(folder)]
    if len(prefixes) == 1:
        return prefixes[0]
    note = folder / "checkpoint"
    text = note.read_text(encoding="utf-8", errors="replace")[:10_000] if note.is_file() else ""
    match = re.search(r'^model_checkpoint_path:\s*"([^"]+)"', text, re.MULTILINE)
    named = folder / Path(match.group(1)).name if match else None
    if named not in prefixes:
        names = ", ".join(prefix.name for prefix in prefixes[:5])
        raise UserError(
            f"{folder} holds {len(prefixes)} checkpoints ({names}) and no note which is the latest."
        )
    return named


def variable_name(name: str) -> str:
    """OpenAI's name of one of our weights: h.0.attn.c_attn.weight → model/h0/attn/c_attn/w."""
    if name in ("wte.weight", "wpe.weight"):
        return f"model/{name.removesuffix('.weight')}"
    path, kind = name.rsplit(".", 1)
    letter = "b" if kind == "bias" else "g" if "ln_" in path else "w"
    return "model/" + re.sub(r"^h\.(\d+)", r"h\1", path).replace(".", "/") + f"/{letter}"


def write(checkpoint: Checkpoint, folder: str | Path) -> Path:
    """Write a folder that OpenAI's own code restores."""
    folder, config = Path(folder), checkpoint.config
    check_weights(checkpoint.weights, config, folder)
    variables = {}
    for name, weight in checkpoint.weights.items():
        full = weight.to(torch.float32)
        variables[variable_name(name)] = full.t().unsqueeze(0) if is_matrix(name) else full
    with atomic_folder(folder) as temporary:
        write_bundle(variables, temporary / "model.ckpt")
        write_json(temporary / "hparams.json", {name: getattr(config, name) for name in SIZES})
        with atomic_write(temporary / "checkpoint", "w") as file:
            file.write('model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n')
        if checkpoint.tokenizer is not None:
            checkpoint.tokenizer.save(temporary)
    return folder
