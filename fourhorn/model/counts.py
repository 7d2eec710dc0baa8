"""What a model costs before it is built: parameters, floating-point operations, bytes.

§2.3, Table 2. Parameters follow from the shapes. A trained token costs 6 operations per weight of a matrix (2 forward,
4 backward) and 12 · n_layer · n_embd · n_ctx for attention, the convention of PaLM (Chowdhery et al., 2022, appendix B)
that `mfu` is defined by. Nothing here imports torch.

Units: operations (one multiply and one add are two), bytes.
"""

from dataclasses import dataclass

from fourhorn.model.config import GPT2Config


def n_params(config: GPT2Config) -> int:
    """Every trainable number; the head is the embedding and counts once."""
    C = config.n_embd
    block = 12 * C * C + 13 * C  # four matrices with their biases, two layer norms
    return (config.n_vocab + config.n_ctx) * C + config.n_layer * block + 2 * C


def flops_per_token(config: GPT2Config) -> int:
    """Operations to train on one token, forward and backward."""
    matrices = n_params(config) - config.n_ctx * config.n_embd  # looking positions up multiplies nothing
    return 6 * matrices + 12 * config.n_layer * config.n_embd * config.n_ctx


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes a training process holds at its peak, by purpose."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    loss: int
    fixed: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.loss + self.fixed


def activation_bytes_per_token(config: GPT2Config, dtype: str) -> int:
    """Bytes kept from forward to backward for each token, counted tensor by tensor over one block."""
    C, low = config.n_embd, 4 if dtype == "float32" else 2
    # Residual stream twice, both layer norms' results and their copies for the products, q k v, attention's result,
    # the wide layer before and after GELU; one log-sum per head.
    block = C * (2 * 4 + 2 * low + 2 * (4 if low == 2 else 0) + 3 * low + low + 4 * low + 4 * low + 2 * low)
    return config.n_layer * (block + 4 * config.n_head) + 4 * 4 * C


def training_memory(
    config: GPT2Config,
    micro_batch_size: int,
    *,
    dtype: str = "bfloat16",
    n_shards: int = 1,
    fixed: int = 350_000_000,
) -> MemoryPlan:
    """The peak of one training process; `n_shards` processes share weights, gradients and optimizer (FSDP2)."""
    n = n_params(config) // n_shards
    low_weights = 0 if dtype == "float32" else 2 * n_params(config)
    tokens = micro_batch_size * config.n_ctx
    head = 4 * config.n_vocab * config.n_embd  # the head's gradient, held beside the others until backward
    return MemoryPlan(
        weights=4 * n + low_weights,
        gradients=4 * n,
        optimizer=8 * n,
        activations=tokens * activation_bytes_per_token(config, dtype),
        loss=head + 4 * (64 << 20),
        fixed=fixed,
    )
