"""`evaluate`: run tasks on a model, one resumable result file per task.

§3. Every task writes `results/NAME/<task>.json` (metrics with intervals, n, protocol, data and model hashes) and
`<task>.items.jsonl` (one record per item). While a task runs, finished batches are appended to
`<task>.partial.jsonl` under a key of configuration, model and data; a run that was killed goes on after the last
whole batch and ends in the same files. Batches follow a fixed plan, so the numbers do not depend on where it was
killed.

Under torchrun every process scores every world_size-th batch and the first one puts the records together.
"""

import gc
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import torch

from fourhorn.errors import UserError
from fourhorn.evaluation.load import DataOptions, load_tasks, resolve
from fourhorn.evaluation.scoring import Scorer
from fourhorn.evaluation.task import Metric, Record, Result, Task
from fourhorn.files import atomic_write, read_json, sha256_bytes, version, write_json
from fourhorn.progress import progress


def evaluate(
    model: Any,
    tokenizer: Any,
    *,
    tasks: Sequence[str] | None = None,
    data: str | Path | None = None,
    destination: str | Path | None = None,
    pocket: str | Path | None = None,
    heldout: str | Path | None = None,
    train: str | Path | None = None,
    name: str = "",
    batch_size: int = 0,
    limit: int | None = None,
    strides: Sequence[int] = (1024,),
    preprocessed: bool = True,
    detokenized: bool = True,
    other_files: bool = False,
    skip_malformed: bool = False,
    seed: int = 0,
) -> dict[str, Result]:
    """Run the paper's zero-shot experiments (§3) on a model.

    Args:
        tasks: names of tasks, or paths of text files of your own; all tasks that have data by default.
        data: folder with official evaluation sets, used wherever it has them.
        destination: folder for results; a run that was killed goes on there. None writes nothing.
        pocket: folder of sets cut from held-out documents (`fourhorn.evaluation.pocket.build`).
        heldout: records of held-out documents, for language modeling on one's own WebText.
        train: records of training documents, scored beside the held-out ones (Figure 4).
        name: what the model is called in the results.
        batch_size: sequences per forward pass; 0 chooses by the model's size.
        limit: at most this many items (conversations, documents, windows) per task.
        strides: steps of the language-modeling window in tokens, each at most the model's context.
        preprocessed: give LAMBADA OpenAI's preprocessing (straight quotes, a newline in front).
        detokenized: undo the tokenization of WikiText, PTB, 1BW and the Children's Book Test.
        other_files: accept files in an official format whose counts differ, under the label "other".
        skip_malformed: leave out malformed items and count them, instead of refusing the file.
        seed: seed of sampled summaries.

    All files are read and checked before the first task is scored.
    """
    folders = {"data": data, "pocket": pocket, "heldout": heldout, "train": train}
    options = DataOptions(
        **{key: Path(value) if value is not None else None for key, value in folders.items()},  # type: ignore[arg-type]
        other_files=other_files,
        skip_malformed=skip_malformed,
        limit=limit,
        strides=tuple(strides),
        preprocessed=preprocessed,
        detokenized=detokenized,
        seed=seed,
    )
    waiting, missing = load_tasks(resolve(tasks), options)
    scorer = Scorer(model, tokenizer, batch_size)
    folder = Path(destination) if destination is not None else None
    results: dict[str, Result] = {}
    for task_name in list(waiting):
        task = waiting.pop(task_name)  # its data is let go as soon as it is scored
        results[task_name] = run_task(
            task, scorer, folder, name=name, options=repr(options), limit=options.limit
        )
        del task
        gc.collect()
    if folder is not None and rank() == 0:
        write_json(folder / "missing.json", {**_missing(folder, results), **missing})
    return results


def _missing(folder: Path, results: dict[str, Result]) -> dict[str, Any]:
    """What an earlier call for other tasks found missing, and still is."""
    try:
        earlier = read_json(folder / "missing.json")
    except UserError:  # none yet, or damaged: it is written anew
        return {}
    return {n: why for n, why in earlier.items() if n not in results} if isinstance(earlier, dict) else {}


def run_task(
    task: Task,
    scorer: Scorer,
    folder: Path | None,
    *,
    name: str = "",
    options: str = "",
    limit: int | None = None,
) -> Result:
    """Score all items of one task, going on where an earlier run stopped; a `limit` that was set is said."""
    started = time.monotonic()
    before = Counter(scorer.counts)
    plan = task.batches(scorer)
    key = _key(task, scorer, plan, options)
    if (finished := _finished(folder, task.name, key)) is not None:
        return finished
    records = _score_all(task, scorer, plan, folder, key)
    kept = [record for record in records if "skipped" not in record]
    skipped = Counter(record["skipped"] for record in records if "skipped" in record) + Counter(task.skipped)
    protocol = {
        **task.protocol(),
        "n_ctx": scorer.n_ctx,
        "dtype": str(scorer.dtype).removeprefix("torch."),
        "batch_size": scorer.batch_size,
        **({} if limit is None else {"limit": f"at most {limit:,} items"}),
    }
    result = Result(
        task=task.name,
        section=task.section,
        dataset=task.source.dataset,
        scale=task.source.scale,
        n=len(kept),
        skipped=dict(skipped),
        protocol=protocol,
        metrics=task.metrics(kept) if kept else {},
        data_sha256=task.source.data_sha256,
        model={
            "name": name,
            "digest": scorer.digest,
            "n_params": sum(p.numel() for p in scorer.model.parameters()),
        },
        seconds=round(time.monotonic() - started, 2),
        details=task.details(kept) if kept else {},
    )
    result.details["tokens"] = dict(Counter(scorer.counts) - before)
    result.details["key"] = key
    if folder is not None and rank() == 0:
        _write(folder, task.name, result, records)
    return result


def _write(folder: Path, name: str, result: Result, records: list[Record]) -> None:
    with atomic_write(folder / f"{name}.items.jsonl", "w") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    write_json(folder / f"{name}.json", result.to_dict())
    for partial in folder.glob(f"{name}.partial*.jsonl"):
        partial.unlink()


def _finished(folder: Path | None, name: str, key: str) -> Result | None:
    """The result of an earlier run of this very work."""
    if (
        folder is None
        or not (folder / f"{name}.json").exists()
        or not (folder / f"{name}.items.jsonl").exists()
    ):
        return None
    value = read_json(folder / f"{name}.json")
    if not isinstance(value, dict) or value.get("details", {}).get("key") != key:
        return None
    return Result(**{**value, "metrics": {n: Metric(**metric) for n, metric in value["metrics"].items()}})


def _key(task: Task, scorer: Scorer, plan: list[list[int]], options: str) -> str:
    """What a partial result belongs to: configuration, model, data, version and plan."""
    parts = [task.name, task.source.data_sha256, scorer.digest, _tokenizer_key(scorer), version(), options]
    parts += [
        json.dumps(task.protocol(), sort_keys=True),
        str(scorer.batch_size),
        str(torch.__version__),
        json.dumps(plan),
    ]
    return sha256_bytes("\n".join(parts).encode())


def _tokenizer_key(scorer: Scorer) -> str:
    return str(getattr(scorer.tokenizer, "sha256", "")) or str(scorer.tokenizer.n_vocab)


# ------------------------------------------------------------------------------------------- items, resumably


def _score_all(
    task: Task, scorer: Scorer, plan: list[list[int]], folder: Path | None, key: str
) -> list[Record]:
    """The records of all items, in item order; finished batches are read from the partial file of an earlier run."""
    done: dict[int, list[Record]] = {}
    mine = f"{task.name}.partial.jsonl" if world_size() == 1 else f"{task.name}.partial.{rank()}.jsonl"
    partial: IO[str] | None = None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        done = _read_partial(folder / mine, key)
        partial = (folder / mine).open("a", encoding="utf-8")
    elif world_size() > 1:
        raise ValueError("evaluation by several processes needs a destination")
    numbers = [n for n in range(len(plan)) if n % world_size() == rank()]
    with progress(task.name, total=sum(len(plan[n]) for n in numbers), unit="items") as bar:
        for number in numbers:
            if number not in done:
                done[number] = task.score(scorer, plan[number])
                if partial is not None:
                    line = json.dumps(
                        {"key": key, "batch": number, "records": done[number]}, ensure_ascii=False
                    )
                    partial.write(line + "\n")
                    partial.flush()
            bar.update(len(plan[number]))
    if partial is not None:
        os.fsync(partial.fileno())
        partial.close()
    if world_size() > 1 and folder is not None:
        done = _gather(folder, task.name, key)
    return sorted((r for records in done.values() for r in records), key=_item_order)


def _item_order(record: Record) -> tuple[str, int, str]:
    head, _, tail = str(record["id"]).rpartition("/")
    return (head, int(tail), "") if tail.isdecimal() else (head, -1, tail)


def _read_partial(path: Path, key: str) -> dict[int, list[Record]]:
    """Whole batches of a partial file that belong to this very work; a last line cut off is dropped."""
    done: dict[int, list[Record]] = {}
    good = 0
    if not path.exists():
        return done
    data = path.read_bytes()
    for line in data.splitlines(keepends=True):
        try:
            row = json.loads(line)
        except ValueError:
            break
        if row.get("key") != key or not line.endswith(b"\n"):
            break
        done[int(row["batch"])] = row["records"]
        good += len(line)
    if good < len(data):
        with path.open("r+b") as file:
            file.truncate(good)
    return done


# ------------------------------------------------------------------------------------------------- torchrun


def rank() -> int:
    """This process's number under torchrun, 0 elsewhere."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes torchrun started, 1 elsewhere."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _gather(folder: Path, name: str, key: str) -> dict[int, list[Record]]:
    """Wait for all processes, then read every one's batches."""
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("gloo")
    dist.barrier()
    done: dict[int, list[Record]] = {}
    for path in sorted(folder.glob(f"{name}.partial.*.jsonl")):
        done |= _read_partial(path, key)
    dist.barrier()
    return done
