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
    tokens = np.empty(n_rows, np.int64)
    top_ks = np.array([min(p.top_k, n_vocab) for p in params], np.int64)
    columns = (
        np.array([p.temperature for p in params], np.float64),
        top_ks,
        np.array([p.top_p for p in params], np.float64),
        np.array(uniforms, np.float64),
        np.empty(n_padded, np.float32),
        np.empty(top_ks.max(), np.float32),
        tokens,
    )
    addresses = (column.ctypes.data for column in columns)
    function("draw_rows")(logits.ctypes.data, logits.strides[0], n_rows, n_padded, n_vocab, *addresses)
    return tokens.tolist()
