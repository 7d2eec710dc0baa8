"""What do guesses gain on real text, and how many are right? One sequence, greedy and at temperature 1.

    python benchmarks/sampling_speculative.py CHECKPOINT --draft SMALLER --text TEXT [--precision float32]

Prompts are the beginnings of held-out documents. All ways take turns at each prompt; shown are the middle tokens per
second, and the middle of the ratios to no guesses at the same prompt in the same round. Every way must write the same
text, token for token. In float32, where PyTorch may round a pass over several tokens otherwise than one over a single
token, texts may part where two tokens were all but equally right: no farther than `NEAR` from being drawn.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from fourhorn.checkpoints.load import load
from fourhorn.records import iter_texts
from fourhorn.sampling.batching import BatchEngine
from fourhorn.sampling.decoder import make_decoder
from fourhorn.sampling.logits import slack
from fourhorn.sampling.settings import SamplingParams
from fourhorn.sampling.speculative import DraftModel, PromptLookup

NEAR = 1e-4  # of a logit (greedy), or of the probability


def make_engines(model, draft, tokenizer, options):
    """An engine for each way to guess."""
    ways = {
        "no guesses": {},
        "prompt look-up, always": {"drafter": PromptLookup(), "always_guess": True},
        "prompt look-up, where it pays": {"drafter": PromptLookup()},
    }
    if draft is not None:
        for name, always in (("draft model, always", True), ("draft model, where it pays", False)):
            drafter = DraftModel(draft, 1, precision=options.precision)
            ways[name] = {"drafter": drafter, "always_guess": always}
    return {
        name: BatchEngine(
            model, tokenizer, max_sequences=1, precision=options.precision, n_guesses=options.n_guesses, **way
        )
        for name, way in ways.items()
    }


def run(engine, i, prompt, params):
    """Tokens per second of decoding prompt i, and what was written."""
    request = engine.submit(prompt, params.but(seed=i))
    while not request.tokens:
        engine.step()
    n, began = len(request.tokens), time.perf_counter()
    engine.run()
    return (len(request.tokens) - n) / (time.perf_counter() - began), request.tokens


def slacks(decoder, prompts, plain, other, params):
    """Where texts of seeds 0, 1 … part from the plain ones: how far the other token was from being drawn."""
    found = []
    for i, (prompt, ours, theirs) in enumerate(zip(prompts, plain, other, strict=True)):
        if ours != theirs:
            at = next(k for k, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
            decoder.truncate(0, 0)
            logits = decoder.read([0], [[*prompt, *ours[:at]]])[0]
            uniform = np.random.Generator(np.random.Philox(i)).random(at + 1)[at]
            found.append(slack(logits, params, uniform, theirs[at]))
    return found


def n_parameters(model):
    """All of a model's weights."""
    return sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("--draft")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--n-guesses", type=int, default=4)
    parser.add_argument("--n-prompts", type=int, default=8)
    parser.add_argument("--n-tokens", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model, tokenizer = load(options.checkpoint)
    draft = load(options.draft)[0] if options.draft else None
    texts = [
        tokens for text in iter_texts(options.text) if len(tokens := tokenizer.encode_ordinary(text)) > 64
    ]
    prompts = [tokens[:64] for tokens in texts[: options.n_prompts]]
    rows, parted = [], list[float]()
    plain_decoder = make_decoder(model, 1, precision=options.precision)
    for label, temperature in (("greedy", 0.0), ("temperature 1", 1.0)):
        params = SamplingParams(max_new_tokens=options.n_tokens, temperature=temperature, stop_at_eot=False)
        engines = make_engines(model, draft, tokenizer, options)
        for engine in engines.values():
            run(engine, 0, prompts[0], params)
        order = list(engines)
        rates, texts_of = ({name: [] for name in engines} for _ in range(2))
        for _ in range(options.rounds):
            for i, prompt in enumerate(prompts):
                order = order[1:] + order[:1]  # nobody always follows the same one
                for name in order:
                    rate, text = run(engines[name], i, prompt, params)
                    rates[name].append(rate)
                    texts_of[name][i:] = [text]
        plain = rates["no guesses"]
        for name, engine in engines.items():
            found = slacks(plain_decoder, prompts, texts_of["no guesses"], texts_of[name], params)
            allowed = NEAR if options.precision == "float32" else -1.0
            assert all(far <= allowed for far in found), (name, found)
            parted += found
            ratio = statistics.median(rate / base for rate, base in zip(rates[name], plain, strict=True))
            right = (
                f"{engine.payoff.acceptance:.0%} of {engine.payoff.n_guesses:,}" if engine.drafter else "–"
            )
            rows.append([label, name, f"{statistics.median(rates[name]):,.0f}", f"{ratio:.2f}×", right])
    n_texts = (len(rows) - 2) * len(prompts)
    same = "all ways wrote the same tokens."
    if parted:
        same = (
            f"{len(parted)} of {n_texts} texts part from those without guesses, where the other token was at most "
            f"{max(parted):.0e} from being drawn."
        )
    columns = ["", "guesses", "tokens/s", "to no guesses", "right"]
    sizes = f"{n_parameters(model):,} parameters" + (f", draft {n_parameters(draft):,}" if draft else "")
    notes = [
        f"{sizes}; {options.precision}, up to {options.n_guesses} guesses, {len(prompts)} prompts of 64 held-out "
        f"tokens, {options.n_tokens} new ones each; {same}"
    ]
    from table import write_table

    write_table(__file__, "Speculative decoding of one sequence", columns, rows, notes)


if __name__ == "__main__":
    main()
