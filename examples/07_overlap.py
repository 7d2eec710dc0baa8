"""How much of a text stands in the training text: python examples/07_overlap.py reproduction my.txt"""

import sys
from pathlib import Path

from fourhorn.memorization.overlap import overlap

workspace, text = Path(sys.argv[1]), Path(sys.argv[2])
results = overlap(
    {"mine": text},
    workspace / "webtext" / "train",
    workspace / "overlap-mine",
    tokenizer=workspace / "tokenizer",
)
for name, result in results.items():
    print(f"{name}: {result['n_hits']:,} of {result['n_ngrams']:,} 8-grams are in the training text")
