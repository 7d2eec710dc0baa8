"""Share a model on the Hugging Face Hub: an export that `transformers` loads, with a model card written from the run.

The card says what a reader needs to judge the model: data, recipe, results with their protocol, and what the release's
license asks of those who publish generated text. Everything in it is read from the files the run left; what is not
there is said to be unknown.

In: a run folder or any checkpoint, and perhaps result folders. Out: a folder, and its upload. Raises: `UserError`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fourhorn.checkpoints import huggingface
from fourhorn.checkpoints.load import read
from fourhorn.checkpoints.names import Checkpoint
from fourhorn.errors import UserError
from fourhorn.files import atomic_write, read_json, version

RECIPE = (
    ("tokens per step", "tokens_per_step"),
    ("steps", "max_steps"),
    ("batch size (sequences)", "batch_size"),
    ("learning rate", "learning_rate"),
    ("weight decay", "weight_decay"),
    ("warm-up steps", "warmup_steps"),
    ("seed", "seed"),
)
OUTCOME = (
    ("tokens seen", "n_tokens"),
    ("training loss (nats/token)", "train_loss"),
    ("validation loss (nats/token)", "val_loss"),
    ("floating-point operations", "flops"),
    ("seconds", "seconds"),
)
LICENSE_NOTE = """The released GPT-2 weights, and what is fine-tuned from them, come under OpenAI's modified MIT
license. It makes no claim on generated text; it asks that the model be used responsibly and that such text be
clearly marked as made with GPT-2. Weights trained from nothing carry the license chosen by whoever trained them."""


def push(
    source: str | Path,
    repository: str,
    *,
    results: Path | None = None,
    data: str = "",
    license: str = "mit",
    private: bool = False,
    tokenizer: str | Path | None = None,
    dry_run: Path | None = None,
) -> str:
    """Push a checkpoint to the Hugging Face Hub with a generated model card.

    Args:
        source: run folder, or file or folder of any checkpoint.
        repository: where to, as OWNER/NAME.
        results: folder of evaluation results to quote in the card.
        data: one sentence on the training text; by default what the run noted.
        license: the Hub's short name of the weights' license.
        private: make a new repository private.
        tokenizer: folder or file of the tokenizer, for checkpoints that come without one.
        dry_run: write the folder there and upload nothing.

    Returns:
        The address of the model, or the folder of the dry run.
    """
    owner, slash, name = repository.partition("/")
    if not (owner and slash and name) or "/" in name:
        raise UserError(f"{repository!r} is no repository; the form is OWNER/NAME, such as ada/unicorn-124M.")
    checkpoint = read(source, tokenizer=tokenizer)
    text = card(checkpoint, repository, Path(source), results=results, data=data, license=license)
    if dry_run is not None:
        return str(fill(checkpoint, dry_run, text))
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    with tempfile.TemporaryDirectory() as temporary:
        folder = fill(checkpoint, Path(temporary) / name, text)
        try:
            api = HfApi()
            api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=str(folder), commit_message="Add the model")
        except LocalTokenNotFoundError:
            raise UserError("You are not logged in to the Hugging Face Hub. Run: hf auth login") from None
        except (HfHubHTTPError, ConnectionError, OSError) as error:
            first = str(error).strip().splitlines()[0]
            raise UserError(
                f"The Hub refused or could not be reached: {first}. Log in with: hf auth login"
            ) from None
    return f"https://huggingface.co/{repository}"


def fill(checkpoint: Checkpoint, folder: Path, text: str) -> Path:
    """Write the export and its card."""
    huggingface.write(checkpoint, folder)
    with atomic_write(folder / "README.md", "w") as file:
        file.write(text)
    return folder


def card(
    checkpoint: Checkpoint,
    repository: str,
    source: Path,
    *,
    results: Path | None = None,
    data: str = "",
    license: str = "mit",
) -> str:
    """The model card, in the Hub's Markdown with its front matter."""
    options, summary = optional(source / "options.json"), optional(source / "summary.json")
    config = checkpoint.config
    n_params = sum(weight.numel() for weight in checkpoint.weights.values())
    lines = ["---", f"license: {license}", "library_name: transformers", "pipeline_tag: text-generation"]
    lines += ["tags:", "- gpt2", "- fourhorn", "---", "", f"# {repository.partition('/')[2]}", ""]
    lines += [
        f"A GPT-2 of {n_params:,} parameters: {config.n_layer} layers, {config.n_head} heads, width {config.n_embd}, "
        f"context {config.n_ctx} tokens, vocabulary {config.n_vocab}. Exported by fourhorn {version()}.",
        "",
        "```python",
        "from transformers import pipeline",
        "",
        f'pipeline("text-generation", model="{repository}")("In a shocking finding,", max_new_tokens=64)',
        "```",
        "",
        "## Data",
        "",
        data or str(options.get("tokens", "") and f"Token shards `{options['tokens']}`.") or "Not noted.",
        "",
        "## Recipe",
        "",
        *table(
            [(label, options.get(key)) for label, key in RECIPE]
            + [(label, summary.get(key)) for label, key in OUTCOME]
        ),
        "",
        "## Results",
        "",
        *result_lines(results),
        "",
        "## License and use",
        "",
        LICENSE_NOTE,
        "",
    ]
    return "\n".join(lines)


def table(rows: list[tuple[str, Any]]) -> list[str]:
    """A two-column table of what is known."""
    known = [(label, value) for label, value in rows if value is not None]
    if not known:
        return ["Not noted."]
    return ["| | |", "| --- | --- |", *[f"| {label} | {number(value)} |" for label, value in known]]


def number(value: Any) -> str:
    """A figure as a reader wants it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|").replace("\n", " ")


def result_lines(folder: Path | None) -> list[str]:
    """A table of the results in a folder: each metric with its interval, items and protocol."""
    paths = sorted(folder.glob("*.json"))[:100] if folder is not None else []
    rows = []
    for path in paths:
        found = optional(path)
        for metric, value in (found.get("metrics") or {}).items():
            if not isinstance(value, dict) or "value" not in value:
                continue
            interval = (
                f" ({number(value['low'])} to {number(value['high'])})"
                if "low" in value and "high" in value
                else ""
            )
            what = [
                found.get("task"),
                metric,
                f"{number(value['value'])}{interval}",
                found.get("n"),
                found.get("scale"),
            ]
            rows.append("| " + " | ".join(number(cell) if cell is not None else "" for cell in what) + " |")
    if not rows:
        return ["Not measured."]
    return ["| task | metric | value (95 %) | items | data |", "| --- | --- | --- | --- | --- |", *rows]


def optional(path: Path) -> dict[str, Any]:
    """A JSON object, or nothing where there is none."""
    if not path.is_file():
        return {}
    value = read_json(path)
    return value if isinstance(value, dict) else {}
