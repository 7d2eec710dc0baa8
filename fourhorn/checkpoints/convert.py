"""Turn any known checkpoint into any other: read by content, write by name.

In: a source that `load` knows. Out: a native folder, a Hugging Face, OpenAI TensorFlow, nanoGPT or llm.c folder, or a
.gguf file. Raises: `UserError`. Weights are carried bit for bit, except into float16, bfloat16 and Q8_0 where asked.
"""

from __future__ import annotations

from pathlib import Path

from fourhorn.checkpoints import gguf, huggingface, llmc, nanogpt, native, openai
from fourhorn.checkpoints.load import DTYPES, read
from fourhorn.checkpoints.names import Checkpoint
from fourhorn.errors import UserError, unknown

WRITERS = {
    "native": native.write,
    "huggingface": huggingface.write,
    "openai": openai.write,
    "nanogpt": nanogpt.write,
    "llmc": llmc.write,
}
FORMATS = (*WRITERS, "gguf")


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    to: str | None = None,
    dtype: str | None = None,
    gguf_type: str = "f16",
    name: str = "GPT-2",
    tokenizer: str | Path | None = None,
    trust_pickle: bool = False,
    overwrite: bool = False,
) -> Path:
    """Convert a checkpoint from any known format to any other.

    Args:
        source: file or folder of the checkpoint, a run folder, or a released size that was downloaded ("124M").
        destination: folder (or .gguf file) to write.
        to: native, huggingface, openai, nanogpt, llmc or gguf; by default native, or gguf if the name ends so.
        dtype: type to store weights in (float32, bfloat16, float16); by default the type they have. Not for GGUF.
        gguf_type: type of the matrices in a GGUF file: f32, f16 or q8_0.
        name: name of the model in a GGUF file.
        tokenizer: folder or file of the tokenizer, for checkpoints that come without one.
        trust_pickle: read .bin and .pt files with torch's weights-only loader. Only for files whose author you trust.
        overwrite: replace the destination if it is there.
    """
    destination = Path(destination)
    if to is None:
        to = "gguf" if destination.suffix == ".gguf" else "native"
    if to not in FORMATS:
        raise unknown("checkpoint format", to, FORMATS)
    if dtype is not None and dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    if destination.exists() and not overwrite:
        raise UserError(
            f"{destination} is already there. Choose another name, or replace it with --overwrite."
        )
    checkpoint = read(source, tokenizer=tokenizer, trust_pickle=trust_pickle)
    if to == "gguf":
        return gguf.write(checkpoint, destination, kind=gguf_type, name=name)
    return WRITERS[to](cast(checkpoint, dtype), destination)


def cast(checkpoint: Checkpoint, dtype: str | None) -> Checkpoint:
    """The same checkpoint with its weights in another type."""
    if dtype is None:
        return checkpoint
    weights = {name: weight.to(DTYPES[dtype]) for name, weight in checkpoint.weights.items()}
    return Checkpoint(checkpoint.config, weights, checkpoint.tokenizer, checkpoint.details)
