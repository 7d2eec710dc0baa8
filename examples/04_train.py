"""Train a small model from scratch on token shards: python examples/04_train.py reproduction/tokens runs/small

Interrupt it and run it again: it goes on at the same step, with the same numbers.
"""

import sys
from pathlib import Path

import fourhorn

tokens, run = Path(sys.argv[1]), Path(sys.argv[2])
config = fourhorn.TrainConfig(
    n_layer=2,
    n_head=2,
    n_embd=64,
    n_ctx=64,
    dropout=0.0,
    batch_size=8,
    max_steps=20,
    warmup_steps=5,
    learning_rate=3e-3,
    eval_every=10,
    save_every=10,
)
summary = fourhorn.train(tokens, run, config=config)
print(
    f"{summary['n_params']:,} parameters, held-out loss {summary['val_loss']:.3f} nats per token; see {run}"
)
