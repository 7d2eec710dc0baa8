"""The row kernels give what PyTorch's operations give."""

import pytest
import torch
import torch.nn.functional as F

from fourhorn.evaluation import rows, team
from fourhorn.evaluation.operations import Operations

pytestmark = pytest.mark.skipif(not team.available(), reason="no AVX-512 or no OpenMP here")


@pytest.mark.parametrize("dtype", rows.KINDS)
@pytest.mark.parametrize(("n", "width"), [(1, 1), (3, 16), (40, 100), (5, 4113), (17, 50257)])
def test_softmax_sums_are_torchs(dtype: torch.dtype, n: int, width: int) -> None:
    torch.manual_seed(n)
    logits = (5 * torch.randn(n, width)).to(dtype)
    logits[0] += 300
    logits[-1] -= 300
    highest, total = rows.softmax_sums(logits)
    expected, expected_total = Operations().sums(logits)
    assert torch.equal(highest, expected)
    assert torch.allclose(total, expected_total, rtol=1e-5)


@pytest.mark.parametrize("dtype", rows.KINDS)
@pytest.mark.parametrize("places", [slice(3, 4), slice(99, 100), slice(None)])
def test_a_nan_is_the_largest_as_torch_has_it(dtype: torch.dtype, places: slice) -> None:
    logits = torch.arange(300.0).view(3, 100).to(dtype)
    logits[1, places] = torch.nan
    for found in (rows.softmax_sums(logits), Operations().sums(logits)):
        assert [part.isnan().tolist() for part in found] == 2 * [[False, True, False]]


@pytest.mark.parametrize("dtype", rows.KINDS)
def test_layer_norm_is_torchs(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, gain, bias = (3 + 2 * torch.randn(37, 96)).to(dtype), torch.randn(96), torch.randn(96)
    expected = F.layer_norm(x.float(), (96,), gain, bias)
    assert torch.allclose(
        rows.layer_norm(x, gain, bias).float(),
        expected,
        atol=1e-5,
        rtol=1e-2 if dtype == torch.bfloat16 else 1e-5,
    )
    whole = rows.layer_norm(x.view(1, 37, 96), gain, bias)
    assert whole.shape == (1, 37, 96)


def test_rows_of_other_widths_are_left_to_torch() -> None:
    assert not rows.can_norm(torch.zeros(2, 40))
    assert not rows.can_norm(torch.zeros(2, 32, dtype=torch.float64))
