"""The attention kernels give what torch's attention gives, for any length, and a row's result is its own."""

import pytest
import torch
import torch.nn.functional as F

from fourhorn.evaluation import attention, team
from fourhorn.sampling.processor import HAS_TILES

pytestmark = pytest.mark.skipif(not team.available(), reason="no AVX-512 or no OpenMP here")
ERRORS = {torch.float32: 2e-5, torch.bfloat16: 3e-2}
NO_TILES = pytest.mark.skipif(not HAS_TILES, reason="no AMX here")
FORMATS = [torch.float32, pytest.param(torch.bfloat16, marks=NO_TILES)]


def heads(B: int, T: int, H: int, D: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Queries, keys and values (B, H, T, D) as a block's product leaves them."""
    torch.manual_seed(B * T)
    qkv = 2 * torch.randn(B, T, 3 * H * D).to(dtype)
    return [part.transpose(1, 2) for part in qkv.view(B, T, 3, H, D).unbind(2)]


def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    y = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), is_causal=True)
    return y.transpose(1, 2).flatten(2)


@pytest.mark.parametrize(
    ("B", "T"), [(1, 1), (2, 15), (3, 17), (1, 48), (2, 64), (3, 65), (1, 200), (1, 1024)]
)
@pytest.mark.parametrize(
    ("dtype", "H", "D"),
    [(torch.float32, 3, 64), (torch.float32, 1, 128), pytest.param(torch.bfloat16, 3, 64, marks=NO_TILES)],
)
def test_attention_is_torchs(dtype: torch.dtype, B: int, T: int, H: int, D: int) -> None:
    q, k, v = heads(B, T, H, D, dtype)
    assert attention.can_attend(q, k)
    assert torch.allclose(attention.attend(q, k, v).double(), plain(q, k, v), atol=ERRORS[dtype])


@pytest.mark.parametrize("dtype", FORMATS)
def test_scores_far_apart_neither_overflow_nor_vanish(dtype: torch.dtype) -> None:
    q, k, v = heads(1, 70, 2, 64, dtype)
    assert attention.can_attend(q, k)
    q.mul_(40)
    found = attention.attend(q, k, v).double()
    assert torch.allclose(found, plain(q, k, v), atol=5 * ERRORS[dtype])


@pytest.mark.parametrize("dtype", FORMATS)
def test_a_row_does_not_depend_on_the_others_of_its_batch(dtype: torch.dtype) -> None:
    q, k, v = heads(5, 90, 2, 64, dtype)
    assert attention.can_attend(q, k)
    whole = attention.attend(q, k, v)
    for row in range(5):
        part = slice(row, row + 1)
        assert torch.equal(attention.attend(q[part], k[part], v[part])[0], whole[row])


def test_queries_may_lie_elsewhere_than_keys_and_values() -> None:
    _, k, v = heads(2, 33, 2, 64, torch.float32)
    q = torch.randn(2, 33, 2, 64).transpose(1, 2)
    assert torch.allclose(attention.attend(q, k, v).double(), plain(q, k, v), atol=2e-5)


def test_other_shapes_and_formats_are_left_to_torch() -> None:
    q, k, _ = heads(1, 8, 2, 16, torch.float32)
    assert not attention.can_attend(q, k)
    q, k, _ = heads(1, 8, 2, 64, torch.float32)
    assert not attention.can_attend(q[:, :, :4], k)
    assert not attention.can_attend(q.double(), k.double())
    assert not attention.can_attend(q.contiguous(), k)
    q, k, _ = heads(1, 8, 2, 128, torch.bfloat16)
    assert not attention.can_attend(q, k)
