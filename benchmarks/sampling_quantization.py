"""What does each precision cost in bits per byte of held-out text?

    python benchmarks/sampling_quantization.py CHECKPOINT … --text TEXT [--n-bytes 100000]

Each scores the same windows of the text (a file, or a folder of records); `as steps` rounds rows to bytes as decoding
does, `as prompt` does not. Models that the kernels cannot run have no such difference.
"""

import argparse
import math
from pathlib import Path

import torch
from table import write_table

from fourhorn.checkpoints.load import load
from fourhorn.records import iter_texts
from fourhorn.sampling.decoder import make_decoder
from fourhorn.sampling.quantize import PRECISIONS
from fourhorn.sampling.vector_decoder import VectorDecoder


def measure(name: str, text: str) -> list[list[str]]:
    """A row for each precision of one checkpoint."""
    model, tokenizer = load(name)
    tokens, n_ctx = tokenizer.encode_ordinary(text), model.config.n_ctx
    windows = [[tokenizer.eot, *tokens[i : i + n_ctx - 1]] for i in range(0, len(tokens), n_ctx - 1)]
    rows, exact = [], 0.0
    for precision in PRECISIONS:
        decoder = make_decoder(model, 1, precision=precision)
        for as_steps in (False, True) if isinstance(decoder, VectorDecoder) else (False,):
            nats = 0.0
            for window in windows:
                decoder.truncate(0, 0)
                logits = decoder.read([0], [window], every=True, as_steps=as_steps)[:-1]
                following = torch.tensor(window[1:])[:, None]
                nats -= torch.log_softmax(logits, -1).gather(1, following).sum().item()
            bits = nats / math.log(2) / len(text.encode())
            exact = exact or bits
            how = "as steps" if as_steps else "as prompt"
            shape = f"{Path(name).parent.name or name}, {model.config.n_layer} × {model.config.n_embd}"
            rows.append([shape, precision, how, f"{bits:.5f}", f"{bits - exact:+.5f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--n-bytes", type=int, default=100_000)
    options = parser.parse_args()
    text = "\n\n".join(iter_texts(options.text)).encode()[: options.n_bytes].decode(errors="ignore")
    rows = [row for name in options.checkpoints for row in measure(name, text)]
    columns = ["model", "precision", "rows", "bits per byte", "cost"]
    notes = [f"{len(text.encode()):,} bytes of held-out text."]
    write_table(__file__, "Bits per byte by precision", columns, rows, notes)


if __name__ == "__main__":
    main()
