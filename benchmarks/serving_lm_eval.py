"""Does a scoring client get the model's own numbers? lm-evaluation-harness against `fourhorn serve`, and in process.

Needs lm-eval (`pip install "lm-eval[api]"`), a checkpoint (or --random with a vocabulary folder) and LAMBADA:

    python benchmarks/serving_lm_eval.py --random VOCABULARY --lambada lambada_test.jsonl --n 500

The harness's own client (`local-completions`) asks a served model for the log-likelihood of each passage's last word;
the same requests are scored by `fourhorn.evaluation.scoring` in this process. The rival answer is chance: a server that
drops or shifts prompt log-probabilities scores so without an error.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch


def make_model(vocabulary: Path, folder: Path) -> None:
    """A small model of random weights with the real vocabulary."""
    from fourhorn.checkpoints import native
    from fourhorn.model.config import GPT2Config
    from fourhorn.model.transformer import GPT2
    from fourhorn.tokenizer.tokenizer import Tokenizer

    torch.manual_seed(0)
    model = GPT2(GPT2Config(n_layer=2, n_head=4, n_embd=64))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    native.save(model, Tokenizer.load(vocabulary), folder)


def compared(name: str, found: list, scores: list) -> str:
    """One row: how far lm-eval's numbers are from ours."""
    differences = [abs(a - score.loglikelihood) for (a, _), score in zip(found, scores, strict=True)]
    same = sum(bool(greedy) == all(score.greedy) for (_, greedy), score in zip(found, scores, strict=True))
    return f"| {name} | {max(differences):.1e} | {same} of {len(scores)} |"


def main() -> None:
    """Score twice and compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--random", type=Path)
    parser.add_argument("--lambada", type=Path, required=True)
    parser.add_argument("--n", type=int, default=500)
    arguments = parser.parse_args()
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    from fourhorn.checkpoints import huggingface
    from fourhorn.checkpoints.load import load, read
    from fourhorn.evaluation.scoring import Request, Scorer

    with tempfile.TemporaryDirectory() as temporary:
        source = arguments.model or Path(temporary) / "model"
        if arguments.random:
            make_model(arguments.random, source)
        huggingface.write(read(source), Path(temporary) / "hf")  # the harness's client tokenizes by itself
        start = [sys.executable, "-c", "from fourhorn.cli.app import main; main()"]
        command = [*start, "serve", str(source), "--port", "0", "--max-sequences", "8"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                line = server.stdout.readline()
                address = re.search(r"http://\S+:\d+", line).group(0)
                texts = [
                    json.loads(row)["text"]
                    for row in arguments.lambada.read_text().splitlines()[: arguments.n]
                ]
                pairs = [(text.rsplit(" ", 1)[0], " " + text.rsplit(" ", 1)[1]) for text in texts]
                client = LocalCompletionsAPI(
                    base_url=f"{address}/v1/completions",
                    model=source.name,
                    tokenizer=str(Path(temporary) / "hf"),
                    tokenizer_backend="huggingface",
                    num_concurrent=4,
                    max_length=1024,
                )
                instances = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
                served = client.loglikelihood(instances)
                options = {"device": "cpu", "dtype": "float32", "batch_size": 8}
                exported = HFLM(pretrained=str(Path(temporary) / "hf"), **options).loglikelihood(instances)
            finally:
                server.terminate()
        model, tokenizer = load(source)
    encode = tokenizer.encode_ordinary
    requests = [Request(encode(context), encode(word)) for context, word in pairs]
    scores = Scorer(model, tokenizer).loglikelihoods(requests)
    rows = [
        f"{date.today()}, {platform.machine()}, lm-eval {version('lm-eval')}, torch {torch.__version__}",
        "",
        f"{len(pairs)} LAMBADA passages, log-likelihood of the last word, beside `fourhorn.evaluation.scoring`:",
        "",
        "| lm-eval's model | largest difference (nats) | same greedy flag |",
        "| --- | --- | --- |",
        compared("local-completions on `fourhorn serve`", served, scores),
        compared("hf on the exported folder", exported, scores),
    ]
    print("\n".join(rows))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "serving_lm_eval.md").write_text("# lm-eval's local-completions\n\n" + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
