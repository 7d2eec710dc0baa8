"""From logits to the next token: the exact distribution, and one draw from it per uniform number.

§3.6 and §8: top-k sampling (Fan et al. 2018); top-p is nucleus sampling (Holtzman et al. 2019). A draw inverts the
cumulative distribution at a uniform number that belongs to the sequence alone, so that a seed gives the same tokens
whatever else is in the batch.

In: logits (…, V). Out: probabilities (…, V) in float32, tokens, natural-log probabilities.
This is the plain twin, for every device; `fourhorn.sampling.draws` does the same fast on a CPU.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fourhorn.sampling.settings import SamplingParams


def distribution(logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """The probabilities that tokens are drawn with; tokens as likely as the last one kept are kept too.

    Temperature 0 puts all on the first of the likeliest tokens. Top-k comes before top-p, and temperature before both.
    """
    logits = logits.float()
    if temperature == 0.0:
        best = logits.argmax(-1, keepdim=True)
        return torch.zeros_like(logits).scatter_(-1, best, 1.0)
    logits = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probabilities = torch.softmax(logits, dim=-1)
    if top_p < 1.0:
        ordered = probabilities.sort(dim=-1, descending=True).values
        before = ordered.cumsum(-1) - ordered
        least = ordered.masked_fill(before >= top_p, torch.inf).amin(-1, keepdim=True)
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return probabilities


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """The token at which the cumulative distribution passes `uniform` in [0, 1): (…, V), (…) → (…)."""
    cumulative = probabilities.double().cumsum(-1)
    target = uniform.to(cumulative)[..., None] * cumulative[..., -1:]
    return torch.searchsorted(cumulative, target, right=True)[..., 0]


def choose(logits: Tensor, params: Sequence[SamplingParams], uniforms: Sequence[float]) -> list[int]:
    """One token for each row of (M, V), by that row's own settings and uniform number."""
    tokens = [0] * len(params)
    groups: dict[tuple[float, int, float], list[int]] = {}
    for row, p in enumerate(params):
        groups.setdefault((p.temperature, p.top_k, p.top_p), []).append(row)
    for (temperature, top_k, top_p), rows in groups.items():
        chosen = logits if len(rows) == len(params) else logits[rows]
        if temperature == 0.0:
            found = chosen.argmax(-1)
        else:
            uniform = torch.tensor([uniforms[row] for row in rows], dtype=torch.float64, device=logits.device)
            found = draw(distribution(chosen, temperature, top_k, top_p), uniform)
        for row, token in zip(rows, found.tolist(), strict=True):
            tokens[row] = token
    return tokens


def slack(logits: Tensor, params: SamplingParams, uniform: float, token: int) -> float:
    """How far a token was from being drawn from logits (V): 0 if it is drawn.

    At temperature 0, how much its logit is below the highest; else how far `uniform` is from the token's part of the
    cumulative distribution. Shows whether two decoders that round differently drew two tokens for no other reason.
    """
    if params.temperature == 0.0:
        return (logits.max() - logits[token]).item()
    chances = distribution(logits, params.temperature, params.top_k, params.top_p).double()
    above = chances[: token + 1].sum().item()
    return max(above - chances[token].item() - uniform, uniform - above, 0.0)


def logprobs(logits: Tensor, tokens: Sequence[int]) -> list[float]:
    """The model's own log-probability of each row's token (temperature 1, nothing cut): (M, V), (M) → (M)."""
    logits = logits.float()
    index = torch.tensor(tokens, device=logits.device)[:, None]
    chosen = logits.gather(-1, index)[:, 0] - torch.logsumexp(logits, dim=-1)
    return chosen.tolist()


def top_logprobs(logits: Tensor, n: int) -> list[list[tuple[int, float]]]:
    """The `n` likeliest tokens of each row with their log-probabilities, likeliest first."""
    if n == 0:
        return [[] for _ in range(logits.shape[0])]
    values, tokens = torch.log_softmax(logits.float(), dim=-1).topk(min(n, logits.shape[-1]), dim=-1)
    pairs = zip(tokens.tolist(), values.tolist(), strict=True)
    return [list(zip(row, value, strict=True)) for row, value in pairs]
