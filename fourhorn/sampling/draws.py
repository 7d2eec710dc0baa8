"""The next token of each row, drawn in vector code: the fast form of `fourhorn.sampling.logits`.

§3.6, §8. In: float32 logits (M, V), padded. Out: tokens (M). The kernel is in `fourhorn.sampling.drawing`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fourhorn.sampling.library import function
from fourhorn.sampling.settings import SamplingParams


def choose_fast(
    logits: np.ndarray[Any, Any], n_vocab: int, params: Sequence[SamplingParams], uniforms: Sequence[float]
) -> list[int]:
    """One token for each row of padded logits (M, multiple of 16), as `fourhorn.sampling.logits.choose`."""
    n_rows, n_padded = logits.shape
    settings = np.array(
        [(p.temperature, p.top_p, u) for p, u in zip(params, uniforms, strict=True)], np.float64
    )
    top_ks = [min(p.top_k, n_vocab) for p in params]
    tokens = np.array(top_ks, np.int64)  # each row's top-k becomes its token
    room = np.empty(n_padded + max(top_ks) if settings[:, 0].any() else 0, np.float32)
    addresses = (array.ctypes.data for array in (settings, tokens, room))
    function("draw_rows")(logits.ctypes.data, logits.strides[0], n_rows, n_padded, n_vocab, *addresses)
    return tokens.tolist()
