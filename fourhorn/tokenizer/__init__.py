"""Section 2.2: byte-level BPE, exact and fast: training, encoding, decoding, and token shards."""

from fourhorn.tokenizer.tokenizer import Tokenizer

__all__ = ["Tokenizer"]
