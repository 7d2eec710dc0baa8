"""What does each precision cost in bits per byte, and in memory?

    python benchmarks/sampling_quantization.py CHECKPOINT TEXT [--n-bytes 100000]

Each scores the same windows of the text; `as steps` rounds rows to bytes as in decoding, `as prompt` does not.
"""

import argparse
import math
from pathlib import Path

import torch
from table import write_table

from fourhorn.checkpoints.load import load
from fourhorn.sampling.decoder import make_decoder
from fourhorn.sampling.quantize import PRECISIONS


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("text", type=Path)
    parser.add_argument("--n-bytes", type=int, default=100_000)
    options = parser.parse_args()
    model, tokenizer = load(options.checkpoint)
    text = options.text.read_bytes()[: options.n_bytes].decode(errors="ignore")
    tokens, n_ctx = tokenizer.encode_ordinary(text), model.config.n_ctx
    windows = [[tokenizer.eot, *tokens[i : i + n_ctx - 1]] for i in range(0, len(tokens), n_ctx - 1)]
    rows, exact = [], 0.0
    for precision in PRECISIONS:
        decoder = make_decoder(model, 1, precision=precision)
        for as_steps in (False,) if precision == "float32" else (False, True):
            nats = 0.0
            for window in windows:
                decoder.truncate(0, 0)
                logits = decoder.read([0], [window], every=True, as_steps=as_steps)[:-1]
                following = torch.tensor(window[1:])[:, None]
                nats -= torch.log_softmax(logits, -1).gather(1, following).sum().item()
            bits = nats / math.log(2) / len(text.encode())
            exact = exact or bits
            how = "as steps" if as_steps else "as prompt"
            rows.append([precision, how, f"{bits:.5f}", f"{bits - exact:+.5f}"])
    write_table(__file__, "Bits per byte by precision", ["precision", "rows", "bits per byte", "cost"], rows)


if __name__ == "__main__":
    main()
