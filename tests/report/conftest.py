"""A workspace as a pocket run leaves it, with made-up but plausible numbers, for the report to be built from."""

import importlib.util
import json
import math
import random
from pathlib import Path

import pytest

LADDER = (
    ("pocket-117M", 3, 3, 96),
    ("pocket-345M", 6, 4, 128),
    ("pocket-762M", 9, 5, 160),
    ("pocket-1542M", 12, 6, 192),
)
N_VOCAB, N_CTX, STEPS = 4096, 256, 600


def _write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value) + "\n", encoding="utf-8")


def manifest(stage, n_in, drops, **details):
    return {
        "stage": stage,
        "options": {},
        "inputs": {},
        "n_in": n_in,
        "n_kept": n_in - sum(drops.values()),
        "drops": drops,
        "outputs": {"part-00000.jsonl.zst": {"sha256": "ab" * 32, "n_bytes": 1000, "n_items": 10}},
        "seconds": 12.5,
        "details": details,
        "version": "0.1.0",
    }


def n_params(n_layer, n_embd):
    return 12 * n_layer * n_embd**2 + (N_VOCAB + N_CTX) * n_embd


def metric(value, n, spread=0.06, chance=None):
    row = {"value": value, "low": value * (1 - spread), "high": value * (1 + spread), "n": n}
    return row if chance is None else {**row, "chance": chance}


def result(task, metrics, model, weights, *, scale="pocket", details=None, protocol=None):
    return {
        "task": task,
        "section": "3",
        "dataset": f"{task}, cut from held-out documents" if scale == "pocket" else f"{task} official",
        "scale": scale,
        "n": 400,
        "skipped": {},
        "protocol": protocol
        or {
            "unit": "total nats over the original file's units",
            "stride": 128,
            "truncation": "oldest tokens first",
        },
        "metrics": metrics,
        "data_sha256": "cd" * 32,
        "model": {"name": model, "digest": "ef" * 32, "n_params": weights},
        "seconds": 3.2,
        "details": details or {},
        "version": "0.1.0",
    }


def results_of(rung, model, weights, scale="pocket"):
    """All tasks' results for the rung-th model of the ladder."""
    better = 0.82**rung
    questions = [
        {
            "question": f"Which module holds function number {i}?",
            "answer": f"module {i}",
            "correct": i % 3 == 0,
            "probability": 0.9 / (1 + i / 4),
        }
        for i in range(30)
    ]
    rouge = {}
    for k, prefix in enumerate(("", "no_hint_", "lead_3_", "random_3_")):
        for name, value in (("rouge_1", 12.0), ("rouge_2", 2.1), ("rouge_l", 10.4), ("rouge_avg", 8.2)):
            rouge[prefix + name] = metric(value + k * 3 + rung * 0.4, 40, 0.15)
    perplexity = {
        "unit": "total nats over the original file's units; words count one end of line per line",
        "stride": 128,
    }
    tasks = {
        "lambada": {
            "accuracy": metric(0.05 + 0.03 * rung, 1000, 0.2, 0.012),
            "accuracy_no_filter": metric(0.04 + 0.03 * rung, 1000, 0.2, 0.012),
            "word_perplexity": metric(900 * better, 1000),
            "last_token_perplexity": metric(120 * better, 1000),
        },
        "cbt_cn": {"accuracy": metric(0.31 + 0.04 * rung, 500, 0.1, 0.1)},
        "cbt_ne": {"accuracy": metric(0.28 + 0.05 * rung, 500, 0.1, 0.1)},
        "winograd": {
            "accuracy": metric(0.5 + 0.01 * rung, 40, 0.25, 0.5),
            "accuracy_full": metric(0.49 + 0.01 * rung, 40, 0.25, 0.5),
        },
        "coqa": {"f1": metric(4.1 + rung, 60, 0.3), "exact_match": metric(1.0, 60, 0.5)},
        "cnn_dailymail": rouge,
        "wmt14_fr_en": {"bleu": metric(0.3 + 0.1 * rung, 80, 0.4)},
        "natural_questions": {
            "exact_match": metric(0.01 + 0.004 * rung, 120, 0.8),
            "exact_match_top_1_percent": metric(0.0, 1),
            "baseline_exact_match": metric(0.008, 120, 0.9),
        },
        "webtext": {
            "word_perplexity": metric(700 * better, 150),
            "bits_per_byte": metric(2.1 * better**0.3, 150, 0.02),
        },
        "webtext_perplexity": {
            "train_token_perplexity": metric(60 * better, 300, 0.02),
            "test_token_perplexity": metric(66 * better, 300, 0.02),
        },
    }
    if scale == "official":
        tasks["wikitext2"] = {"word_perplexity": metric(310 * better, 4, 0.03)}
    for task, metrics in tasks.items():
        details = {"most_confident": questions} if task == "natural_questions" else None
        protocol = perplexity if "perplexity" in task or "wikitext" in task else None
        yield task, result(task, metrics, model, weights, scale=scale, details=details, protocol=protocol)


def overlap_of(test, share, against="webtext", n=48_210):
    cdf = [
        [p, round(min(1.0, 0.2 + 0.8 * (1 - math.exp(-p / (400 * share + 0.5)))), 4)]
        for p in (0, 0.5, 1, 2, 4, 8, 16, 32, 64, 100)
    ]
    items = {
        "n": 200,
        "n_with_ngrams": 198,
        "n_with_hits": 150,
        "share_without_hits": 0.2,
        "mean": share,
        "median": share * 0.8,
        "cdf": cdf,
    }
    return {
        "test": test,
        "against": against,
        "ngram": 8,
        "unit": "bpe",
        "method": "stream",
        "n_ngrams": n,
        "n_hits": int(n * share),
        "overlap": share,
        "low": share * 0.9,
        "high": share * 1.1,
        "unique_overlap": share * 0.8,
        "items": items,
        "seconds": 1.2,
        "train_bytes": 8_412_331,
        "train_documents": 3120,
        "false_positive_bound": 1e-13,
        "megabytes_per_second": 212.4,
        "version": "0.1.0",
    }


def _make_workspace(root: Path, *, scale: str = "pocket", seed: int = 0) -> Path:
    """Fill `root` with everything a finished run leaves for the report."""
    draw = random.Random(seed)
    _write(
        root / "links/manifest.json",
        manifest(
            "links",
            12_480,
            {"low karma": 3101, "self post": 1220, "deleted": 210, "wikipedia": 96, "after cut-off": 55},
        ),
    )
    _write(
        root / "pages/manifest.json",
        manifest(
            "crawl", 7798, {"duplicate of a redirect": 320, "404": 211, "robots.txt": 150, "timeout": 12}
        ),
    )
    _write(root / "raw/manifest.json", manifest("extract", 7105, {"not html": 240, "no article": 610}))
    _write(
        root / "clean/manifest.json",
        manifest("clean", 6255, {"too short": 1411, "language": 230, "mostly code": 96}),
    )
    _write(root / "unique/manifest.json", manifest("dedup", 4518, {"same text": 610, "near duplicate": 512}))
    _write(root / "webtext/manifest.json", manifest("split", 3396, {}))
    _write(
        root / "stats/stats.json",
        {"domains": [{"domain": f"docs{i}.example", "n_documents": 900 // (i + 1)} for i in range(12)]},
    )
    _write(
        root / "tokenizer/manifest.json",
        manifest("tokenizer train", 3120, {}, n_vocab=N_VOCAB, n_merges=3839, n_bytes_text=8_412_331),
    )
    for split, n in (("train", 2_210_113), ("val", 61_020), ("test", 58_744)):
        index = {
            "magic": "fourhorn-tokens",
            "version": 1,
            "dtype": "uint16",
            "n_tokens": n,
            "n_documents": n // 700,
        }
        _write(
            root / f"tokens/{split}/index.json",
            {**index, "n_bytes_text": int(n * 3.71), "tokenizer_sha256": "12" * 32, "n_vocab": N_VOCAB},
        )
    for rung, (name, n_layer, n_head, n_embd) in enumerate(LADDER):
        weights = n_params(n_layer, n_embd)
        run = root / "runs" / name
        shape = {"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd, "n_ctx": N_CTX, "n_vocab": N_VOCAB}
        loss = 4.4 - 0.18 * rung
        summary = {
            "n_params": weights,
            "n_tokens": 2_457_600,
            "flops": 6.0 * weights * 2_457_600,
            "seconds": 40 * (rung + 1) ** 1.6,
        }
        summary |= {
            "train_loss": loss - 0.05,
            "val_loss": loss,
            "learning_rate": 2e-3,
            "tokens_per_second": 20_000 / (rung + 1),
        }
        summary |= {
            "peak_memory_bytes": 400_000_000,
            "steps": STEPS,
            "device": "cpu",
            "world_size": 1,
            "version": "0.1.0",
        }
        _write(run / "options.json", {**shape, "max_steps": STEPS})
        _write(run / "summary.json", summary)
        _write(run / "checkpoint/config.json", {**shape, "sha256": "34" * 32})
        _write(
            run / "sweep.json",
            {
                "tried": [
                    {"learning_rate": r, "held_out_loss": loss + 0.6 + abs(math.log2(r / 2e-3)) * 0.1}
                    for r in (1e-3, 2e-3, 4e-3)
                ]
            },
        )
        rows = []
        for step in range(1, STEPS + 1):
            value = loss + 4 * math.exp(-step / 60) + draw.gauss(0, 0.05)
            rows.append(
                {
                    "step": step,
                    "loss": value,
                    "learning_rate": 2e-3,
                    "grad_norm": 1.0,
                    "tokens_per_second": 2e4,
                    "mfu": 0.2,
                }
            )
            if step % 75 == 0:
                rows.append({"step": step, "val_loss": loss + 4 * math.exp(-step / 60) + 0.04})
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for task, value in results_of(rung, name, weights, scale):
            _write(root / "results" / name / f"{task}.json", value)
    samples = [
        {
            "id": i,
            "prompt": "The iterator returns one item at a time. When no item is left it raises an exception, and so ",
            "completion": "it comes to the end of the sequence.\n\nReturn a new array with the given shape, filled "
            "with zeros. The order of the elements in memory stays as it was, which is what most callers want. "
            * 3,
            "reference": "ended.",
            "seed": i,
            "settings": {"temperature": 1.0, "top_k": 40, "top_p": 1.0, "max_new_tokens": 64},
        }
        for i in range(5)
    ]
    folder = root / "samples" / LADDER[-1][0]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "part-00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
    for test, share in (
        ("wikitext2", 0.0112),
        ("lambada", 0.021),
        ("webtext", 0.043),
        (LADDER[-1][0], 0.018),
    ):
        _write(root / f"overlap/{test}.json", overlap_of(test, share))
    _write(root / "overlap/wikitext2.own.json", overlap_of("wikitext2", 0.0066, "own", 240_232))
    row = {"metric": "accuracy, %", "threshold": 0.0, "n": 1000, "n_with": 181}
    row |= {
        "all": {"value": 14.0, "low": 11.9, "high": 16.3},
        "without": {"value": 13.6, "low": 11.4, "high": 16.0},
    }
    row |= {
        "with": {"value": 15.8, "low": 11.2, "high": 21.8},
        "difference": {"value": 0.4, "low": -0.6, "high": 1.4},
    }
    _write(
        root / "overlap/lambada.pocket-1542M.scores.json",
        {"task": "lambada", "model": LADDER[-1][0], "rows": [row]},
    )
    passage = {
        "text": "He said “je ne sais pas ce que je fais” (in English, “I do not know what I do”).",
        "url": None,
    }
    _write(root / "overlap/demonstrations.json", {"examples": [passage], "n_found": 3, "n_documents": 3120})
    longest = [
        {
            "id": "3",
            "n_characters": 212,
            "text": "Return a new array with the given shape, filled with zeros.",
            "url": "http://docs1.example/a",
        }
    ]
    probes = [{"name": "Gettysburg Address", "n_occurrences": 0, "recited_characters": 0}]
    _write(
        root / "overlap/recitation.json",
        {
            "samples": LADDER[-1][0],
            "n_samples": 24,
            "median_characters": 38,
            "longest": longest,
            "probes": probes,
        },
    )
    return root


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A finished pocket run, shared by tests that do not change it."""
    return _make_workspace(tmp_path_factory.mktemp("run") / "pocket")


@pytest.fixture
def fresh_run(tmp_path):
    """A finished pocket run of the test's own."""
    return _make_workspace(tmp_path / "pocket")


@pytest.fixture(scope="session")
def make_workspace():
    """`make_workspace(root, scale="pocket", seed=0)` fills a folder as a finished run does."""
    return _make_workspace


@pytest.fixture(scope="session")
def write():
    """`write(path, value)` writes JSON."""
    return _write


@pytest.fixture(scope="session")
def browser():
    """A real browser; tests that need one are skipped where there is none."""
    spec = importlib.util.spec_from_file_location("report_browser", Path(__file__).with_name("browser.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if module.path() is None:
        pytest.skip("needs chromium")
    found = module.Browser()
    yield found
    found.close()
