"""Fine-tune a model on your own text: python examples/05_finetune.py my.txt reproduction/runs/pocket-1542M runs/mine"""

import sys
from pathlib import Path

import fourhorn

text, start, run = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
config = fourhorn.TrainConfig(
    batch_size=4,
    max_steps=10,
    warmup_steps=2,
    learning_rate=1e-3,
    dropout=0.0,
    eval_every=5,
    save_every=10,
)
summary = fourhorn.finetune(text, run, model=start, config=config)
print(f"held-out loss {summary['val_loss']:.3f} nats per token after {summary['steps']} steps; see {run}")
