"""Hugging Face folders, both ways: `config.json`, safetensors in one file or many, tokenizer.

Reads any `GPT2LMHeadModel` or `GPT2Model` folder (`gpt2`, `gpt2-medium`, fine-tunes) whose settings are the paper's;
a setting that changes the mathematics (another activation, cross attention, an untied head) is refused, not ignored.
Writes what `transformers.from_pretrained` and `pipeline` take.

In: a folder. Out: a `Checkpoint`, and back. Raises: `UserError` naming the file, the setting and its value.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fourhorn.checkpoints.bounds import damaged, read_json_object
from fourhorn.checkpoints.names import Checkpoint, Weights, check_size, check_weights, config_of, is_matrix
from fourhorn.checkpoints.native import json_field, read_tokenizer
from fourhorn.checkpoints.tensors import read_tensors, write_tensors
from fourhorn.errors import UserError
from fourhorn.files import atomic_folder, write_json
from fourhorn.tokenizer.vocabulary import EOT

if TYPE_CHECKING:
    from fourhorn.tokenizer.tokenizer import Tokenizer

# Settings that change what the model computes, with the values under which it is the paper's.
FIXED: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}
BUFFERS = (".attn.bias", ".attn.masked_bias")  # causal masks that old versions saved among the weights


def is_huggingface(path: Path) -> bool:
    """True for a folder whose config.json says gpt2 and that holds safetensors."""
    has_weights = (path / "model.safetensors").is_file() or (path / "model.safetensors.index.json").is_file()
    return has_weights and json_field(path / "config.json", "model_type") == "gpt2"


def read(folder: Path) -> Checkpoint:
    """Read a folder; its pickled files, if any, are left alone."""
    fields = read_json_object(folder / "config.json")
    paths = weight_files(folder)
    config = config_of(sizes_of(fields), folder / "config.json")
    check_size(config, sum(path.stat().st_size for path in paths), folder)
    stored: Weights = {}
    for path in paths:
        stored |= read_tensors(path)[0]
    weights = from_stored(stored, folder)
    check_settings(fields, folder / "config.json")
    check_weights(weights, config, folder)
    return Checkpoint(config, weights, read_own_tokenizer(folder), {"converted_from": "huggingface"})


def sizes_of(fields: dict[str, Any]) -> dict[str, Any]:
    """Our names for the config's sizes; what a config leaves out has Hugging Face's default."""
    return {
        "n_layer": fields.get("n_layer", 12),
        "n_head": fields.get("n_head", 12),
        "n_embd": fields.get("n_embd", 768),
        "n_ctx": fields.get("n_positions", fields.get("n_ctx", 1024)),
        "n_vocab": fields.get("vocab_size", 50257),
        "dropout": fields.get("resid_pdrop", 0.1),
    }


def check_settings(fields: dict[str, Any], path: Path) -> None:
    """Refuse settings under which the same weights would compute something else."""
    for name, allowed in FIXED.items():
        if fields.get(name, allowed[0]) not in allowed:
            raise UserError(
                f"{path} says {name} = {fields[name]!r}; GPT-2 has {allowed[0]!r}. It cannot be converted."
            )
    n_inner = fields.get("n_inner")
    if n_inner not in (None, 4 * fields.get("n_embd", 768)):
        raise UserError(f"{path} says n_inner = {n_inner!r}; GPT-2 has 4 · n_embd. It cannot be converted.")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: one, or those that its index names."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    table = read_json_object(index).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise damaged(index, "it has no weight_map")
    names = sorted({str(name) for name in table.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise damaged(index, f"it names a file outside its folder, {name!r}")
        if not (folder / name).is_file():
            raise UserError(f"{index} names {name}, which is not there. Download the folder again.")
    return [folder / name for name in names]


def from_stored(stored: Weights, source: Path) -> Weights:
    """Our names and orientation for a `transformers` state dict."""
    weights: Weights = {}
    for stored_name, tensor in stored.items():
        name = stored_name.removeprefix("transformer.")
        if name.endswith(BUFFERS):
            continue
        if name == "lm_head.weight":
            embedding = stored.get("transformer.wte.weight", stored.get("wte.weight"))
            if embedding is None or not torch.equal(embedding, tensor):
                raise UserError(
                    f"{source} has a head of its own beside its embedding; GPT-2's head is the embedding."
                )
            continue
        turned = is_matrix(name) and tensor.dim() == 2
        weights[name] = tensor.t().contiguous() if turned else tensor
    return weights


def to_stored(weights: Weights) -> Weights:
    """`transformers`' names and orientation for our weights."""
    return {
        f"transformer.{name}": tensor.t().contiguous() if is_matrix(name) else tensor
        for name, tensor in weights.items()
    }


def write(checkpoint: Checkpoint, folder: str | Path) -> Path:
    """Write a folder that `transformers` loads by `from_pretrained`."""
    folder, config = Path(folder), checkpoint.config
    check_weights(checkpoint.weights, config, folder)
    eot = checkpoint.tokenizer.eot if checkpoint.tokenizer is not None else config.n_vocab - 1
    fields = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_embd": config.n_embd,
        "n_positions": config.n_ctx,
        "n_ctx": config.n_ctx,
        "vocab_size": config.n_vocab,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        **{name: allowed[0] for name, allowed in FIXED.items()},
        "bos_token_id": eot,
        "eos_token_id": eot,
        "torch_dtype": str(checkpoint.weights["wte.weight"].dtype).removeprefix("torch."),
    }
    with atomic_folder(folder) as temporary:
        write_tensors(to_stored(checkpoint.weights), temporary / "model.safetensors")
        write_json(temporary / "config.json", fields)
        write_json(temporary / "generation_config.json", {"bos_token_id": eot, "eos_token_id": eot})
        if checkpoint.tokenizer is not None:
            write_tokenizer(checkpoint.tokenizer, temporary, config.n_ctx)
    return folder


def write_tokenizer(tokenizer: Tokenizer, folder: Path, n_ctx: int) -> None:
    """Write vocab.json, merges.txt and tokenizer.json, and the settings that name the special token."""
    tokenizer.save(folder, format="huggingface-pair")
    tokenizer.save(folder, format="huggingface")
    names = {f"{role}_token": EOT for role in ("bos", "eos", "unk")}
    settings = {"tokenizer_class": "GPT2Tokenizer", "model_max_length": n_ctx, "add_prefix_space": False}
    write_json(folder / "tokenizer_config.json", names | settings)
    write_json(folder / "special_tokens_map.json", names)


def read_own_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer of a folder: tokenizer.json knows added tokens, vocab.json and merges.txt do not."""
    from fourhorn.tokenizer.tokenizer import Tokenizer

    if (folder / "tokenizer.json").is_file():
        try:
            return Tokenizer.load(folder / "tokenizer.json")
        except UserError:
            if not (folder / "vocab.json").is_file():
                raise
    return read_tokenizer(folder)
