"""Machine-near code of the tokenizer, compiled by Numba: the same algorithms as `bpe.py`, arranged for speed.

Everything here works on raw addresses and 64-bit signed integers, so that plain numbers can stand in the code. The
callers (`fast.py`) own the memory and see to it that 64 bytes behind every text can be read and behind every output
written. Compiled code is kept on disk by Numba and found again by the digest of all sources in this folder.
"""
