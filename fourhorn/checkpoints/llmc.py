"""llm.c's model files, both ways: 256 numbers, then every weight, layer by layer within each kind.

Matrices lie as ours do, (out, in). The vocabulary is padded with zero rows to a multiple of 128; the header says how
many rows are real. Version 3 holds float32, version 5 bfloat16. The file has no tokenizer; one is written beside it in
llm.c's own form, which decodes only, and the usual two files too.

In: a .bin file or a folder with exactly one. Out: a `Checkpoint`, and back. Raises: `UserError`.
Source: the layout in karpathy/llm.c `train_gpt2.py` and `train_gpt2.c`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fourhorn.checkpoints.bounds import damaged, read_exactly
from fourhorn.checkpoints.names import Checkpoint, Weights, block_shapes, check_weights, config_of
from fourhorn.checkpoints.native import read_tokenizer
from fourhorn.files import atomic_folder
from fourhorn.model.config import GPT2Config

if TYPE_CHECKING:
    from fourhorn.tokenizer.tokenizer import Tokenizer

MAGIC, TOKENIZER_MAGIC = 20240326, 20240328
DTYPES = {3: torch.float32, 5: torch.bfloat16}
N_HEADER = 256
PADDED_TO = 128


def is_llmc(path: Path) -> bool:
    """True for an llm.c model file, or a folder with exactly one."""
    return file_of(path) is not None


def file_of(path: Path) -> Path | None:
    """The model file that a path stands for."""
    if path.is_dir():
        found = [inner for inner in sorted(path.glob("*.bin"))[:1_000] if file_of(inner)]
        return found[0] if len(found) == 1 else None
    with path.open("rb") as file:
        return path if file.read(4) == struct.pack("<i", MAGIC) else None


def layout(config: GPT2Config, n_rows: int) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes in the file's order; `{}` in a name stands for all layers one after another."""
    C = config.n_embd
    blocks = [(f"h.{{}}.{name}", (config.n_layer, *shape)) for name, shape in block_shapes(C).items()]
    ends: list[tuple[str, tuple[int, ...]]] = [("ln_f.weight", (C,)), ("ln_f.bias", (C,))]
    return [("wte.weight", (n_rows, C)), ("wpe.weight", (config.n_ctx, C)), *blocks, *ends]


def read(path: Path) -> Checkpoint:
    """Read a model file and a tokenizer beside it, if there is one."""
    path = file_of(path) or path
    with path.open("rb") as file:
        numbers = struct.unpack(f"<{N_HEADER}i", read_exactly(file, 4 * N_HEADER, path, "the header"))
        if numbers[1] not in DTYPES:
            raise damaged(path, f"version {numbers[1]} of llm.c's format, only {sorted(DTYPES)} are read")
        dtype = DTYPES[numbers[1]]
        names = ("n_ctx", "n_vocab", "n_layer", "n_head", "n_embd")
        config = config_of(dict(zip(names, numbers[2:7], strict=True)), path)
        n_rows = numbers[7]
        if not config.n_vocab <= n_rows <= config.n_vocab + 65_536:
            raise damaged(path, f"{n_rows} rows for {config.n_vocab} tokens")
        places = layout(config, n_rows)
        expected = sum(torch.Size(shape).numel() for _, shape in places) * dtype.itemsize
        if 4 * N_HEADER + expected != path.stat().st_size:
            raise damaged(
                path, f"its header calls for {expected} bytes of weights, it has {path.stat().st_size - 1024}"
            )
        weights: Weights = {}
        for name, shape in places:
            n_bytes = torch.Size(shape).numel() * dtype.itemsize
            data = bytearray(read_exactly(file, n_bytes, path, name))
            tensor = torch.frombuffer(data, dtype=dtype).reshape(shape)
            if "{}" in name:
                weights |= {name.format(layer): tensor[layer] for layer in range(config.n_layer)}
            else:
                weights[name] = tensor
    weights["wte.weight"] = weights["wte.weight"][: config.n_vocab]
    check_weights(weights, config, path)
    return Checkpoint(config, weights, read_tokenizer(path.parent), {"converted_from": "llmc"})


def write(checkpoint: Checkpoint, folder: str | Path) -> Path:
    """Write a folder with `model.bin` (float32, or bfloat16 if the weights are), `gpt2_tokenizer.bin` and our two."""
    folder, config = Path(folder), checkpoint.config
    check_weights(checkpoint.weights, config, folder)
    version = 5 if checkpoint.weights["wte.weight"].dtype == torch.bfloat16 else 3
    n_rows = -(-config.n_vocab // PADDED_TO) * PADDED_TO
    sizes = (config.n_ctx, config.n_vocab, config.n_layer, config.n_head, config.n_embd, n_rows)
    with atomic_folder(folder) as temporary:
        with (temporary / "model.bin").open("wb") as file:
            file.write(struct.pack(f"<{N_HEADER}i", MAGIC, version, *sizes, *[0] * (N_HEADER - 8)))
            for name, shape in layout(config, n_rows):
                names = [name.format(layer) for layer in range(config.n_layer)] if "{}" in name else [name]
                for inner in names:
                    data = (
                        checkpoint.weights[inner]
                        .to(DTYPES[version])
                        .contiguous()
                        .reshape(-1)
                        .view(torch.uint8)
                    )
                    file.write(data.numpy().data)
                if name == "wte.weight":
                    file.write(bytes((n_rows - config.n_vocab) * shape[1] * DTYPES[version].itemsize))
        if checkpoint.tokenizer is not None:
            checkpoint.tokenizer.save(temporary)
            (temporary / "gpt2_tokenizer.bin").write_bytes(pack_tokenizer(checkpoint.tokenizer))
    return folder


def pack_tokenizer(tokenizer: Tokenizer) -> bytes:
    """llm.c's decoder table: a header, then each token's length and bytes."""
    head = (TOKENIZER_MAGIC, 2, tokenizer.n_vocab, tokenizer.eot)
    out = bytearray(struct.pack(f"<{N_HEADER}i", *head, *[0] * (N_HEADER - len(head))))
    for token in range(tokenizer.n_vocab):
        text = tokenizer.decode_bytes([token])
        out += bytes([min(len(text), 255)]) + text[:255]  # llm.c has one byte for the length
    return bytes(out)
