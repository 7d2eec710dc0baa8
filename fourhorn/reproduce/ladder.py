"""The ladder of models: the paper's four sizes scaled down, and how much of everything each scale takes.

§2.3, Table 2: 12, 24, 36 and 48 layers of widths 768, 1024, 1280 and 1600, sizes growing 1 : 2.9 : 6.2 : 12.5 in an
approximately log-uniform way. Here layers are a twelfth of that and widths 32 a layer (heads of 32), which with the
embeddings grow 1 : 2.5 : 4.9 : 8.8. Figures 1 and 4 show how tasks improve along the ladder, and so do these.
"""

from dataclasses import dataclass

from fourhorn.errors import unknown


@dataclass(frozen=True)
class Rung:
    """One model of the ladder: the paper's label it stands for, and its shape."""

    paper: str
    n_layer: int
    n_head: int
    n_embd: int

    @property
    def name(self) -> str:
        """Folder name: `pocket-117M` stands for the paper's 117M."""
        return f"pocket-{self.paper}"


@dataclass(frozen=True)
class Scale:
    """How much of the paper one run does; every number of pages, tokens, steps and items in one place."""

    name: str
    max_pages: int  # documentation pages in the local web
    packages: tuple[str, ...]  # whose documentation; () takes all
    n_vocab: int  # the paper: 50,257
    n_ctx: int  # the paper: 1,024
    batch_size: int  # sequences; the paper: 512
    max_steps: int  # steps of each model
    sweep: tuple[float, ...]  # peak learning rates tried on 5 % held-out tokens
    sweep_steps: int
    n_items: int  # items of each evaluation set cut from held-out documents
    n_samples: int  # completions of the largest model
    rungs: tuple[Rung, ...]


LADDER = (
    Rung("117M", 1, 1, 32),
    Rung("345M", 2, 2, 64),
    Rung("762M", 3, 3, 96),
    Rung("1542M", 4, 4, 128),
)
SCALES = {
    scale.name: scale
    for scale in (
        Scale("smoke", 250, ("networkx", "click"), 600, 64, 8, 12, (1e-3, 3e-3), 4, 20, 4,
              (Rung("117M", 1, 1, 16), Rung("345M", 1, 2, 32), Rung("762M", 2, 2, 32), Rung("1542M", 2, 3, 48))),
        Scale("pocket", 20_000, (), 4096, 256, 8, 2000, (4e-3, 8e-3), 100, 400, 24, LADDER),
        Scale("desk", 20_000, (), 8192, 512, 32, 3000, (5e-4, 1e-3, 2e-3, 4e-3), 150, 2000, 100,
              (Rung("117M", 4, 4, 256), Rung("345M", 8, 5, 320), Rung("762M", 12, 6, 384), Rung("1542M", 16, 8, 512))),
    )
}  # fmt: skip


def scale_named(name: str) -> Scale:
    """The scale of that name; an unknown one is a `UserError`."""
    if name not in SCALES:
        raise unknown("scale", name, SCALES)
    return SCALES[name]
