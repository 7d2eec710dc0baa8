"""Are 100,000 drawn tokens distributed as the model says, in batches and with guesses?

    python benchmarks/sampling_chi_square.py [--n-draws 100000] [--precisions float32 int8]

A small model with random weights writes four tokens after one prompt, each among the four likeliest: 256 outcomes,
whose exact probabilities PyTorch computes prefix by prefix. 25,000 sequences with seeds of their own are drawn through
the batching engine; Pearson's chi-square compares their counts with the probabilities of whole sequences, so a bias of
any token after any beginning shows. The last row draws from a distribution that is slightly wrong, to show that the
test would notice.
"""

import argparse
import itertools
import time

import torch
from table import write_table

from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.sampling.batching import BatchEngine
from fourhorn.sampling.decoder import make_decoder
from fourhorn.sampling.logits import distribution
from fourhorn.sampling.settings import SamplingParams
from fourhorn.sampling.speculative import DraftModel, PromptLookup

PROMPT, N_NEW, TOP_K, N_SLOTS = [5, 9, 5, 9, 5], 4, 4, 32
WRONG = 1.25  # a temperature that must be told from 1


class Bytes:
    """A tokenizer of bytes: what the engine needs of one."""

    n_vocab, eot = 256, 255

    def stream_decoder(self):
        return self

    def feed(self, _token):
        return ""

    def finish(self):
        return ""


def make_model(n_layer: int) -> GPT2:
    """Random weights that make clear but not certain choices."""
    torch.manual_seed(0)
    model = GPT2(GPT2Config(n_layer=n_layer, n_head=2, n_embd=64, n_ctx=16, n_vocab=256)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def exact(model: GPT2, precision: str, temperature: float) -> dict[tuple[int, ...], float]:
    """The probability of each sequence that can be drawn."""
    decoder, found = make_decoder(model, 1, precision=precision), {(): 1.0}
    for _ in range(N_NEW):
        longer = {}
        for prefix, probability in found.items():
            decoder.truncate(0, 0)
            logits = decoder.read([0], [PROMPT])
            for token in prefix:
                logits = decoder.read([0], [[token]])
            chances = distribution(logits, temperature, TOP_K)[0].double()
            for token in chances.nonzero()[:, 0].tolist():
                longer[*prefix, token] = probability * chances[token].item()
        found = longer
    return found


def draw(engine: BatchEngine, n: int, temperature: float) -> dict[tuple[int, ...], int]:
    """How often each sequence is drawn by n seeds."""
    counts: dict[tuple[int, ...], int] = {}
    params = SamplingParams(max_new_tokens=N_NEW, temperature=temperature, top_k=TOP_K, stop_at_eot=False)
    requests = [engine.submit(PROMPT, params.but(seed=seed)) for seed in range(n)]
    engine.run()
    for request in requests:
        counts[tuple(request.tokens)] = counts.get(tuple(request.tokens), 0) + 1
    return counts


def chi_square(counts: dict, probabilities: dict, n: int) -> tuple[float, int, float]:
    """Pearson's statistic over cells of at least five expected draws (the rest is one cell), freedom, p-value."""
    assert set(counts) <= set(probabilities)
    cells = [(counts.get(key, 0), n * p) for key, p in probabilities.items() if n * p >= 5]
    rest = (n - sum(c for c, _ in cells), n - sum(e for _, e in cells))
    cells += [rest] if rest[1] >= 5 else []
    statistic = sum((count - expected) ** 2 / expected for count, expected in cells)
    freedom = len(cells) - 1
    tail = torch.special.gammaincc(torch.tensor(freedom / 2.0).double(), torch.tensor(statistic / 2).double())
    return statistic, freedom, tail.item()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n-draws", type=int, default=100_000)
    parser.add_argument("--precisions", nargs="*", default=["float32", "int8"])
    options = parser.parse_args()
    n = options.n_draws // N_NEW
    model, smaller = make_model(2), make_model(1)
    drafters = {
        "none": None,
        "prompt look-up": PromptLookup(1, 1),
        "draft model": DraftModel(smaller, N_SLOTS),
    }
    rows = []
    for precision, (name, drafter) in itertools.product(options.precisions, drafters.items()):
        probabilities, began = exact(model, precision, 1.0), time.perf_counter()
        engine = BatchEngine(
            model,
            Bytes(),
            max_sequences=N_SLOTS,
            precision=precision,
            drafter=drafter,
            always_guess=True,
            n_guesses=3,
        )
        counts = draw(engine, n, 1.0)
        statistic, freedom, p = chi_square(counts, probabilities, n)
        right = f"{engine.payoff.n_right:,} of {engine.payoff.n_guesses:,}" if drafter else "–"
        rows.append([precision, name, right, f"{n * N_NEW:,}", f"{statistic:.1f}", freedom, f"{p:.3f}"])
        print(rows[-1], f"{time.perf_counter() - began:.0f} s", flush=True)
    statistic, freedom, p = chi_square(counts, exact(model, precision, WRONG), n)
    rows.append(
        [
            precision,
            f"draft model, against temperature {WRONG}",
            "",
            f"{n * N_NEW:,}",
            f"{statistic:.1f}",
            freedom,
            f"{p:.1e}",
        ]
    )
    columns = ["precision", "guesses", "right guesses", "draws", "chi-square", "freedom", "p"]
    notes = [f"{N_SLOTS} sequences at once, {len(probabilities)} sequences of {N_NEW} tokens."]
    write_table(__file__, "Drawn tokens against exact probabilities", columns, rows, notes)


if __name__ == "__main__":
    main()
