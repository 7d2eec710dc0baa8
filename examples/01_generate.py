"""Continue a text with a model: python examples/01_generate.py reproduction/runs/pocket-1542M "The function"."""

import sys

import fourhorn

source = sys.argv[1] if len(sys.argv) > 1 else "reproduction/runs/pocket-1542M"
prompt = sys.argv[2] if len(sys.argv) > 2 else "The function returns"

model, tokenizer = fourhorn.load(source)
print(fourhorn.generate(model, tokenizer, prompt, max_new_tokens=40, top_k=40, seed=0))

# The same seed gives the same text, piece by piece as it comes.
for piece in fourhorn.stream(model, tokenizer, prompt, max_new_tokens=40, top_k=40, seed=0):
    print(piece, end="", flush=True)
print()
