"""The model against `transformers` with the same random weights, and its initialization against the paper."""

import math

import pytest
import torch

from fourhorn.model.cache import KVCache
from fourhorn.model.config import SIZES, GPT2Config
from fourhorn.model.transformer import GPT2

TURNED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def both(config: GPT2Config):
    from transformers import GPT2Config as TheirConfig
    from transformers import GPT2LMHeadModel

    torch.manual_seed(0)
    ours = GPT2(config).eval()
    theirs = GPT2LMHeadModel(
        TheirConfig(
            vocab_size=config.n_vocab, n_positions=config.n_ctx, n_embd=config.n_embd, n_layer=config.n_layer,
            n_head=config.n_head, attn_implementation="eager",
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        names = dict(ours.named_parameters())
        for name, parameter in theirs.transformer.named_parameters():
            own = names[name]
            parameter.copy_(own.t() if name.endswith(TURNED) else own)
    return ours, theirs


@pytest.mark.parametrize("size", SIZES)
def test_logits_and_gradients_equal_transformers(size: str) -> None:
    _, n_head, n_embd = SIZES[size]
    ours, theirs = both(GPT2Config(2, n_head, n_embd, n_ctx=32, n_vocab=211, dropout=0.0))
    tokens = torch.randint(0, 211, (2, 17))
    logits, reference = ours(tokens), theirs(tokens).logits
    assert (logits - reference).abs().max() < 1e-5
    logits.logsumexp(-1).mean().backward()
    reference.logsumexp(-1).mean().backward()
    names = dict(ours.named_parameters())
    for name, parameter in theirs.transformer.named_parameters():
        gradient = names[name].grad.t() if name.endswith(TURNED) else names[name].grad
        assert (gradient - parameter.grad).abs().max() < 1e-4, name


def test_initial_weights_are_the_papers() -> None:
    torch.manual_seed(0)
    model = GPT2(GPT2Config(8, 4, 256, n_ctx=64, n_vocab=1000))
    residual = 0.02 / math.sqrt(16)
    for name, parameter in model.named_parameters():
        expected = {"wte.weight": 0.02, "wpe.weight": 0.01}.get(
            name, residual if "c_proj.weight" in name else 0.02
        )
        if parameter.ndim == 2:
            assert parameter.std().item() == pytest.approx(expected, rel=0.03), name
            assert abs(parameter.mean().item()) < expected / 50, name
        else:
            assert (parameter == (1.0 if name.endswith("weight") else 0.0)).all(), name


def test_dropout_drops_its_share_in_training_and_none_in_evaluation() -> None:
    torch.manual_seed(0)
    model = GPT2(GPT2Config(1, 2, 64, n_ctx=64, n_vocab=100, dropout=0.3))
    seen = []
    model.h[0].ln_1.register_forward_hook(
        lambda module, args, out: seen.append((args[0] == 0).float().mean().item())
    )
    tokens = torch.randint(0, 100, (64, 64))
    model.train()
    model.hidden(tokens)
    model.eval()
    assert torch.equal(model.hidden(tokens), model.hidden(tokens))
    assert seen[0] == pytest.approx(0.3, abs=0.01)
    assert seen[1] == 0.0


def test_a_cache_gives_the_logits_of_a_whole_pass() -> None:
    torch.manual_seed(1)
    config = GPT2Config(2, 2, 32, n_ctx=24, n_vocab=50, dropout=0.0)
    model = GPT2(config).eval()
    tokens = torch.randint(0, 50, (2, 20))
    cache = KVCache(config, 2)
    with torch.no_grad():
        pieces = [model(tokens[:, a:b], cache) for a, b in ((0, 7), (7, 8), (8, 20))]
        assert torch.allclose(torch.cat(pieces, 1), model(tokens), atol=1e-5)
