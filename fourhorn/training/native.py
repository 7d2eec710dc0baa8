"""The fast twin of `Learner` for CPUs with AMX: the same loss and gradients, from this package's own kernels.

Weights, gradients and packed copies live in flat buffers that the model's parameters are views of, so that optimizer,
states and checkpoints see nothing new. Products take bfloat16 and sum float32; the residual stream, layer norms,
softmax sums and all gradients are float32. A micro-batch's sequences are shared between threads.

Asks for: no dropout, T, width and head size multiples of 32. Where something is missing, `why_not` says what.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch

from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.runtime import give_back_freed
from fourhorn.training.batches import Batch

_MATRICES = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def why_not(config: GPT2Config, device: str, dtype: str) -> str:
    """What stands against the kernels here; empty when nothing does."""
    if device != "cpu" or dtype != "bfloat16":
        return "they compute in bfloat16 on a CPU"
    if config.dropout:
        return f"dropout is {config.dropout:g}"
    if config.n_embd % 32 or config.head_size % 32 or config.n_ctx % 32:
        return "context, width and head size must be multiples of 32"
    try:
        from fourhorn.training.kernels.amx import available
    except ImportError:
        return "numba is not installed"
    return "" if available() else "this CPU has no AMX"


class NativePass:
    """Forward, loss and backward of micro-batches of one size, into the parameters' `grad`."""

    def __init__(self, model: GPT2, n_threads: int) -> None:
        self.model, self.config, self.n_threads = model, model.config, n_threads
        self.pool = ThreadPoolExecutor(
            n_threads, thread_name_prefix="fourhorn-kernels", initializer=_may_use_tiles
        )
        self._flatten()
        self.shares: list[tuple[int, int]] = []  # each thread's rows, and how many are a sequence
        self.passes: list[Any] = []
        self.gradients: list[Any] = []
        self.fresh = True

    def _flatten(self) -> None:
        """Move the parameters into one buffer, the embedding last with room for its padding."""
        from fourhorn.training.kernels.whole import Network

        named = dict(self.model.named_parameters())
        order = [name for name in named if name != "wte.weight"] + ["wte.weight"]
        offsets, at = {}, 0
        for name in order:
            offsets[name] = at
            at += (named[name].numel() + 31) // 32 * 32  # each on a cache line, as float32 and as bfloat16
        padded = (self.config.n_vocab + 31) // 32 * 32
        self.n_numbers = offsets["wte.weight"] + padded * self.config.n_embd
        flat = torch.from_numpy(aligned_zeros(self.n_numbers, np.float32))
        for name, p in named.items():
            view = flat[offsets[name] : offsets[name] + p.numel()].view(p.shape)
            view.copy_(p.data)
            p.data = view
        self.flat, self.offsets = flat.numpy(), offsets
        give_back_freed()
        kinds = [f"{part}.{kind}" for part in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
                 for kind in ("weight", "bias")]  # fmt: skip
        layers = [[offsets[f"h.{layer}.{kind}"] for kind in kinds] for layer in range(self.config.n_layer)]
        final = [offsets[n] for n in ("ln_f.weight", "ln_f.bias", "wte.weight", "wpe.weight")]
        self.packs = aligned_zeros(self.n_numbers, np.uint16)
        self.head = aligned_zeros(padded * self.config.n_embd, np.uint16)
        c = self.config
        addresses = [array.ctypes.data for array in (self.flat, self.packs, self.head)]
        self.network = Network(c.n_layer, c.n_head, c.n_embd, c.n_vocab, layers, final, *addresses)
        # Passes set the gradients of matrices where a step begins, and add to all others.
        self.added = [
            slice(offsets[name], offsets[name] + p.numel())
            for name, p in named.items() if p.ndim == 1 or name == "wpe.weight"
        ]  # fmt: skip

    def _prepare(self, n_sequences: int, T: int) -> None:
        """The threads' passes over their shares of a micro-batch."""
        from fourhorn.training.kernels.whole import ThreadPass

        n = min(self.n_threads, n_sequences)
        shares = [(len(part) * T, T) for part in np.array_split(np.arange(n_sequences), n)]
        if shares == self.shares:
            return
        self.shares = shares
        self.passes = []  # the old ones' buffers go first
        if len(self.gradients) != n:
            for p in self.model.parameters():
                p.grad = None
            self.gradients = [torch.from_numpy(aligned_zeros(self.n_numbers, np.float32)) for _ in shares]
        self.passes = [
            ThreadPass(self.network, rows, T, gradient.numpy())
            for (rows, T), gradient in zip(shares, self.gradients, strict=True)
        ]

    def _pack(self) -> None:
        """The weights as the products want them, after every update."""
        from fourhorn.training.kernels.whole import pack_head, pack_weights

        C = self.config.n_embd
        sizes = ((3 * C, C), (C, C), (4 * C, C), (C, 4 * C))
        jobs: list[tuple[int, int, int]] = []
        for layer in range(self.config.n_layer):
            for name, (n, k) in zip(_MATRICES, sizes, strict=True):
                jobs.append((self.offsets[f"h.{layer}.{name}.weight"], n, k))

        def work(worker: int) -> None:
            low = aligned_zeros(max(4 * C * C, 1024 * C), np.uint16)
            for offset, n, k in jobs[worker :: self.n_threads]:
                pack_weights(self.flat, offset, n, k, low, self.packs)
            if worker == self.n_threads - 1:
                head = self.offsets["wte.weight"]
                pack_head(self.flat, head, self.config.n_vocab, C, low, self.packs, self.head)

        list(self.pool.map(work, range(self.n_threads)))

    def accumulate(self, batch: Batch, scale: float) -> float:
        """The loss of a micro-batch, its gradients added to those of the step."""
        self._prepare(*batch.inputs.shape)
        fresh, self.fresh = self.fresh, False
        if fresh:
            self._pack()
        return self._run(batch, scale, learn=True, fresh=fresh)

    def loss(self, batch: Batch, *, changed: bool) -> float:
        """The summed loss of a batch, without gradients; `changed`: the weights are new since the last call."""
        self._prepare(*batch.inputs.shape)
        if changed:
            self._pack()
        return self._run(batch, 1.0, learn=False)

    def _run(self, batch: Batch, scale: float, *, learn: bool, fresh: bool = False) -> float:
        n, T = batch.inputs.shape
        weights = batch.weights if batch.weights is not None else np.ones((n, T), np.float32)
        weights = (weights * np.float32(scale)).astype(np.float32).reshape(-1)
        inputs, targets = batch.inputs.flatten(), batch.targets.flatten()
        ends = np.cumsum([rows for rows, _ in self.shares])

        def work(i: int) -> float:
            if fresh:
                gradient = self.gradients[i].numpy()
                for part in self.added:
                    gradient[part] = 0
            rows = slice(ends[i] - self.shares[i][0], ends[i])
            run = self.passes[i].run
            return float(run(inputs[rows], targets[rows], weights[rows], learn=learn, fresh=fresh))

        return sum(self.pool.map(work, range(len(self.shares))))

    def share(self, work: Callable[[int, int], Any]) -> list[Any]:
        """Let each thread work on numbers [start, stop) of the flat vectors; what they return, in order."""
        borders = [self.n_numbers * i // self.n_threads // 16 * 16 for i in range(self.n_threads + 1)]
        return list(self.pool.map(work, borders[:-1], borders[1:]))

    @property
    def total(self) -> torch.Tensor:
        """The gradients of the step, once `finish` has summed them."""
        return self.gradients[0]

    def finish(self) -> torch.Tensor:
        """Sum the threads' gradients and hand them to the parameters; all of them as one vector."""
        from fourhorn.training.kernels.update import add_gradients

        total, *others = (gradient.numpy() for gradient in self.gradients)
        for other in others:
            self.share(partial(add_gradients, total, other))
        for name, p in self.model.named_parameters():
            if p.grad is None:
                at = self.offsets[name]
                p.grad = self.total[at : at + p.numel()].view(p.shape)
        self.fresh = True
        return self.total


def aligned_zeros(n: int, kind: Any) -> Any:
    """A vector of zeros that begins on a cache line."""
    from fourhorn.training.kernels.buffers import aligned

    array = aligned((n,), kind)
    array[:] = 0
    return array


def _may_use_tiles() -> None:
    from fourhorn.training.kernels.amx import available

    available()
