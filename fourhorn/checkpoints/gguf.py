"""GGUF files, both ways, so that llama.cpp and its family run a model trained here, and the other way round.

Matrices already lie as llama.cpp wants them (out, in). The head, which is the embedding, is written a second time as
`output.weight`: exports without it do not load. Vectors and positions stay float32.

In: a .gguf file. Out: a `Checkpoint`, and back. Raises: `UserError`.
Source: llama.cpp's tensor names for the architecture "gpt2".
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fourhorn.checkpoints import gguf_file
from fourhorn.checkpoints.bounds import damaged
from fourhorn.checkpoints.gguf_file import read_gguf, read_values, write_gguf
from fourhorn.checkpoints.names import (
    Checkpoint,
    Weights,
    check_size,
    check_weights,
    config_of,
    weight_shapes,
)
from fourhorn.checkpoints.quantize import BLOCK_TYPES, F16, F32, Q8_0, quantize
from fourhorn.errors import UserError, unknown
from fourhorn.files import atomic_write
from fourhorn.tokenizer import formats

if TYPE_CHECKING:
    from fourhorn.tokenizer.tokenizer import Tokenizer

TYPES = {"f32": F32, "f16": F16, "q8_0": Q8_0}
FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7}
PARTS = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
TOP = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
NORMAL, CONTROL, UNUSED = 1, 3, 5  # llama.cpp's kinds of token
MAX_HEAD_DIFFERENCE = 0.1  # a quantized copy of the embedding is this close to it, another head is not


def is_gguf(path: Path) -> bool:
    """True for a GGUF file, or a folder with exactly one."""
    return file_of(path) is not None


def file_of(path: Path) -> Path | None:
    """The GGUF file that a path stands for."""
    if path.is_dir():
        found = [inner for inner in sorted(path.glob("*.gguf"))[:100] if file_of(inner)]
        return found[0] if len(found) == 1 else None
    with path.open("rb") as file:
        return path if file.read(4) == gguf_file.MAGIC else None


def gguf_name(name: str) -> str:
    """llama.cpp's name of one of our weights: h.0.attn.c_attn.weight → blk.0.attn_qkv.weight."""
    path, kind = name.rsplit(".", 1)
    if path in TOP:
        return f"{TOP[path]}.{kind}"
    _, layer, part = path.split(".", 2)
    return f"blk.{layer}.{PARTS[part]}.{kind}"


def read(path: Path) -> Checkpoint:
    """Read a file; quantized weights come out as float32."""
    path = file_of(path) or path
    metadata, places, start = read_gguf(path)
    if metadata.get("general.architecture") != "gpt2":
        raise UserError(
            f"{path} holds a {metadata.get('general.architecture')!r} model; only gpt2 is read here."
        )
    by_name = {place.name: place for place in places}
    embedding = by_name.get("token_embd.weight")
    sizes = {
        "n_layer": metadata.get("gpt2.block_count"),
        "n_head": metadata.get("gpt2.attention.head_count"),
        "n_embd": metadata.get("gpt2.embedding_length"),
        "n_ctx": metadata.get("gpt2.context_length"),
        "n_vocab": embedding.shape[0] if embedding and len(embedding.shape) == 2 else None,
    }
    config = config_of(sizes, path)
    check_size(config, path.stat().st_size, path, bytes_per_weight=0.25)
    names = {gguf_name(name): name for name in weight_shapes(config)}
    unexpected = sorted(set(by_name) - set(names) - {"output.weight"})
    if unexpected:
        raise UserError(
            f"{path} holds {len(unexpected)} weights that are not GPT-2's, first {unexpected[0][:80]!r}."
        )
    weights: Weights = {}
    for place in places:
        if place.name in names:
            weights[names[place.name]] = torch.from_numpy(read_values(path, place, start))
    check_weights(weights, config, path)
    if "output.weight" in by_name:
        head = torch.from_numpy(read_values(path, by_name["output.weight"], start))
        wte = weights["wte.weight"]
        if head.shape != wte.shape or (head - wte).norm() > MAX_HEAD_DIFFERENCE * wte.norm():
            raise UserError(
                f"{path} has a head of its own beside its embedding; GPT-2's head is the embedding."
            )
    return Checkpoint(config, weights, tokenizer_of(metadata, path), {"converted_from": "gguf"})


def tokenizer_of(metadata: dict[str, Any], path: Path) -> Tokenizer | None:
    """The tokenizer inside the file."""
    from fourhorn.tokenizer.tokenizer import Tokenizer

    tokens, merges = metadata.get("tokenizer.ggml.tokens"), metadata.get("tokenizer.ggml.merges")
    if (
        metadata.get("tokenizer.ggml.model") != "gpt2"
        or not isinstance(tokens, list)
        or not isinstance(merges, list)
    ):
        return None
    kinds = metadata.get("tokenizer.ggml.token_type", [NORMAL] * len(tokens))
    if not isinstance(kinds, np.ndarray | list) or len(kinds) != len(tokens):
        raise damaged(path, "its kinds of token do not match its tokens")
    encoder = {token: i for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True)) if kind != UNUSED}
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
    return Tokenizer(formats.assemble(encoder, merges, str(path), str(path), 1, special))


def write(checkpoint: Checkpoint, destination: str | Path, *, kind: str = "f16", name: str = "GPT-2") -> Path:
    """Write a GGUF file.

    Args:
        checkpoint: what to write; it must come with a tokenizer.
        destination: the file.
        kind: type of the matrices: f32, f16 or q8_0.
        name: what programs show as the model's name.
    """
    destination, config = Path(destination), checkpoint.config
    if kind not in TYPES:
        raise unknown("GGUF type", kind, TYPES)
    if checkpoint.tokenizer is None:
        raise UserError("A GGUF file needs a tokenizer; name its folder with --tokenizer.")
    check_weights(checkpoint.weights, config, destination)
    metadata = {
        "general.architecture": "gpt2",
        "general.name": name,
        "general.file_type": FILE_TYPES[kind],
        "general.quantization_version": 2,
        "gpt2.block_count": config.n_layer,
        "gpt2.context_length": config.n_ctx,
        "gpt2.embedding_length": config.n_embd,
        "gpt2.feed_forward_length": 4 * config.n_embd,
        "gpt2.attention.head_count": config.n_head,
        "gpt2.attention.layer_norm_epsilon": 1e-5,
    }
    metadata |= tokenizer_metadata(checkpoint.tokenizer, config.n_vocab)
    tensors = {}
    for our_name, weight in checkpoint.weights.items():
        values = weight.to(torch.float32).numpy()
        chosen = type_of(our_name, values.shape, TYPES[kind])
        tensors[gguf_name(our_name)] = (values.shape, chosen, quantize(values, chosen))
    tensors["output.weight"] = tensors["token_embd.weight"]
    with atomic_write(destination, "wb") as file:
        write_gguf(file, metadata, tensors)
    return destination


def type_of(name: str, shape: tuple[int, ...], wanted: int) -> int:
    """Vectors and positions stay float32; a matrix whose rows are not whole blocks falls back to F16."""
    if len(shape) == 1 or name == "wpe.weight":
        return F32
    return wanted if shape[-1] % BLOCK_TYPES[wanted][0] == 0 else F16


def tokenizer_metadata(tokenizer: Tokenizer, n_vocab: int) -> dict[str, Any]:
    """Tokens, their kinds and the merges, in llama.cpp's keys; rows past the tokenizer's are marked unused."""
    special = set(tokenizer.special_tokens.values())
    tokens = [f"[unused {i}]" for i in range(n_vocab)]
    kinds = [UNUSED] * n_vocab
    for token, i in formats.encoder_of(tokenizer.vocabulary).items():
        tokens[i] = token
        kinds[i] = CONTROL if i in special else NORMAL
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": formats.merge_lines(tokenizer.vocabulary),
        "tokenizer.ggml.bos_token_id": tokenizer.eot,
        "tokenizer.ggml.eos_token_id": tokenizer.eot,
        "tokenizer.ggml.add_bos_token": False,
    }
