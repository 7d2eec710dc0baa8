"""What a model costs before it is built: parameters, floating-point operations, bytes.

§2.3, Table 2. Parameters follow from the shapes. A trained token costs 6 operations per weight of a matrix (2 forward,
4 backward) and 12 · n_layer · n_embd · n_ctx for attention, the convention of PaLM (Chowdhery et al., 2022, appendix B)
that `mfu` is defined by. Nothing here imports torch.

Units: operations (one multiply and one add are two), bytes.
"""

from dataclasses import dataclass

from fourhorn.model.config import GPT2Config

KERNEL_BYTES = 150_000_000  # numba, compiled code, and the threads' scratch
BLOCK_BYTES = 64 << 20  # float32 logits of a block of the loss
CARD_BLOCK_BYTES = 1 << 30  # the same on a card, whose products want more rows


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


def activation_bytes_per_token(config: GPT2Config, dtype: str, *, kernels: bool = False) -> int:
    """Bytes kept from forward to backward for each token, and those of one layer at work, tensor by tensor."""
    C, H, low = config.n_embd, config.n_head, 4 if dtype == "float32" else 2
    if kernels:
        # Residual stream twice, float32; bfloat16: both layer norms' results, q k v, attention's result, the wide layer
        # before GELU. At work: three rows of the stream's gradient, and four as wide as the wide layer or q k v.
        return config.n_layer * (28 * C + 4 * H + 16) + 46 * C
    # The same, with the wide layer also after GELU; at work: the widest two gradients.
    block = C * (2 * 4 + 2 * low + 3 * low + low + 4 * low + 4 * low)
    return config.n_layer * (block + 4 * H + 16) + C * (4 + 4 + 2 * 4 * low)


def training_memory(
    config: GPT2Config,
    micro_batch_size: int,
    *,
    dtype: str = "bfloat16",
    n_shards: int = 1,
    n_threads: int = 0,
    on_card: bool = False,
    fixed: int = 350_000_000,
) -> MemoryPlan:
    """The peak of one training process; `n_shards` processes share weights, gradients and optimizer (FSDP2).

    `n_threads` of the kernels have gradients of their own and logits of at most 64 MiB; 0 is PyTorch's path. On a card
    it is that of torch.compile, which holds a block's logits and their gradient in bfloat16.
    """
    n = n_params(config) // n_shards
    tokens = micro_batch_size * config.n_ctx
    head = config.n_vocab * config.n_embd
    activations = tokens * activation_bytes_per_token(config, dtype, kernels=n_threads > 0)
    if n_threads:
        used = min(n_threads, micro_batch_size)  # threads share sequences
        return MemoryPlan(
            weights=6 * n + 2 * head, gradients=4 * n * used, optimizer=8 * n, activations=activations,
            loss=used * BLOCK_BYTES, fixed=fixed + KERNEL_BYTES,
        )  # fmt: skip
    low_weights = 0 if dtype == "float32" else 2 * n_params(config)
    return MemoryPlan(
        weights=4 * n + low_weights,
        gradients=4 * n,
        optimizer=8 * n,
        activations=activations,
        # the head's gradient, held beside the others until backward, and one block
        loss=4 * head + (CARD_BLOCK_BYTES if on_card else 4 * BLOCK_BYTES),
        fixed=fixed,
    )
