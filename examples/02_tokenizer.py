"""Train a byte-level BPE vocabulary on a text and look at what it does: python examples/02_tokenizer.py README.md"""

import sys
from pathlib import Path

import fourhorn

text = Path(sys.argv[1] if len(sys.argv) > 1 else "README.md").read_text()
tokenizer = fourhorn.Tokenizer.train([text], n_vocab=600)
tokens = tokenizer.encode_ordinary(text)

assert tokenizer.decode(tokens) == text  # any text comes back as it was
print(f"{len(text.encode()):,} bytes are {len(tokens):,} tokens of {tokenizer.n_vocab}")
print("|".join(tokenizer.decode([token]) for token in tokens[:24]))
print(tokenizer.encode("<|endoftext|>", allowed_special="all"), "is the separator, if you allow it;")
print(tokenizer.encode_ordinary("<|endoftext|>"), "is the same text in a user's input.")
