"""Same requests, same weights: fourhorn's scoring against lm-evaluation-harness's Hugging Face backend.

Needs `lm_eval[hf]` and a folder with the official LAMBADA and CBT files (see `fourhorn data list`):

    python benchmarks/evaluation_speed.py --data DIR --vocabulary DIR [--size 124M] [--dtypes float32 bfloat16]

The model has random weights of the given size. Each side lives in its own process, as its users run it (fourhorn's
command line keeps freed memory, see `fourhorn.runtime`); rounds alternate. Seconds are processor seconds, which other
work on the machine disturbs least; ratios of wall time stand beside them.
"""

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

STATE: dict[str, Any] = {}


def start_ours(size: str, dtype: str, vocabulary: str, threads: int) -> None:
    """fourhorn's process."""
    from fourhorn.runtime import settle_memory

    settle_memory()
    import torch

    from fourhorn.evaluation.harness import Answers
    from fourhorn.tokenizer.tokenizer import Tokenizer

    torch.set_num_threads(threads)
    model = random_model(size).to(getattr(torch, dtype))
    STATE["model"] = Answers(model, Tokenizer.load(vocabulary))


def start_theirs(size: str, dtype: str, vocabulary: str, threads: int) -> None:
    """lm-evaluation-harness's process, with the same weights in transformers."""
    import torch
    import transformers
    from lm_eval.models.huggingface import HFLM

    from fourhorn.tokenizer.tokenizer import Tokenizer

    torch.set_num_threads(threads)
    model = random_model(size)
    c = model.config
    other = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_layer=c.n_layer, n_head=c.n_head, n_embd=c.n_embd)
    )
    state = {
        f"transformer.{name}": value.T if value.ndim == 2 and name.startswith("h.") else value
        for name, value in model.state_dict().items()
    }
    other.load_state_dict({**state, "lm_head.weight": state["transformer.wte.weight"]})
    with tempfile.TemporaryDirectory() as folder:
        Tokenizer.load(vocabulary).save(folder, format="huggingface")
        eot = "<|endoftext|>"
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(Path(folder) / "tokenizer.json"), bos_token=eot, eos_token=eot
        )
    other = other.eval().to(getattr(torch, dtype))
    STATE["model"] = HFLM(
        pretrained=other, tokenizer=tokenizer, batch_size=8, dtype=dtype, device="cpu", max_length=1024
    )


def random_model(size: str) -> Any:
    """The same random weights in both processes."""
    import torch

    from fourhorn.model.config import GPT2Config
    from fourhorn.model.transformer import GPT2

    torch.manual_seed(0)
    return GPT2(GPT2Config.named(size)).eval()


def ask(kind: str, requests: list[Any]) -> dict[str, Any]:
    """Answer requests in this process: seconds, answers, tokens read, peak memory."""
    model = STATE["model"]
    counts = model.scorer.counts.copy() if hasattr(model, "scorer") else {}
    if not counts and not hasattr(model, "scorer"):
        from lm_eval.api.instance import Instance

        wanted = [
            Instance(request_type=kind, doc={}, arguments=r if isinstance(r, tuple) else (r,), idx=i)
            for i, r in enumerate(requests)
        ]
        call = lambda: getattr(model, kind)(wanted, disable_tqdm=True)  # noqa: E731
    else:
        call = lambda: getattr(model, kind)(requests)  # noqa: E731
    wall, cpu = time.perf_counter(), time.process_time()
    found = call()
    seconds = (time.process_time() - cpu, time.perf_counter() - wall)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    read = dict(model.scorer.counts - counts) if hasattr(model, "scorer") else {}
    values = [float(a[0]) if isinstance(a, tuple) else float(a) for a in found]
    return {"seconds": seconds, "values": values, "read": read, "peak_gb": peak}


def requests_of(
    data: Path, n_lambada: int, n_cbt: int, n_rolling: int
) -> dict[str, tuple[str, list[Any], int, str]]:
    """The three kinds of work: requests, how many items they are, and what an item is called."""
    from fourhorn.evaluation.formats import read_childrens_book, read_lambada
    from fourhorn.evaluation.tasks.childrens_book_test import example

    passages = read_lambada(next(data.rglob("lambada_test*.jsonl")))[:n_lambada]
    pairs = [(p.rsplit(" ", 1)[0], " " + p.rsplit(" ", 1)[1]) for p in passages]
    questions = read_childrens_book(next(data.rglob("cbtest_NE_valid*.txt")))[:400:67][:n_cbt]
    items = [example(i, q) for i, q in enumerate(questions)]
    cloze = [(item.context, continuation) for item in items for continuation in item.continuations]
    text = next(data.rglob("wiki.test.tokens*")).read_text()
    texts = [text[i * 20_000 : (i + 1) * 20_000] for i in range(n_rolling)]
    return {
        "LAMBADA": ("loglikelihood", pairs, len(pairs), "items/s"),
        "CBT-NE": ("loglikelihood", cloze, len(items), "questions/s"),
        "rolling": ("loglikelihood_rolling", texts, len(texts), "texts of 20 kB/s"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--size", default="124M")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--n-lambada", type=int, default=200)
    parser.add_argument("--n-cbt", type=int, default=6)
    parser.add_argument("--n-rolling", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    from table import write_table

    spawn = multiprocessing.get_context("spawn")
    rows = []
    for dtype in options.dtypes:
        arguments = (options.size, dtype, options.vocabulary, options.threads)
        with spawn.Pool(1, start_ours, arguments) as ours, spawn.Pool(1, start_theirs, arguments) as theirs:
            work = requests_of(options.data, options.n_lambada, options.n_cbt, options.n_rolling)
            for name, (kind, requests, n, unit) in work.items():
                answers: list[tuple[dict[str, Any], dict[str, Any]]] = []
                for _ in range(options.rounds if name != "CBT-NE" else 1):
                    answers.append((ours.apply(ask, (kind, requests)), theirs.apply(ask, (kind, requests))))
                cpu = [statistics.median(a[side]["seconds"][0] for a in answers) for side in (0, 1)]
                ratios = [b["seconds"][1] / a["seconds"][1] for a, b in answers]
                worst = max(
                    abs(x - y) for x, y in zip(answers[0][0]["values"], answers[0][1]["values"], strict=True)
                )
                read = answers[0][0]["read"]
                row = [
                    f"{name}, {n}",
                    dtype,
                    f"{n / cpu[0]:.2f}",
                    f"{n / cpu[1]:.2f}",
                    unit,
                    f"{cpu[1] / cpu[0]:.2f}×",
                ]
                row += [f"{min(ratios):.1f}–{max(ratios):.1f}×", f"{worst:.0e}"]
                row += [f"{read['unshared_tokens'] / read['forward_tokens']:.2f}×"]
                row += [f"{answers[-1][0]['peak_gb']:.1f} / {answers[-1][1]['peak_gb']:.1f}"]
                print(row, flush=True)
                rows.append(row)
    head = ["requests", "dtype", "fourhorn", "lm-eval", "unit", "ratio", "ratio of wall times"]
    head += ["largest difference (nats)", "fewer tokens", "peak memory GB"]
    rivals = f"lm_eval {version('lm_eval')}, transformers {version('transformers')}, torch {version('torch')}"
    notes = f"{options.size}, random weights, {options.threads} threads each; rival: {rivals}, batch size 8."
    write_table(__file__, "Scoring speed against lm-evaluation-harness", head, rows, [notes])


if __name__ == "__main__":
    main()
