"""The kernels' own properties, beyond their agreement with the plain twins in test_ngrams."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from fourhorn.memorization import kernels


@njit
def leads(data):
    word, n = kernels.leading_word(kernels.load8(data, 0))
    return word, n


@settings(deadline=None)
@given(st.binary(min_size=8, max_size=8))
def test_leading_word_counts_and_lower_cases_ascii_letters_and_digits(data):
    word, n = leads(np.frombuffer(data, dtype=np.uint8))
    text = data.decode("latin-1")
    expected = next((i for i, c in enumerate(text) if not (c.isascii() and c.isalnum())), 8)
    assert n == expected
    assert int(word).to_bytes(8, "little")[:expected] == text[:expected].lower().encode()


def test_mix_is_a_bijection_on_what_was_tried():
    @njit
    def mixed(values):
        return np.array([kernels.mix(v) for v in values])

    assert len(np.unique(mixed(np.arange(200_000, dtype=np.uint64)))) == 200_000
