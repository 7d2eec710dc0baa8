"""How much memory does decoding take, and how long is it from the command to the first token?

    python benchmarks/sampling_memory.py --vocabulary FOLDER [--folder F]

124M's shape, random weights, each precision in a process of its own: resident memory of Python with torch alone, then
after 256 tokens of each of four sequences, beside the bytes of the weights and of the cache that these tokens fill (in
float32 of the whole static cache, four contexts). The peak comes while the weights are packed; the checkpoint's mapped
file is a part of it. Times are of whole processes: Python, torch, loading, packing, first token; with the compiled
kernels on disk, and with an empty folder.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from table import write_table

MEASURE = """
import os, resource, sys
def resident(with_file=False):
    # the checkpoint's mapped file is left out before the end, when it should be gone, or be the weights
    total, counted = 0, True
    with open("/proc/self/smaps") as file:
        for line in file:
            words = line.split()
            if "-" in words[0] and ":" not in words[0]:
                counted = with_file or not line.rstrip().endswith(".safetensors")
            elif words[0] == "Rss:" and counted:
                total += int(words[1]) / 1000 * 1.024
    return total
import torch
parts = [resident()]
from fourhorn.checkpoints.load import load
from fourhorn.sampling.batching import BatchEngine
from fourhorn.sampling.settings import SamplingParams
if sys.argv[2] != "float32":
    import fourhorn.sampling.vector_decoder
parts.append(resident())
model, tokenizer = load(sys.argv[1])
parts.append(resident())
engine = BatchEngine(model, tokenizer, max_sequences=4, precision=sys.argv[2])
shape, n_bytes = model.config, 4 if sys.argv[2] == "float32" else 2
is_packed = n_bytes == 2
n_weights = engine.decoder.n_weight_bytes if is_packed else sum(p.numel() * 4 for p in model.parameters())
del model
params = SamplingParams(max_new_tokens=256, temperature=0.0, stop_at_eot=False)
requests = [engine.submit(f"Number {i}", params) for i in range(4)]
engine.run()
parts.append(resident(with_file=True))
static = 2 * 4 * n_bytes * shape.n_layer * shape.n_ctx * shape.n_embd
n_cache = engine.decoder.n_cache_bytes if is_packed else static
print(*parts, n_weights / 1e6, n_cache / 1e6, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024e-3)
"""
FIRST = """
import sys
from fourhorn.checkpoints.load import load
from fourhorn.sampling.generate import stream
model, tokenizer = load(sys.argv[1])
print(next(stream(model, tokenizer, "In a shocking finding,", precision=sys.argv[2], max_new_tokens=8)) is not None)
"""


def run(code: str, folder: Path, precision: str, **environment: str) -> tuple[str, float]:
    """What a fresh process prints, and its seconds."""
    began = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-c", code, str(folder), precision],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **environment},
    )
    return result.stdout, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="fourhorn-memory-"))
    if not (folder / "native").exists():
        from serving_clients import export

        export(folder, options.vocabulary)
    rows = []
    for precision in ("float32", "bfloat16", "int8", "int4"):
        warm = min(run(FIRST, folder / "native", precision)[1] for _ in range(2))
        cold = "–"
        if precision == "int8":  # the compiled code is the same for every precision that has any
            with tempfile.TemporaryDirectory() as empty:
                cold = f"{run(FIRST, folder / 'native', precision, FOURHORN_CACHE_DIR=empty)[1]:.1f}"
        text, _ = run(MEASURE, folder / "native", precision)
        bare, imported, loaded, after, weights, cache, peak = (float(word) for word in text.split())
        over = after - bare - weights - cache
        parts = imported - bare, loaded - imported, over - (loaded - bare)
        shown = (bare, after, weights, cache, over, *parts, peak)
        rows.append([precision, *(f"{x:.0f}" for x in shown), f"{warm:.1f}", cold])
    columns = [
        "precision", "Python + torch, MB", "with 4 × 256 tokens", "weights", "cache", "beyond all these",
        "of it: imports", "tokenizer and modules", "compiled code and buffers", "peak", "first token, s",
        "first token, nothing compiled, s",
    ]  # fmt: skip
    write_table(__file__, "Memory and cold start of decoding", columns, rows, ["GPT-2 124M, random weights."])


if __name__ == "__main__":
    main()
