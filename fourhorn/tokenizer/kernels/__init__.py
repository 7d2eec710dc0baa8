"""Machine-near code of the tokenizer: the same algorithms as `bpe.py`, arranged for speed.

Section 2.2. Kernels are Python functions on raw addresses and 64-bit signed integers, compiled by `compiler.py` with
LLVM and kept on disk by `library.py` under the digest of all sources in this folder. The callers (`fast.py`) own the
memory and see to it that 64 bytes behind every text can be read and behind every output written.
"""

import functools
import sys
from typing import Any


@functools.cache
def kernels() -> Any:
    """The modules of kernels, or None, said once, where they cannot be compiled."""
    try:
        from fourhorn.tokenizer import kernels as modules
        from fourhorn.tokenizer.kernels import (  # noqa: F401
            count,
            decode,
            encode,
            learn,
            library,
            merge,
            pieces,
            split,
            state,
        )

        library.addresses()
    except (ImportError, OSError, RuntimeError) as error:
        print(f"fourhorn: the tokenizer runs in plain Python, 100 times slower ({error}).", file=sys.stderr)
        return None
    return modules
