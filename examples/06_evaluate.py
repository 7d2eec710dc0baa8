"""Zero-shot experiments on a model: python examples/06_evaluate.py reproduction/runs/pocket-1542M winograd coqa"""

import sys

import fourhorn

source, *tasks = sys.argv[1:] or ["reproduction/runs/pocket-1542M", "winograd"]
model, tokenizer = fourhorn.load(source)
for result in fourhorn.evaluate(model, tokenizer, tasks=tasks or ["winograd"]).values():
    print(result)  # every metric with its 95 % interval, its n, and the level of chance
