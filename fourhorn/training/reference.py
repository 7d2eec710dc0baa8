"""Is my loss normal? A reference curve with a tolerance band for the paper's sizes on web text.

§2.3 trains four sizes on WebText and prints no curves. Kaplan et al. (2020, eq. 1.4, 1.6, 5.4; Table 3, Figure 10)
measured many, with the same tokenizer, context and kind of text, and fitted them: after S steps of B tokens a model
with N parameters outside its embeddings has the loss

    L = (N_c / N)^0.077 + (S_c / S_min)^0.76,   S_min = S / (1 + B_crit / B),   B_crit = B* / L^(1 / 0.21).

The band is a twelfth of the loss and half of what is still to fall on either side: text differs, and so do early steps.
No figure here was measured by this project. Losses are in nats per token.
"""

from typing import NamedTuple

from fourhorn.model.config import GPT2Config
from fourhorn.model.counts import n_params

N_C, ALPHA_N, S_C, ALPHA_S, B_STAR, ALPHA_B = 6.5e13, 0.077, 2.1e3, 0.76, 2.1e8, 0.21
VOCABULARY = 50_000  # curves hold for about this many tokens and more
BEFORE = 1000  # steps in which a curve says nothing yet


class Expected(NamedTuple):
    """The reference loss after a step and the band around it."""

    low: float
    middle: float
    high: float


def expected_loss(shape: GPT2Config, step: int, tokens_per_step: int) -> Expected | None:
    """What a healthy run on web text has after a step; None where the curve does not hold."""
    if step < BEFORE or shape.n_vocab < VOCABULARY:
        return None
    outside = n_params(shape) - (shape.n_vocab + shape.n_ctx) * shape.n_embd
    settled = (N_C / outside) ** ALPHA_N
    loss = settled
    for _ in range(50):  # the critical batch depends on the loss: a fixed point, reached slowly early on
        n_useful = step / (1 + B_STAR / loss ** (1 / ALPHA_B) / tokens_per_step)
        loss = (loss + settled + (S_C / n_useful) ** ALPHA_S) / 2
    margin = loss / 12 + (loss - settled) / 2
    return Expected(loss - margin, loss, loss + margin)


def against_reference(loss: float, shape: GPT2Config, step: int, tokens_per_step: int) -> str:
    """A loss beside the reference, in words; empty where there is none."""
    expected = expected_loss(shape, step, tokens_per_step)
    if expected is None:
        return ""
    band = (
        f"{expected.low:.2f} to {expected.high:.2f} of the reference curve for web text after {step:,} steps"
    )
    if loss > expected.high:
        return f"above the {band}: check the tokens, the learning rate and the batch"
    if loss < expected.low:
        return f"below the {band}: easier text than the web, or text that repeats"
    return f"within the {band}"
