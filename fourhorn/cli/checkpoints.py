"""`fourhorn convert`, `download` and `push`: checkpoints in and out.

Options are those of the functions in `fourhorn.checkpoints`; torch is imported when a command runs, not before.
"""

from pathlib import Path
from typing import Literal


def convert(
    source: str,
    destination: Path,
    /,
    *,
    to: Literal["native", "huggingface", "openai", "nanogpt", "llmc", "gguf"] | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    gguf_type: Literal["f32", "f16", "q8_0"] = "f16",
    name: str = "GPT-2",
    tokenizer: Path | None = None,
    trust_pickle: bool = False,
    overwrite: bool = False,
) -> None:
    """Convert a checkpoint from any known format to any other.

    Args:
        source: File or folder of the checkpoint, a run folder, or a size that was downloaded (124M).
        destination: Folder, or .gguf file, to write.
        to: Format to write; by default native, or gguf when the destination ends so.
        dtype: Type to store weights in; by default the type they have. Not for GGUF.
        gguf_type: Type of the matrices in a GGUF file.
        name: Name of the model in a GGUF file.
        tokenizer: Folder or file of the tokenizer, for checkpoints that come without one.
        trust_pickle: Read .bin and .pt files with torch's weights-only loader, if you trust their author.
        overwrite: Replace the destination if it is there.
    """
    from fourhorn.checkpoints.convert import convert as run

    out = run(
        source,
        destination,
        to=to,
        dtype=dtype,
        gguf_type=gguf_type,
        name=name,
        tokenizer=tokenizer,
        trust_pickle=trust_pickle,
        overwrite=overwrite,
    )
    n_bytes = sum(path.stat().st_size for path in ([out] if out.is_file() else out.iterdir()))
    print(f"convert: {n_bytes:,} bytes → {out}\nNext: fourhorn sample {out}")


def download(
    size: Literal["124M", "355M", "774M", "1558M"],
    destination: Path | None = None,
    /,
    *,
    place: Literal["openai", "huggingface"] = "openai",
    base_url: str | None = None,
    offline: bool = False,
) -> None:
    """Download a released model; an interrupted download goes on where it stopped.

    Args:
        size: Size of the model.
        destination: Folder to write; by default the cache, where --model 124M looks.
        place: The original TensorFlow files of OpenAI, or the safetensors of Hugging Face.
        base_url: Another address that holds the same files.
        offline: Fetch nothing; only check that all files are there.
    """
    from fourhorn.checkpoints.released import download as run

    folder = run(size, destination, place=place, base_url=base_url, offline=offline)
    print(f"download: {size} → {folder}\nNext: fourhorn sample {size if destination is None else folder}")


def push(
    source: str,
    repository: str,
    /,
    *,
    results: Path | None = None,
    data: str = "",
    license: str = "mit",
    private: bool = False,
    tokenizer: Path | None = None,
    dry_run: Path | None = None,
) -> None:
    """Push a checkpoint to the Hugging Face Hub with a generated model card.

    Args:
        source: Run folder, or file or folder of any checkpoint.
        repository: Where to, as OWNER/NAME.
        results: Folder of evaluation results to quote in the card.
        data: One sentence on the training text; by default what the run noted.
        license: The Hub's short name of the weights' license.
        private: Make a new repository private.
        tokenizer: Folder or file of the tokenizer, for checkpoints that come without one.
        dry_run: Write the folder there and upload nothing.
    """
    from fourhorn.checkpoints.push import push as run

    where = run(
        source,
        repository,
        results=results,
        data=data,
        license=license,
        private=private,
        tokenizer=tokenizer,
        dry_run=dry_run,
    )
    print(f"push: {where}")
