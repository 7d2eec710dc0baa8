"""`fourhorn sample`: continue a prompt at the terminal, talk on interactively, or fill a folder with samples."""

import sys
from pathlib import Path
from typing import Any, Literal

from fourhorn.errors import UserError


def sample(
    model: str,
    destination: Path | None = None,
    /,
    *,
    prompt: str = "",
    prompts: Path | None = None,
    interactive: bool = False,
    preset: str | None = None,
    n_samples: int = 1,
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    stop: tuple[str, ...] = (),
    overflow: Literal["stop", "refuse", "window"] = "stop",
    best_of: int | None = None,
    logprobs: bool = False,
    context_tokens: int = 0,
    row_format: Literal["samples", "output-dataset"] = "samples",
    precision: Literal["float32", "bfloat16", "int8", "int4"] = "float32",
    max_sequences: int = 16,
    device: str = "cpu",
) -> None:
    """Continue prompts, at the terminal or into a folder.

    Without a destination the text streams to the terminal: of --prompt, of standard input (--prompt -), or
    unconditional. With one, samples of --prompts (records with `prompt` or `text`), or unconditional ones, are written
    there as JSON lines, and an interrupted run goes on where it stopped.

    Args:
        model: A size such as 124M, a run folder, a checkpoint folder or file.
        destination: Folder for the samples; none prints them.
        prompt: The text to continue; `-` reads standard input; empty samples from nothing.
        prompts: A file or folder of records to continue, for a destination.
        interactive: Ask for one prompt after another.
        preset: The paper's settings: appendix, unicorns or summary; or greedy.
        n_samples: Samples to draw of each prompt, or without prompts in all.
        max_new_tokens: Tokens to add at most (256; into a folder, what the context holds).
        temperature: Logits are divided by this; 0 is greedy (1).
        top_k: Draw among this many likeliest tokens; 0 is all (0; into a folder 40, the paper's).
        top_p: Draw among the fewest likeliest tokens holding this much probability (1).
        seed: The same seed gives the same text; sample i uses seed + i.
        stop: A text that ends the completion; may be repeated.
        overflow: What to do at a full context: stop, refuse beforehand, or slide a window.
        best_of: Draw this many and print the likeliest.
        logprobs: Print each token with its log-probability (nats) instead of the plain text.
        context_tokens: Tokens of each document given as context; 0 is three quarters of the context.
        row_format: samples, or output-dataset for the rows of OpenAI's published samples.
        precision: float32 is exact; bfloat16, int8 and int4 are faster and smaller, for the cost given in the docs.
        max_sequences: Sequences that decode together.
        device: cpu, cuda or mps; auto is the best there is.
    """
    run(**locals())


def run(
    model: str,
    destination: Path | None,
    *,
    prompt: str,
    prompts: Path | None,
    interactive: bool,
    preset: str | None,
    n_samples: int,
    seed: int,
    stop: tuple[str, ...],
    overflow: str,
    best_of: int | None,
    logprobs: bool,
    context_tokens: int,
    row_format: str,
    precision: str,
    max_sequences: int,
    device: str,
    **given: Any,
) -> None:
    """What `sample` was asked for; `given` are the settings that a preset also has."""
    from fourhorn.checkpoints.load import load
    from fourhorn.runtime import choose_device
    from fourhorn.sampling.generate import make_params
    from fourhorn.sampling.settings import preset as named

    if prompts is not None and destination is None:
        raise UserError("--prompts needs a folder to write to: fourhorn sample MODEL FOLDER --prompts FILE")
    check_counts(n_samples=n_samples, max_sequences=max_sequences, best_of=best_of)
    options: dict[str, Any] = named(preset) if preset else {}
    options |= {name: value for name, value in given.items() if value is not None}
    options |= {"seed": seed, "stop": stop}
    best_of = options.pop("best_of", None) if best_of is None else best_of
    options.pop("best_of", None)
    make_params({**options, "overflow": overflow})  # refuses what is out of range before anything is loaded
    loaded, tokenizer = load(model, device=choose_device(device))
    options["precision"] = precision
    if destination is not None:
        counts = {"n_per_prompt": n_samples} if prompts else {"n_prompts": n_samples}
        write_folder(
            loaded,
            tokenizer,
            destination,
            prompts=prompts,
            context_tokens=context_tokens,
            row_format=row_format,
            max_sequences=max_sequences,
            **options,
            **counts,
        )
        return
    from fourhorn.sampling.batching import BatchEngine

    options["overflow"] = overflow
    options["engine"] = BatchEngine(
        loaded, tokenizer, max_sequences=min(max_sequences, best_of or 1), precision=options.pop("precision")
    )
    del loaded  # the engine keeps what it needs: packed weights, unless the precision is float32
    if interactive:
        converse(tokenizer, options)
        return
    text = sys.stdin.read() if prompt == "-" else prompt
    for i in range(n_samples):
        options["seed"] = seed + i * (best_of or 1)
        if n_samples > 1:
            print(f"======== sample {i + 1}, seed {options['seed']} ========")
        if best_of or logprobs:
            show(tokenizer, text, {**options, "best_of": best_of}, logprobs)
        else:
            print_stream(tokenizer, text, options)


def check_counts(**counts: int | None) -> None:
    """Refuse none or fewer of anything that is counted."""
    for name, n in counts.items():
        if n is not None and n < 1:
            raise UserError(f"--{name.replace('_', '-')} is {n}; it must be 1 or more.")


def write_folder(model: Any, tokenizer: Any, destination: Path, **options: Any) -> None:
    """Run the `samples` stage and say what it wrote."""
    from fourhorn.cli.command import summary
    from fourhorn.sampling.samples import samples

    manifest = samples(model, tokenizer, destination, **options)
    print(summary(manifest, destination))
    print(f"Next: fourhorn recitation {destination} --train webtext/train, or fourhorn report .")


def print_stream(tokenizer: Any, prompt: str, options: dict[str, Any]) -> None:
    """Write the prompt and its completion as it grows; the options hold the engine."""
    from fourhorn.sampling.generate import stream

    pieces = stream(None, tokenizer, prompt, **options)
    first = next(pieces, "")  # a prompt that the context cannot hold is refused here, before it is shown
    sys.stdout.write(prompt + first)
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()


def show(tokenizer: Any, prompt: str, options: dict[str, Any], logprobs: bool) -> None:
    """Write a finished completion: its text, or each token with its log-probability and alternatives."""
    from fourhorn.sampling.generate import complete

    [[best]] = complete(None, tokenizer, [prompt], n_logprobs=3, **options)
    if not logprobs:
        print(prompt + best.text)
        return
    for token, logprob, others in zip(best.tokens, best.logprobs, best.top_logprobs, strict=True):
        names = ", ".join(f"{tokenizer.decode([t])!r} {value:.2f}" for t, value in others)
        print(f"{logprob:8.3f}  {tokenizer.decode([token])!r:20}  {names}")
    print(f"{best.mean_logprob:8.3f}  mean of {len(best.tokens)} tokens, {best.finish_reason}")


def converse(tokenizer: Any, options: dict[str, Any]) -> None:
    """Ask for a prompt, stream its completion, ask again; an empty line at the first prompt samples from nothing."""
    print("Write a beginning and press Enter; Ctrl-C stops a completion, Ctrl-D ends.")
    for turn in range(sys.maxsize):
        try:
            prompt = input("\n>>> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        try:
            print_stream(tokenizer, prompt, {**options, "seed": options["seed"] + turn})
        except KeyboardInterrupt:
            print("\n(stopped)")
        except UserError as error:
            print(error)
