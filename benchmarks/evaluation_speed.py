"""Same requests, same weights: fourhorn's scoring against lm-evaluation-harness's Hugging Face backend.

Needs `lm_eval[hf]` and a folder with the official LAMBADA, CBT, WikiText-2, NQ and WMT files (`fourhorn data list`):

    python benchmarks/evaluation_speed.py --data DIR --vocabulary DIR [--size 124M] [--dtypes float32 bfloat16]

The model has random weights of the given size. Each side lives in its own process, as its users run it (fourhorn's
command line keeps freed memory, see `fourhorn.runtime`); rounds alternate, seconds are wall time. `prefill` counts
over whole sets the tokens that are read, seeds and contexts shared, against each prompt and candidate read by itself,
up to the first generated token; the count does not depend on the weights, so a small model reads them. `--keep FILE`
collects the rows of several runs.
"""

import argparse
import json
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
    ours = hasattr(model, "scorer")
    counts = model.scorer.counts.copy() if ours else {}
    call = lambda: getattr(model, kind)(requests)  # noqa: E731
    if not ours:
        from lm_eval.api.instance import Instance

        wanted = [
            Instance(request_type=kind, doc={}, arguments=r if isinstance(r, tuple) else (r,), idx=i)
            for i, r in enumerate(requests)
        ]
        call = lambda: getattr(model, kind)(wanted, disable_tqdm=True)  # noqa: E731
    started = time.perf_counter()
    found = call()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    read = dict(model.scorer.counts - counts) if ours else {}
    values = [float(a[0]) if isinstance(a, tuple) else float(a) for a in found]
    return {"seconds": seconds, "values": values, "read": read, "peak_gb": peak}


def each_token(text: str) -> list[float]:
    """The log-probability of each of the first 1,023 tokens of a text, in this process."""
    model = STATE["model"]
    if hasattr(model, "scorer"):
        from fourhorn.evaluation.scoring import Request

        tokens = model.scorer.tokenizer.encode_ordinary(text)[:1023]
        return list(model.scorer.loglikelihoods([Request([model.scorer.eot], tokens)])[0].logprobs)
    import torch

    tokens = model.tok_encode(text, add_special_tokens=False)[:1023]
    inputs = torch.tensor([[model.prefix_token_id, *tokens[:-1]]])
    logprobs = torch.log_softmax(model._model_call(inputs), dim=-1, dtype=torch.float32)[0]
    return logprobs.gather(1, torch.tensor(tokens)[:, None])[:, 0].tolist()


def products_alone(n_tokens: int) -> float:
    """Seconds that PyTorch's products of a pass over so many tokens take by themselves, in windows of 1,024."""
    import torch

    model = STATE["model"].scorer.model
    width, dtype, seconds = model.config.n_embd, model.wte.weight.dtype, 0.0
    with torch.inference_mode():
        for first in range(0, n_tokens, 1024):
            n = min(1024, n_tokens - first)
            x, wide = torch.randn(n, width).to(dtype), torch.randn(n, 4 * width).to(dtype)
            started = time.perf_counter()
            for block in model.h:
                for layer in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc):
                    torch.nn.functional.linear(x, layer.weight, layer.bias)
                torch.nn.functional.linear(wide, block.mlp.c_proj.weight, block.mlp.c_proj.bias)
            for part in x.split(256):  # whole windows' logits would count as memory that scoring takes
                torch.nn.functional.linear(part, model.wte.weight)
            seconds += time.perf_counter() - started
    return seconds


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


def speed_row(name: str, dtype: str, work: Any, sides: tuple[Any, Any], n_rounds: int) -> list[str]:
    """Alternate the two sides over one kind of work; a row of the table."""
    kind, requests, n, unit = work
    rounds, alone = [], []
    for _ in range(n_rounds):
        rounds.append(tuple(side.apply(ask, (kind, requests)) for side in sides))
        if kind == "loglikelihood_rolling":
            alone.append(sides[0].apply(products_alone, (rounds[-1][0]["read"]["forward_tokens"],)))
    ours, theirs = (statistics.median(r[side]["seconds"] for r in rounds) for side in (0, 1))
    ratios = [b["seconds"] / a["seconds"] for a, b in rounds]
    pairs = list(zip(rounds[0][0]["values"], rounds[0][1]["values"], strict=True))
    worst = max(abs(x - y) for x, y in pairs)
    relative = max(abs(x - y) / abs(y) for x, y in pairs)
    read = rounds[0][0]["read"]
    difference = f"{worst:.0e}; {relative:.0e} of the sum"
    if kind == "loglikelihood_rolling":
        tokens = zip(*(side.apply(each_token, (requests[0],)) for side in sides), strict=True)
        difference += f"; {max(abs(x - y) for x, y in tokens):.0e} a token"
    return [
        f"{name}, {n}",
        dtype,
        f"{n / ours:.2f}",
        f"{n / theirs:.2f}",
        unit,
        f"{theirs / ours:.2f}×",
        f"{min(ratios):.2f}–{max(ratios):.2f}× in {n_rounds}",
        f"{theirs / statistics.median(alone):.2f}×" if alone else "",
        difference,
        f"{read['unshared_tokens'] / read['forward_tokens']:.2f}×",
        f"{rounds[-1][0]['peak_gb']:.1f} / {rounds[-1][1]['peak_gb']:.1f}",
    ]


def prefill_rows(data: Path, vocabulary: str) -> list[list[str]]:
    """Tokens read up to the first generated one, over whole sets: shared and unshared."""
    import torch

    from fourhorn.evaluation.run import evaluate
    from fourhorn.evaluation.tasks import question_answering, translation
    from fourhorn.model.config import GPT2Config
    from fourhorn.model.transformer import GPT2
    from fourhorn.tokenizer.tokenizer import Tokenizer

    question_answering.MAX_ANSWER_TOKENS = translation.MAX_NEW_TOKENS = 1
    torch.manual_seed(0)
    model = GPT2(GPT2Config(n_layer=1, n_head=1, n_embd=8)).eval()
    rows = []
    for task in ("cbt_ne", "natural_questions", "wmt14_en_fr", "wmt14_fr_en"):
        result = evaluate(model, Tokenizer.load(vocabulary), tasks=[task], data=data)[task]
        read = result.details["tokens"]
        ratio = read["unshared_tokens"] / read["forward_tokens"]
        counts = f"{read['forward_tokens']:,} of {read['unshared_tokens']:,} tokens"
        rows.append(
            [f"tokens of {task}, {result.n:,}", "", counts, "", "", "", "", "", "", f"{ratio:.2f}×", ""]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--size", default="124M")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--work", nargs="+", default=["LAMBADA", "CBT-NE", "rolling", "prefill"])
    parser.add_argument("--n-lambada", type=int, default=200)
    parser.add_argument("--n-cbt", type=int, default=4)
    parser.add_argument("--n-rolling", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    from table import write_table

    spawn = multiprocessing.get_context("spawn")
    rows = json.loads(options.keep.read_text()) if options.keep and options.keep.exists() else []
    for dtype in options.dtypes if set(options.work) - {"prefill"} else ():
        arguments = (options.size, dtype, options.vocabulary, options.threads)
        with spawn.Pool(1, start_ours, arguments) as ours, spawn.Pool(1, start_theirs, arguments) as theirs:
            work = requests_of(options.data, options.n_lambada, options.n_cbt, options.n_rolling)
            for name in (name for name in work if name in options.work):
                rows.append(speed_row(name, dtype, work[name], (ours, theirs), options.rounds))
                print(rows[-1], flush=True)
    if "prefill" in options.work:
        rows += prefill_rows(options.data, options.vocabulary)
    if options.keep:
        options.keep.write_text(json.dumps(rows))
    head = ["requests", "dtype", "fourhorn", "lm-eval", "unit", "ratio", "ratios of the rounds"]
    head += ["with products alone", "largest difference, nats", "fewer tokens", "peak memory GB"]
    rivals = f"lm_eval {version('lm_eval')}, transformers {version('transformers')}, torch {version('torch')}"
    notes = f"{options.size}, random weights, {options.threads} threads each, wall time, medians. "
    notes += f"Rival: {rivals}, batch size 8. Its sums are float32: a rolling sum of 50,000 nats is rounded to 4e-3."
    limit = "With products alone: lm-eval's seconds over those that PyTorch's matrix products of the same tokens take "
    limit += "by themselves in the same rounds, the ratio of a pass in which nothing else took any time. "
    limit += "A first round includes what a first call loads and compiles."
    write_table(__file__, "Scoring speed against lm-evaluation-harness", head, rows, [notes, "", limit])


if __name__ == "__main__":
    main()
