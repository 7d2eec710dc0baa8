"""The ladder keeps the paper's ratios."""

import pytest

from fourhorn.errors import UserError
from fourhorn.model.config import SIZES
from fourhorn.reproduce.ladder import LADDER, SCALES, scale_named


def blocks(n_layer: int, n_embd: int) -> int:
    """Parameters of the Transformer blocks, to leading order: 12 · layers · width²."""
    return 12 * n_layer * n_embd**2


def test_layers_are_a_twelfth_of_the_papers() -> None:
    assert [rung.n_layer * 12 for rung in LADDER] == [layers for layers, _, _ in SIZES.values()]


def test_sizes_grow_by_about_the_papers_ratios() -> None:
    pocket = SCALES["pocket"]
    ours = [blocks(r.n_layer, r.n_embd) + (pocket.n_vocab + pocket.n_ctx) * r.n_embd for r in LADDER]
    paper = [124_439_808, 354_823_168, 774_030_080, 1_557_611_200]
    for i in range(3):
        ratio, expected = ours[i + 1] / ours[i], paper[i + 1] / paper[i]
        assert 0.75 < ratio / expected < 1.25


def test_every_scale_has_four_rungs_that_grow() -> None:
    for scale in SCALES.values():
        sizes = [blocks(rung.n_layer, rung.n_embd) for rung in scale.rungs]
        assert sizes == sorted(set(sizes))
        assert [rung.paper for rung in scale.rungs] == ["117M", "345M", "762M", "1542M"]
        assert all(rung.n_embd % rung.n_head == 0 for rung in scale.rungs)


def test_an_unknown_scale_names_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'pocket'"):
        scale_named("poket")
