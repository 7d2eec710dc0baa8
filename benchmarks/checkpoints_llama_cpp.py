"""Does llama.cpp load our GGUF files and write the same greedy text?

Needs llama-cpp-python for the second half (it may live in an environment of its own), and a vocabulary folder:

    python benchmarks/checkpoints_llama_cpp.py export FOLDER --tokenizer VOCABULARY     with fourhorn
    python benchmarks/checkpoints_llama_cpp.py compare FOLDER                           with llama-cpp-python

`export` makes a random model of 124M's width with two layers, its GGUF files and its greedy continuations.
"""

import argparse
import itertools
import json
from pathlib import Path

from table import write_table

PROMPTS = [
    "In a shocking finding,",
    "The four-horned",
    " 🦄 in the valley",
    "def unicorn(x):\n    return",
    "1 + 1 =",
]
KINDS = ("f32", "f16", "q8_0")
N_NEW = 24


def export(folder: Path, vocabulary: Path) -> None:
    """With fourhorn: GGUF files of a random model, and what it says."""
    import torch

    from fourhorn.checkpoints import gguf
    from fourhorn.checkpoints.load import load
    from fourhorn.checkpoints.names import Checkpoint
    from fourhorn.model.config import GPT2Config
    from fourhorn.model.transformer import GPT2
    from fourhorn.tokenizer.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(vocabulary)
    torch.manual_seed(0)
    weights = {
        name: value + 0.02 * torch.randn(value.shape) if name.endswith("bias") else value
        for name, value in GPT2(GPT2Config(n_layer=2)).state_dict().items()
    }
    said = {}
    for kind in KINDS:
        path = gguf.write(
            Checkpoint(GPT2Config(n_layer=2), weights, tokenizer), folder / f"{kind}.gguf", kind=kind
        )
        model, _ = load(path)
        said[kind] = []
        for prompt in PROMPTS:
            tokens = tokenizer.encode_ordinary(prompt)
            n_prompt = len(tokens)
            with torch.no_grad():
                for _ in range(N_NEW):
                    tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
                logits = model(torch.tensor([tokens]))[0, n_prompt - 1 : -1, ::500].tolist()
            said[kind].append({"prompt": tokens[:n_prompt], "new": tokens[n_prompt:], "logits": logits})
    (folder / "greedy.json").write_text(json.dumps(said))


def compare(folder: Path) -> None:
    """With llama-cpp-python: the same files, the same prompts."""
    import llama_cpp
    import numpy as np

    said = json.loads((folder / "greedy.json").read_text())
    head = ["type", "prompts: same ids", f"same {N_NEW} greedy tokens", "same next token"]
    rows = []
    for kind in KINDS:
        options = {
            "n_ctx": 128,
            "n_threads": 1,
            # A token at a time: llama.cpp's products for batches of Q8_0 use AMX, which it may be refused (SIGILL).
            "n_batch": 1,
            "n_ubatch": 1,
            "logits_all": True,
            "type_k": 0,
            "type_v": 0,
            "verbose": False,
        }
        model = llama_cpp.Llama(str(folder / f"{kind}.gguf"), **options)
        same_text, same_ids, same_next, distances = 0, 0, 0, []
        for text, row in zip(PROMPTS, said[kind], strict=True):
            same_ids += model.tokenize(text.encode(), add_bos=False) == row["prompt"]
            model.reset()
            new = list(itertools.islice(model.generate(row["prompt"], temp=0.0, repeat_penalty=1.0), N_NEW))
            same_text += new == row["new"]
            model.reset()
            model.eval(row["prompt"] + row["new"])  # the same text as ours, so that one flip does not spread
            scores = model.scores[len(row["prompt"]) - 1 : len(row["prompt"]) - 1 + N_NEW]
            same_next += int((scores.argmax(1) == row["new"]).sum())
            ours = np.array(row["logits"])
            distances.append(np.abs(scores[:, ::500] - ours).max() / ours.std())
        counts = [
            f"{same_ids} of {len(PROMPTS)}",
            f"{same_text} of {len(PROMPTS)}",
            f"{same_next} of {N_NEW * len(PROMPTS)}",
        ]
        rows.append([kind, *counts, f"{max(distances):.1e}"])
    notes = [
        f"llama-cpp-python {llama_cpp.__version__}, key/value cache in float32, a token at a time.",
        "Two layers of 124M's width, random weights; llama.cpp quantizes activations too, hence Q8_0's distance.",
    ]
    write_table(__file__, "GGUF in llama.cpp", [*head, "logits: difference / spread"], rows, notes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["export", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.action == "export":
        export(arguments.folder, arguments.tokenizer)
    else:
        compare(arguments.folder)
