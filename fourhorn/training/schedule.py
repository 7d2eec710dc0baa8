"""The learning rate of each step: a straight line up, then a cosine down.

§2.3 says only that the rate was tuned by hand; the shape is GPT-1's, on which the paper builds (§4.1 there).
Steps count from 0; rates are those of the optimizer.
"""

import math


def learning_rate_at(step: int, *, peak: float, minimum: float, warmup_steps: int, max_steps: int) -> float:
    """The rate used by update number `step` of 0 … max_steps - 1; `peak` is first reached after the warm-up."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(max_steps - warmup_steps, 1)
    return minimum + 0.5 * (peak - minimum) * (1.0 + math.cos(math.pi * min(done, 1.0)))
