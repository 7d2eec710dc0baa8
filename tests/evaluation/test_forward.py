"""The scoring pass gives the states of `GPT2.hidden`, wherever they are wanted, with every kind of product."""

import random

import pytest
import torch

from fourhorn.evaluation import team
from fourhorn.evaluation.branches import Branches
from fourhorn.evaluation.forward import Forward
from fourhorn.evaluation.operations import FusedOperations, Operations, operations
from fourhorn.model.cache import KVCache
from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2

KINDS = {
    "plain": Operations,
    "fused": lambda: FusedOperations(False),
    "fused, packed": lambda: FusedOperations(True),
    "fused, rows padded": lambda: FusedOperations(True, row_step=64),
    "fused, some rows at once": lambda: FusedOperations(True, row_step=8, rows_at_once=24),
    "own kernels": lambda: FusedOperations(True, kernels=team.available()),
}


@pytest.fixture(scope="module")
def model() -> GPT2:
    torch.manual_seed(0)
    config = GPT2Config(n_layer=3, n_head=2, n_embd=128, n_ctx=64, n_vocab=100)
    model = GPT2(config).eval()
    for parameter in model.parameters():  # biases and layer norms that do something
        torch.nn.init.normal_(parameter, std=0.08)
    return model


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    draw = random.Random(seed)
    return torch.tensor([[draw.randrange(100) for _ in range(length)] for _ in range(rows)])


WANTED = {
    "the last of each row": ([0, 1, 2], [19, 7, 12]),
    "several of a row": ([0, 0, 0, 2], [3, 4, 19, 0]),
    "nearly all": ([r for r in range(3) for _ in range(20)], [*range(20)] * 3),
    "in any order": ([2, 0, 1, 0], [5, 6, 7, 8]),
    "none": ([], []),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wanted", WANTED)
@torch.inference_mode()
def test_states_are_those_of_the_plain_pass(model: GPT2, kind: str, wanted: str) -> None:
    forward, (rows, columns) = Forward(model, KINDS[kind]()), WANTED[wanted]
    inputs = tokens(3, 20)
    expected = model.hidden(inputs)[rows, columns]
    assert torch.allclose(forward.states(inputs, rows, columns), expected, atol=1e-5)
    logits = model.head(expected)
    assert torch.allclose(forward.logits(expected), logits, atol=1e-5)
    highest, total = forward.operations.sums(logits)
    assert torch.allclose(highest + total.log(), logits.logsumexp(1), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_cache_is_filled_and_gone_on_from_as_in_the_plain_pass(model: GPT2, kind: str) -> None:
    forward = Forward(model, KINDS[kind]())
    mine, plain = KVCache(model.config, 3, 64), KVCache(model.config, 3, 64)
    inputs, lengths = tokens(3, 20), torch.tensor([20, 8, 13])
    ends = (lengths - 1).tolist()
    first = forward.states(inputs, [0, 1, 2], ends, mine)
    assert torch.allclose(first, model.hidden(inputs, plain)[[0, 1, 2], ends], atol=1e-5)
    for width in (1, 5, 1):  # rows of unequal length, then one token
        mine.lengths[:] = plain.lengths[:] = lengths
        more = tokens(3, width, seed=width)
        found = forward.states(more, [0, 1, 2], [width - 1] * 3, mine)
        assert torch.allclose(found, model.hidden(more, plain)[:, -1], atol=1e-5)
        assert torch.equal(mine.lengths, plain.lengths)
        lengths = lengths + width
    branches = [[[1, 2, 3], [4]], [[5]], [[6, 7], [8]]]
    laid_out = torch.tensor([[1, 2, 3, 4], [5, 0, 0, 0], [6, 7, 8, 0]])
    places = ([0, 0, 0, 0, 1, 2, 2, 2], [0, 1, 2, 3, 0, 0, 1, 2])
    found = forward.states(laid_out, *places, Branches(mine, branches))
    expected = model.hidden(laid_out, Branches(plain, branches))[places]
    assert torch.allclose(found, expected, atol=1e-5)


@torch.inference_mode()
def test_in_bfloat16_it_is_no_farther_from_the_truth_than_the_plain_pass(model: GPT2) -> None:
    truth = model.hidden(tokens(3, 40))
    small = GPT2(model.config).eval().to(torch.bfloat16)
    small.load_state_dict(model.state_dict())
    rows, columns = [r for r in range(3) for _ in range(40)], [*range(40)] * 3
    plain = (small.hidden(tokens(3, 40)).float() - truth).abs().mean()
    mine = (Forward(small).states(tokens(3, 40), rows, columns).float().view_as(truth) - truth).abs().mean()
    assert mine < 1.1 * plain


def test_unknown_formats_take_the_plain_operations(model: GPT2) -> None:
    assert type(operations(GPT2(model.config).half())) is Operations
    assert type(operations(GPT2(model.config).double())) is Operations
