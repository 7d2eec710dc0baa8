"""How fast do we read prompts and write tokens on this CPU, beside Hugging Face, CTranslate2 and llama.cpp?

GPT-2 124M, random weights, two threads, greedy; tokens per second for one sequence, for sixteen, and for a prompt of
1,000. Rounds of all contenders alternate in processes of their own; shown are the fastest and the middle window, since
other work on the machine only ever slows one down.

    python benchmarks/sampling_speed.py --vocabulary FOLDER [--rivals PYTHON] [--rounds 3] [--only NAME …]

`--rivals` names a Python that has llama-cpp-python, ctranslate2 and transformers, where that is another one than this.
With the same `--folder` the models are made once, and later runs add their rounds to the earlier ones of the same code.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

N_PROMPT, N_BATCH, WINDOW = 1000, 16, 8
N_THREADS, N_WINDOWS, N_PREFILLS = 2, 12, 5
CONTENDERS = [
    "fourhorn bfloat16", "fourhorn int8", "fourhorn int4", "fourhorn float32 (PyTorch)",
    "Hugging Face float32", "Hugging Face bfloat16", "CTranslate2 float32", "CTranslate2 int8",
    "llama.cpp F16", "llama.cpp Q8_0", "llama.cpp Q4_0",
]  # fmt: skip
Step = Callable[[int], None]


def export(folder: Path, vocabulary: Path) -> None:
    """The same random weights for everybody."""
    import torch
    import transformers

    from fourhorn.model.config import GPT2Config
    from fourhorn.model.transformer import GPT2

    torch.manual_seed(0)
    model = GPT2(GPT2Config())
    weights = model.state_dict()
    torch.save(weights, folder / "weights.pt")
    config = transformers.GPT2Config()
    other = transformers.GPT2LMHeadModel(config)
    renamed = {
        f"transformer.{k}": v.t().contiguous() if "c_" in k and k.endswith("weight") else v
        for k, v in weights.items()
    }
    other.load_state_dict({**renamed, "lm_head.weight": weights["wte.weight"]})
    other.save_pretrained(folder / "hf")
    export_gguf(folder, weights, vocabulary)
    export_ctranslate2(folder)


def export_gguf(folder: Path, weights: dict, vocabulary: Path) -> None:
    """F16 by our own writer; the rest by llama.cpp."""
    from fourhorn.checkpoints import gguf
    from fourhorn.checkpoints.names import Checkpoint
    from fourhorn.model.config import GPT2Config
    from fourhorn.tokenizer.tokenizer import Tokenizer

    gguf.write(Checkpoint(GPT2Config(), weights, Tokenizer.load(vocabulary)), folder / "F16.gguf", kind="f16")


def export_ctranslate2(folder: Path) -> None:
    """By its own converter."""
    import ctranslate2
    import transformers

    tokenizer = {f"t{i}": i for i in range(50256)} | {"<|endoftext|>": 50256}
    (folder / "hf" / "vocab.json").write_text(json.dumps(tokenizer))
    (folder / "hf" / "merges.txt").write_text("#version: 0.2\n")
    transformers.GPT2Tokenizer(
        str(folder / "hf" / "vocab.json"), str(folder / "hf" / "merges.txt")
    ).save_pretrained(folder / "hf")
    for kind in ("float32", "int8"):
        converter = ctranslate2.converters.TransformersConverter(str(folder / "hf"))
        converter.convert(str(folder / f"ct2-{kind}"), quantization=kind, force=True)


# ------------------------------------------------------------------------------------------------------ contenders


def fourhorn(
    folder: Path, kind: str
) -> tuple[str, Callable[[list[list[int]]], Step], Callable[[list[int]], None]]:
    import torch

    from fourhorn.files import version
    from fourhorn.model.config import GPT2Config
    from fourhorn.model.transformer import GPT2
    from fourhorn.sampling.decoder import make_decoder
    from fourhorn.sampling.settings import SamplingParams

    torch.set_num_threads(N_THREADS)
    model = GPT2(GPT2Config()).eval()
    model.load_state_dict(torch.load(folder / "weights.pt"))
    decoder = make_decoder(model, N_BATCH, precision=kind.split()[0])
    greedy = SamplingParams(temperature=0.0)

    def start(prompts: list[list[int]]) -> Step:
        slots = range(len(prompts))
        for slot in slots:
            decoder.truncate(slot, 0)
            decoder.read([slot], [prompts[slot]])
        state = {"new": [[1]] * len(prompts)}

        def step(n: int) -> None:
            for _ in range(n):
                logits = decoder.read(slots, state["new"])
                state["new"] = [
                    [t] for t in decoder.choose(logits, [greedy] * len(prompts), [0.0] * len(prompts))
                ]

        return step

    def prefill(tokens: list[int]) -> None:
        decoder.truncate(0, 0)
        decoder.read([0], [tokens])

    return version(), start, prefill


def hugging_face(folder: Path, kind: str) -> tuple[str, Callable, Callable]:
    import torch
    import transformers

    torch.set_num_threads(N_THREADS)
    transformers.logging.set_verbosity_error()
    model = transformers.GPT2LMHeadModel.from_pretrained(folder / "hf", dtype=getattr(torch, kind)).eval()

    @torch.inference_mode()
    def forward(tokens: list[list[int]], cache: object) -> tuple[list[list[int]], object]:
        out = model(torch.tensor(tokens), past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1].argmax(-1, keepdim=True).tolist(), out.past_key_values

    def start(prompts: list[list[int]]) -> Step:
        new, cache = forward(prompts, None)
        state = {"new": new, "cache": cache}

        def step(n: int) -> None:
            for _ in range(n):
                state["new"], state["cache"] = forward(state["new"], state["cache"])

        return step

    return transformers.__version__, start, lambda tokens: forward([tokens], None)


def ctranslate2_(folder: Path, kind: str) -> tuple[str, Callable, Callable]:
    import ctranslate2

    path = str(folder / f"ct2-{kind}")
    generator = ctranslate2.Generator(
        path, device="cpu", compute_type=kind, intra_threads=N_THREADS, inter_threads=1
    )

    def run(prompts: list[list[int]], n: int) -> None:
        texts = [[f"t{t}" for t in prompt] for prompt in prompts]
        generator.generate_batch(
            texts,
            max_length=n,
            min_length=n,
            sampling_topk=1,
            include_prompt_in_result=False,
            max_batch_size=N_BATCH,
        )

    def start(prompts: list[list[int]]) -> Step:
        return lambda n: run(prompts, n)  # it has no step of its own

    def prefill(tokens: list[int]) -> None:
        generator.forward_batch([tokens])

    return ctranslate2.__version__, start, prefill


def llama_cpp_(folder: Path, kind: str) -> tuple[str, Callable, Callable]:
    import llama_cpp as ll

    path = folder / f"{kind}.gguf"
    if not path.exists():
        params = ll.llama_model_quantize_default_params()
        params.ftype, params.nthread = {"Q8_0": 7, "Q4_0": 2}[kind], 2
        ll.llama_model_quantize(str(folder / "F16.gguf").encode(), str(path).encode(), params)
    ll.llama_backend_init()
    loading = ll.llama_model_default_params()
    loading.use_extra_bufts = (
        kind == "F16"
    )  # its AMX buffers end the process at the first decode of Q8_0 and Q4_0
    model = ll.llama_model_load_from_file(str(path).encode(), loading)
    params = ll.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 1024 * N_BATCH, 1024, 512, N_BATCH
    params.n_threads = params.n_threads_batch = N_THREADS
    context = ll.llama_init_from_model(model, params)
    memory, batch = ll.llama_get_memory(context), ll.llama_batch_init(1024, 0, 1)

    def decode(rows: list[tuple[int, int, int, bool]]) -> None:
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.pos[i], batch.seq_id[i][0], batch.logits[i] = position, sequence, wanted
        assert ll.llama_decode(context, batch) == 0

    def start(prompts: list[list[int]]) -> Step:
        ll.llama_memory_clear(memory, True)
        for s, prompt in enumerate(prompts):
            decode([(t, i, s, i + 1 == len(prompt)) for i, t in enumerate(prompt)])
        state = {"new": [1] * len(prompts), "position": len(prompts[0])}

        def step(n: int) -> None:
            for _ in range(n):
                decode([(t, state["position"], s, True) for s, t in enumerate(state["new"])])
                rows = range(len(prompts))
                logits = [np.ctypeslib.as_array(ll.llama_get_logits_ith(context, s), (50257,)) for s in rows]
                state["new"], state["position"] = [int(row.argmax()) for row in logits], state["position"] + 1

        return step

    def prefill(tokens: list[int]) -> None:
        ll.llama_memory_clear(memory, True)
        decode([(t, i, 0, i + 1 == len(tokens)) for i, t in enumerate(tokens)])

    return ll.__version__, start, prefill


def contend(name: str, folder: Path) -> dict:
    """Times of one contender, in seconds a token."""
    makers = {
        "fourhorn": fourhorn,
        "Hugging": hugging_face,
        "CTranslate2": ctranslate2_,
        "llama.cpp": llama_cpp_,
    }
    kind = name.removeprefix("Hugging Face ").split(" ", 1)[-1]
    version, start, prefill = makers[name.split()[0]](folder, kind)
    random = np.random.default_rng(0)
    prompts = random.integers(0, 50000, (N_BATCH, 1)).tolist()
    long = random.integers(0, 50000, N_PROMPT).tolist()
    times: dict[str, list[float]] = {}
    for column, n in (("one", 1), ("sixteen", N_BATCH)):
        for _ in range(N_WINDOWS):  # each from the prompts anew, for all to read as much of the cache
            step = start(prompts[:n])
            step(1)
            began = time.perf_counter()
            step(WINDOW)
            times.setdefault(column, []).append((time.perf_counter() - began) / WINDOW / n)
    prefill(long)
    for _ in range(N_PREFILLS):
        began = time.perf_counter()
        prefill(long)
        times.setdefault("prefill", []).append((time.perf_counter() - began) / N_PROMPT)
    return {"version": version, "times": times}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vocabulary", type=Path)
    parser.add_argument("--rivals", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=CONTENDERS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--contend")
    options = parser.parse_args()
    if options.contend:
        print(json.dumps(contend(options.contend, options.folder)))
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="fourhorn-speed-"))
    if not (folder / "hf").exists():
        folder.mkdir(parents=True, exist_ok=True)
        export(folder, options.vocabulary)
    kept = folder / "rounds.json"
    found: dict[str, dict] = json.loads(kept.read_text()) if kept.exists() else {}
    for _ in range(options.rounds):
        for name in options.only:
            one_round(name, folder, sys.executable if name.startswith("fourhorn") else options.rivals, found)
            kept.write_text(json.dumps(found))
    write(found)


def one_round(name: str, folder: Path, python: str, found: dict[str, dict]) -> None:
    """Add a round of one contender in a process of its own; times of other code than today's are dropped."""
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": str(N_THREADS), "PYTHONPATH": root}
    command = [python, __file__, "--contend", name, "--folder", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if run.returncode:
        found.setdefault(name, {"absent": (run.stderr.strip().splitlines() or ["failed"])[-1]})
        return
    result = json.loads(run.stdout.strip().splitlines()[-1])
    code = digest(Path(root)) if name.startswith("fourhorn") else ""
    if found.get(name, {}).get("code") != code:
        found[name] = {"version": result["version"], "code": code, "times": {}}
    for column, times in result["times"].items():
        found[name]["times"].setdefault(column, []).extend(times)


def digest(root: Path) -> str:
    """What our code is now."""
    sources = sorted((root / "fourhorn" / "sampling").glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def ratios(found: dict[str, dict]) -> list[str]:
    """How many times as fast as each rival, fastest against fastest."""
    lines = []
    for ours, theirs, columns in (
        ("bfloat16", "llama.cpp F16", ["one", "sixteen", "prefill"]),
        ("bfloat16", "Hugging Face bfloat16", ["one", "sixteen", "prefill"]),
        ("int8", "llama.cpp Q8_0", ["one", "sixteen", "prefill"]),
        ("int8", "CTranslate2 int8", ["one", "sixteen", "prefill"]),
        ("int4", "llama.cpp Q4_0", ["one", "sixteen", "prefill"]),
    ):  # fmt: skip
        pair = [found.get(name, {}).get("times") for name in (f"fourhorn {ours}", theirs)]
        if all(pair):
            shown = (f"{column} {min(pair[1][column]) / min(pair[0][column]):.2f}×" for column in columns)
            lines.append(f"{ours} to {theirs}: {', '.join(shown)}")
    return lines


def write(found: dict[str, dict]) -> None:
    from table import write_table

    rows = []
    for name in filter(found.__contains__, CONTENDERS):
        entry = found[name]
        if "times" not in entry:
            rows.append([name, "–", "absent: " + entry["absent"], "", ""])
            continue
        cells = [
            f"{1 / min(times):,.0f} ({1 / float(np.median(times)):,.0f})" for times in entry["times"].values()
        ]
        rows.append([name, entry["version"], *cells])
    columns = ["", "version", "one sequence", "sixteen", "prompt of 1,000"]
    notes = [
        "Fastest window of 8 steps, in parentheses the middle one; GPT-2 124M, random weights, greedy, 2 threads.",
        "Each window starts anew from prompts of one token: all read as much of the cache, and CTranslate2, which has",
        "no step of its own, spends least on them. Fastest to fastest:",
        "",
        *(f"- {line}" for line in ratios(found)),
    ]
    write_table(__file__, "Decoding on a CPU, tokens per second", columns, rows, notes)


if __name__ == "__main__":
    main()
