import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fourhorn.errors import UserError
from fourhorn.sampling.decoder import TorchDecoder, make_decoder
from fourhorn.sampling.generate import complete
from fourhorn.sampling.quantize import round_trip
from fourhorn.sampling.vector_decoder import VectorDecoder

PRECISIONS = ["bfloat16", "int8", "int4"]
# what rounding of rows and cache may do, root mean square, in standard deviations of the logits:
# prompts meet bfloat16 rows in every precision; steps meet rows of bytes, except with bfloat16 weights
PROMPT_ERROR, STEP_ERROR = 0.02, {"bfloat16": 0.02, "int8": 0.04, "int4": 0.04}


@pytest.fixture(scope="module")
def wide(random_model):
    """Two heads of 64 and sizes that are no multiples of a tile."""
    return random_model(n_embd=128, n_head=2, n_ctx=150, n_vocab=1001)


def tokens(n, seed=0):
    return np.random.default_rng(seed).integers(0, 1001, n).tolist()


@pytest.fixture(scope="module")
def odd(random_model):
    """A width that is no multiple of 64."""
    return random_model(n_embd=96, n_head=3, n_ctx=150, n_vocab=1001)


@pytest.mark.parametrize("shape", ["wide", "odd"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_kernels_agree_with_pytorch_on_the_same_rounded_weights(request, shape, precision):
    wide = request.getfixturevalue(shape)
    fast = VectorDecoder(wide, 3, precision=precision)
    plain = TorchDecoder(round_trip(wide, precision).float(), 3)
    assert (
        error(fast.read([0], [tokens(130)], every=True), plain.read([0], [tokens(130)], every=True))
        < PROMPT_ERROR
    )
    for slot, n in ((1, 3), (2, 70)):
        assert error(fast.read([slot], [tokens(n)]), plain.read([slot], [tokens(n)])) < PROMPT_ERROR
    for step in range(10):
        new = [[step + 3 * slot] for slot in range(3)]
        assert error(fast.read([0, 1, 2], new), plain.read([0, 1, 2], new)) < STEP_ERROR[precision]


def error(ours, theirs):
    return ((ours - theirs).square().mean().sqrt() / theirs.std()).item()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_has_the_same_bits_alone_and_in_any_company(wide, precision):
    many, alone = (
        VectorDecoder(wide, 21, precision=precision),
        VectorDecoder(wide, 1, precision=precision, n_threads=1),
    )
    prompts = [tokens(5 + 6 * i, seed=i) for i in range(21)]
    many.read(range(21), prompts)
    for step in range(3):
        together = many.read(range(21), [[step + i] for i in range(21)]).clone()
        for i in (0, 7, 20):
            alone.truncate(0, 0)
            alone.read([0], [prompts[i]])
            for earlier in range(step):
                alone.read([0], [[earlier + i]])
            assert torch.equal(alone.read([0], [[step + i]])[0], together[i])


def test_guesses_are_verified_with_the_arithmetic_of_single_steps(wide):
    first, second = VectorDecoder(wide, 1, precision="int8"), VectorDecoder(wide, 1, precision="int8")
    for decoder in (first, second):
        decoder.read([0], [tokens(40)])
    guesses = [5, 6, 7, 8, 9]
    at_once = first.read([0], [guesses], every=True, as_steps=True)
    singly = torch.cat([second.read([0], [[guess]]).clone() for guess in guesses])
    assert torch.equal(at_once, singly)


def test_a_copied_or_truncated_slot_continues_like_one_read_afresh(wide):
    decoder, fresh = VectorDecoder(wide, 2), VectorDecoder(wide, 1)
    decoder.read([0], [tokens(140)])
    decoder.copy(0, 1, 77)
    decoder.truncate(0, 77)
    fresh.read([0], [tokens(77)])
    expected = fresh.read([0], [[4]])[0].clone()
    assert torch.equal(decoder.read([0, 1], [[4], [4]]), expected.expand(2, -1))
    assert decoder.lengths == [78, 78]


def test_the_cache_fills_by_64_positions_of_a_slot(wide):
    decoder = VectorDecoder(wide, 3)
    filled = []
    for slot, n in ((0, 64), (0, 1), (2, 10)):
        decoder.read([slot], [tokens(n)])
        filled.append(decoder.n_cache_bytes)
    block = 2 * 2 * 2 * 64 * 64 * 2  # layers, keys and values, heads, positions, width, bytes
    assert filled == [block, 2 * block, 3 * block]


def test_a_slot_holds_its_whole_context_and_no_more(wide):
    decoder = VectorDecoder(wide, 1)
    decoder.read([0], [tokens(150)])
    with pytest.raises(ValueError, match="150 cached \\+ 1 new tokens exceed the cache's 150"):
        decoder.read([0], [[1]])


def test_shapes_the_kernels_cannot_run_are_computed_by_pytorch(random_model):
    narrow = random_model(n_embd=48, n_head=2)
    with pytest.raises(UserError, match="head size 24 is not a multiple of 16"):
        VectorDecoder(narrow)
    expected = TorchDecoder(narrow).read([0], [[1, 2, 3]])
    for precision, allowed in (("bfloat16", 0.05), ("int8", 0.05), ("int4", 0.5)):
        decoder = make_decoder(narrow, precision=precision)
        assert isinstance(decoder, TorchDecoder)
        assert error(decoder.read([0], [[1, 2, 3]]), expected) < allowed
    with pytest.raises(UserError, match="Did you mean 'int8'"):
        make_decoder(narrow, precision="int88")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_seed_gives_the_same_tokens_at_any_batch_size(model, tokenizer, precision):
    prompts = [[i, 7, i] for i in range(20)]
    options = {"max_new_tokens": 15, "precision": precision, "seed": 3}
    many = complete(model, tokenizer, prompts, max_sequences=20, **options)
    one = complete(model, tokenizer, prompts, max_sequences=1, **options)
    assert [c.tokens for [c] in many] == [c.tokens for [c] in one]


def test_a_processor_without_tiles_compiles_the_kernels_and_computes_the_same(tmp_path):
    lesser = {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx2,+fma",
        "FOURHORN_CACHE_DIR": str(tmp_path),
    }
    test = "test_the_kernels_agree_with_pytorch_on_the_same_rounded_weights[int8-odd]"
    command = [sys.executable, "-m", "pytest", "-q", f"{Path(__file__)}::{test}"]
    assert subprocess.run(command, env={**os.environ, **lesser}).returncode == 0


@pytest.mark.skipif(not os.environ.get("FOURHORN_FULL"), reason="compiles everything again: FOURHORN_FULL=1")
def test_a_processor_without_vector_extensions_computes_the_same(tmp_path):
    plain = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2", "FOURHORN_CACHE_DIR": str(tmp_path)}
    tests = [f"{Path(__file__)}::{name}" for name in list(globals()) if "agree_with_pytorch" in name]
    command = [sys.executable, "-m", "pytest", "-q", *tests]
    assert subprocess.run(command, env={**os.environ, **plain, "FOURHORN_FULL": ""}).returncode == 0
