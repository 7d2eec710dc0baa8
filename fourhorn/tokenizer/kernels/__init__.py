"""Machine-near code of the tokenizer: the same algorithms as `bpe.py`, arranged for speed.

Section 2.2. Kernels are Python functions on raw addresses and 64-bit signed integers, compiled by `compiler.py` with
LLVM and kept on disk by `library.py` under the digest of all sources in this folder. The callers (`fast.py`) own the
memory and see to it that 64 bytes behind every text can be read and behind every output written.
"""
