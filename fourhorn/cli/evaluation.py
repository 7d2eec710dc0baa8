"""`fourhorn evaluate`, `compare` and `data list|fetch|check`: the experiments of §3 at the command line."""

import json
from pathlib import Path
from typing import Any, Literal

from fourhorn.errors import UserError


def evaluate(
    model: str,
    destination: Path | None = None,
    *,
    tasks: list[str] | None = None,
    data: Path | None = None,
    pocket: Path | None = None,
    heldout: Path | None = None,
    train: Path | None = None,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    batch_size: int = 0,
    limit: int | None = None,
    strides: list[int] | None = None,
    preprocessed: bool = True,
    detokenized: bool = True,
    other_files: bool = False,
    skip_malformed: bool = False,
    seed: int = 0,
    paper: bool = True,
) -> None:
    """Run the paper's zero-shot experiments (§3) on a model and write one result file per task.

    Args:
        model: anything `fourhorn.load` takes: a run folder, a checkpoint folder, a released size.
        destination: folder for results; a run that was killed goes on there. Default: results/MODEL.
        tasks: names of tasks, or paths of text files of your own. Default: all that have data.
        data: folder with official evaluation sets (see fourhorn data list).
        pocket: folder of LAMBADA- and CBT-style sets; made there from --heldout when it is empty.
        heldout: records of held-out documents, for language modeling on your own WebText.
        train: records of training documents, scored beside the held-out ones (Figure 4).
        device: cpu, cuda or mps; auto is the best there is.
        dtype: type of the weights while scoring.
        batch_size: sequences per forward pass; 0 chooses by the model's size.
        limit: at most this many items (conversations, documents, windows) per task.
        strides: steps of the language-modeling window in tokens. Default: 1024, at most the model's context.
        preprocessed: give LAMBADA OpenAI's preprocessing.
        detokenized: undo the tokenization of WikiText, PTB, 1BW and CBT.
        other_files: accept files of an official format whose counts differ, under the label "other".
        skip_malformed: leave out malformed items and count them, instead of refusing the file.
        seed: seed of sampled summaries.
        paper: print the paper's numbers and public reproductions beside this run's.
    """
    from fourhorn.evaluation.load import resolve

    resolve(tasks)  # a mistyped task is refused before the model is read
    folder = destination or Path("results") / Path(model).name
    options: dict[str, Any] = {
        "tasks": tasks,
        "data": data,
        "pocket": pocket,
        "heldout": heldout,
        "train": train,
        "batch_size": batch_size,
        "limit": limit,
        "preprocessed": preprocessed,
        "detokenized": detokenized,
        "other_files": other_files,
        "skip_malformed": skip_malformed,
        "seed": seed,
        "strides": tuple(strides or [1024]),
    }
    _run(model, folder, device, dtype, paper, options)


def _run(model: str, folder: Path, device: str, dtype: str, paper: bool, options: dict[str, Any]) -> None:
    from fourhorn.runtime import choose_device, settle_memory

    settle_memory()
    from fourhorn.checkpoints.load import load
    from fourhorn.evaluation import published
    from fourhorn.evaluation.pocket.build import build
    from fourhorn.evaluation.run import evaluate as run

    pocket, heldout = options["pocket"], options["heldout"]
    if pocket is not None and heldout is not None and not (pocket / "manifest.json").exists():
        build(heldout, pocket)
    network, tokenizer = load(model, device=choose_device(device), dtype=dtype)
    results = run(network, tokenizer, destination=folder, name=Path(model).name, **options)
    for result in results.values():
        print(result)
    if paper:
        print("\n" + published.table(results))
    for task, reason in json.loads((folder / "missing.json").read_text()).items():
        print(f"missing: {task}: {reason}")
    if not results:
        raise UserError("No task has data. Give --data, --pocket or --heldout, or name tasks with --tasks.")
    print(f"{len(results)} tasks → {folder}\nNext: fourhorn compare {folder} results/OTHER")


def compare(a: Path, b: Path, *, json_file: Path | None = None) -> None:
    """Compare two result folders item by item: paired differences with 95 % intervals.

    Args:
        a: folder of results.
        b: another folder of results on the same data.
        json_file: also write the differences here as JSON.
    """
    from fourhorn.evaluation.compare import compare as run
    from fourhorn.evaluation.compare import table
    from fourhorn.files import write_json

    rows = run(a, b)
    print(table(rows))
    if json_file is not None:
        write_json(json_file, [row.to_dict() for row in rows])
        print(f"{len(rows)} differences → {json_file}")


def data_list() -> None:
    """List the official evaluation sets: what they hold, where they come from, license, size and hash."""
    from fourhorn.evaluation.datasets import OFFICIAL

    for spec in OFFICIAL.values():
        print(f"{spec.name}: {spec.title}\n  {spec.source}; {spec.license}")
        for file in spec.files:
            figures = [f"{file.n_items:,} {spec.unit}"] if file.n_items else []
            figures += [f"{file.n_bytes:,} bytes"] if file.n_bytes and file.n_bytes != file.n_items else []
            figures += [f"sha256 {file.sha256}" if file.sha256 else "sha256 not known"]
            print(f"  {file.names[0]}: {', '.join(figures)}")
        for url in spec.urls:
            print(f"  {url}")
    print("Next: fourhorn data fetch NAME DIR, fourhorn data check DIR")


def data_fetch(name: str, folder: Path = Path("data")) -> None:
    """Download an official evaluation set: resumed after a break, checked by counts and hash.

    Args:
        name: a set of fourhorn data list.
        folder: where it goes.
    """
    from fourhorn.evaluation.fetch import fetch

    for path in fetch(name, folder):
        print(f"{path.stat().st_size:,} bytes → {path}")
    print(f"Next: fourhorn evaluate MODEL --data {folder}")


def data_check(folder: Path) -> int:
    """Say what evaluation sets a folder holds: official, counts agree, something else, or missing.

    Args:
        folder: the folder to look in, with everything below it.
    """
    from fourhorn.evaluation.datasets import OFFICIAL, check

    wrong = 0
    for name, found in check(folder).items():
        if found is None:
            print(f"{name}: missing ({OFFICIAL[name].files[0].names[0]})")
        elif isinstance(found, str):
            wrong += 1
            print(f"{name}: unreadable: {found}")
        else:
            wrong += found.status == "other"
            where = ", ".join(str(path) for path in found.paths)
            print(
                f"{name}: {found.status}: {found.n_items:,} {found.set.unit}, sha256 {found.sha256[:16]}…, {where}"
            )
            for difference in found.differences:
                print(f"  {difference}")
    print(f"Next: fourhorn evaluate MODEL --data {folder}")
    return 1 if wrong else 0
