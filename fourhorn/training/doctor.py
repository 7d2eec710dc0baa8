"""`doctor`: what this machine can do, what it lacks and how to get it, and whether a run looks normal.

Facts only: versions, device, number formats, memory, speed of a matrix product, kernels and why they are not used,
extras and what is missing of them, released weights that are here, and for a run folder its loss against what an
untrained model and published runs have, its pace, skipped steps and the state of its files.
"""

import importlib.metadata
import math
import re
import sys
from pathlib import Path

from fourhorn.checkpoints.released import cached
from fourhorn.errors import UserError
from fourhorn.files import read_json, version
from fourhorn.model.config import SIZES, GPT2Config
from fourhorn.runtime import available_memory_bytes, has_amx, n_cores, runtime
from fourhorn.training.config import TrainConfig
from fourhorn.training.log import read_metrics
from fourhorn.training.reference import against_reference
from fourhorn.training.state import folder_of, steps_saved, verify


def doctor(run: str | Path | None = None) -> list[tuple[str, str]]:
    """Facts as (name, finding), of this machine and of a run folder.

    Args:
        run: A run folder to look into; none looks at the machine only.
    """
    return machine() + extras() + (of_run(Path(run)) if run else [])


def machine() -> list[tuple[str, str]]:
    """What there is to compute with."""
    import torch

    from fourhorn.training.learner import why_not_compile
    from fourhorn.training.memory import peak_flops
    from fourhorn.training.native import why_not

    place = runtime()
    reason = why_not(GPT2Config(dropout=0.0), place.device, place.dtype)
    lacking = why_not_compile(place)
    return [
        ("fourhorn", version()),
        ("python, torch", f"{sys.version.split()[0]}, {torch.__version__}"),
        ("device", place.device),
        ("number format", f"{place.dtype} by default; AMX {'yes' if has_amx() else 'no'}"),
        ("cores", str(n_cores())),
        ("free memory", f"{available_memory_bytes(place.device) / 1e9:.1f} GB"),
        ("matrix products", f"{peak_flops(place) / 1e12:.2f} TFLOP/s"),
        ("training kernels", f"not used: {reason}" if reason else "used when dropout is 0"),
        ("text kernels", text_kernels()),
        ("torch.compile", f"{lacking}; runs go on without it" if lacking else "ready"),
        ("released weights", released()),
    ]


def text_kernels() -> str:
    """Whether the tokenizer's kernels are compiled here; where they cannot be kept, they say so themselves."""
    from fourhorn.tokenizer.tokenizer import Tokenizer
    from fourhorn.tokenizer.vocabulary import Vocabulary

    engine = Tokenizer(Vocabulary.of([])).engine
    return "not used, 100 times slower: Numba is missing" if engine == "plain Python" else "used"


def released() -> str:
    """The released sizes that were downloaded."""
    here = []
    for size in SIZES:
        try:
            cached(size)
            here.append(size)
        except UserError:
            continue
    return ", ".join(here) or "none here; fetch one with: fourhorn download 124M"


def extras() -> list[tuple[str, str]]:
    """Each extra of the package: ready, or what is missing of it and the command that brings it."""
    try:
        lines = importlib.metadata.requires("fourhorn") or []
    except importlib.metadata.PackageNotFoundError:
        return [("extras", "not known: fourhorn is imported from a folder, not installed")]
    missing: dict[str, list[str]] = {}
    for line in lines:
        match = re.match(r"([\w.-]+).*extra == ['\"](\w+)['\"]", line)
        if match and match[1] != "fourhorn" and match[2] not in ("dev", "docs"):
            missing.setdefault(match[2], []).extend([] if is_installed(match[1]) else [match[1]])
    return [
        (f"extra {extra}", f"lacks {', '.join(names)}: pip install 'fourhorn[{extra}]'" if names else "ready")
        for extra, names in missing.items()
    ]


def is_installed(distribution: str) -> bool:
    """Whether a distribution is installed."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def of_run(run: Path) -> list[tuple[str, str]]:
    """How a run is doing."""
    if not (run / "options.json").is_file():
        raise UserError(f"{run} is no run folder: options.json is missing. Train one with `fourhorn train`.")
    options, rows = read_json(run / "options.json"), read_metrics(run)
    losses = [row["loss"] for row in rows if row.get("loss") is not None]
    held = [(row["step"], row["val_loss"]) for row in rows if "val_loss" in row]
    facts = [("steps", f"{rows[-1]['step']:,} of {options['max_steps']:,}" if rows else "none yet")]
    if losses:
        untrained = math.log(options["n_vocab"])
        facts.append(("loss", loss_verdict(losses, untrained)))
        config, recent = TrainConfig.from_dict(options), losses[-20:]
        beside = against_reference(
            sum(recent) / len(recent), config.model(), rows[-1]["step"], config.tokens_per_step
        )
        facts += [("loss beside others'", beside)] if beside else []
        rates = sorted(row["tokens_per_second"] for row in rows if "tokens_per_second" in row)
        facts.append(("tokens/s", f"median {rates[len(rates) // 2]:,.0f}, best {rates[-1]:,.0f}"))
    if held:
        best = min(held, key=lambda pair: pair[1])
        note = "" if best[0] == held[-1][0] else ": rising since, more training memorizes"
        facts.append(("held-out loss", f"{held[-1][1]:.4f}, best {best[1]:.4f} at step {best[0]:,}{note}"))
    facts.append(("skipped steps", str(sum(1 for row in rows if row.get("skipped")))))
    for step in steps_saved(run / "states"):
        try:
            verify(folder_of(run / "states", step))
            facts.append((f"state {step:,}", "sound"))
        except UserError as error:
            facts.append((f"state {step:,}", str(error)))
    return facts


def loss_verdict(losses: list[float], untrained: float) -> str:
    """The loss in words: against ln(n_vocab), which guessing evenly costs, and against its own past."""
    first, last = losses[0], sum(losses[-20:]) / len(losses[-20:])
    if abs(first - untrained) > 1.0 and len(losses) > 20 and first > untrained:
        return f"{last:.4f}; began at {first:.2f}, an untrained model has {untrained:.2f}: check the weights"
    if len(losses) > 100 and last > untrained - 0.5:
        return f"{last:.4f}, hardly below the {untrained:.2f} of guessing: lower the learning rate, check the tokens"
    low = min(losses)
    if len(losses) > 100 and last > low + 1.0:
        return f"{last:.4f}, {last - low:.2f} above its lowest: it has diverged; go back to a state, lower the rate"
    return f"{last:.4f}, down from {first:.4f}: normal"
