"""GPT-2's architecture, and nothing else.

§2.3: a Transformer decoder with layer normalization moved to the input of each sub-block, one more after the final
block, residual weights scaled at initialization by 1/√N (N residual layers), vocabulary 50,257, context 1024.

Shapes: B batch, T tokens, C = n_embd, H heads, D head size, V vocabulary, S cached length.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fourhorn.model.cache import KVCache
from fourhorn.model.config import GPT2Config


class CausalSelfAttention(nn.Module):
    """Each position attends to itself and all before it."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x: Tensor, cache: KVCache | None, layer: int) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.c_attn(x).view(B, T, 3, self.n_head, C // self.n_head).unbind(2)  # (B, T, H, D) each
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, T, D)
        if cache is None:
            dropout = self.dropout if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        else:
            k, v, mask = cache.append(layer, k, v)  # (B, H, S, D)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Module):
    """Two matrices with a tanh-approximated GELU between, four times as wide inside."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """§2.3: layer normalization at the input of each sub-block, like a pre-activation residual network."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cache: KVCache | None, layer: int) -> Tensor:
        x = x + self.dropout(self.attn(self.ln_1(x), cache, layer))
        return x + self.dropout(self.mlp(self.ln_2(x)))


class GPT2(nn.Module):
    """Tokens in, logits of each next token out; the head is the embedding `wte` itself."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.n_vocab, config.n_embd)
        self.wpe = nn.Embedding(config.n_ctx, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.initialize()

    @torch.no_grad()
    def initialize(self) -> None:
        """OpenAI's initialization: weights N(0, 0.02), positions N(0, 0.01), biases 0."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif ".ln_" in name or name.startswith("ln_f"):
                nn.init.ones_(parameter)
            elif name.endswith("c_proj.weight"):
                # §2.3: residual weights start 1/√N smaller, N = residual layers = 2 · n_layer
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.n_layer))
            else:
                nn.init.normal_(parameter, std=0.01 if name == "wpe.weight" else 0.02)

    def hidden(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """The final normalized state of each position: tokens (B, T) → (B, T, C)."""
        T = tokens.shape[1]
        if cache is None:
            positions = torch.arange(T, device=tokens.device)  # (T,)
        else:
            positions = cache.begin(T)  # (B, T)
        x = self.dropout(self.wte(tokens) + self.wpe(positions))
        for layer, block in enumerate(self.h):
            x = block(x, cache, layer)
        if cache is not None:
            cache.lengths += T
        return self.ln_f(x)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits over the vocabulary: (…, C) → (…, V)."""
        return F.linear(hidden, self.wte.weight)

    def forward(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits of the next token at each position: (B, T) → (B, T, V)."""
        return self.head(self.hidden(tokens, cache))
