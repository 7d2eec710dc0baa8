"""Reads tokens into slots of a key/value cache and gives the logits of the next ones: the plain PyTorch decoder.

A slot holds one sequence. `read` is all there is: it appends tokens to some slots in one go, be it a prompt, one token
of each of sixteen sequences, or a few guessed tokens to verify. Float32 on this decoder is the exact reference for
`fourhorn.sampling.kernels`, which does the same in vector code.

In: tokens per slot. Out: logits (rows, V) in float32. Cost: each new token is computed once; nothing is recomputed.
"""

import functools
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from fourhorn.model.cache import KVCache
from fourhorn.model.transformer import GPT2
from fourhorn.runtime import changing_shapes
from fourhorn.sampling.logits import choose
from fourhorn.sampling.settings import SamplingParams


class Decoder(Protocol):
    """What the engine needs of a model on some device."""

    n_ctx: int
    n_vocab: int
    n_slots: int
    lengths: list[int]

    def read(
        self,
        slots: Sequence[int],
        tokens: Sequence[Sequence[int]],
        *,
        every: bool = False,
        as_steps: bool | None = None,
    ) -> Tensor:
        """Append `tokens[i]` to `slots[i]`; logits after each slot's last token, or after `every` token, in order.

        `as_steps` asks for the arithmetic of single new tokens, or of prompts; None goes by the number of tokens.
        """
        ...

    def choose(
        self, logits: Tensor, params: Sequence[SamplingParams], uniforms: Sequence[float]
    ) -> list[int]:
        """Draw a token for each row of `read`'s logits (see `fourhorn.sampling.logits.choose`)."""
        ...

    def truncate(self, slot: int, length: int) -> None:
        """Forget what follows the slot's first `length` tokens."""
        ...

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the slot `target` begin with the first `length` tokens of `source`, and hold nothing else."""
        ...


def make_decoder(
    model: GPT2, n_slots: int = 1, n_ctx: int | None = None, *, precision: str = "float32"
) -> Decoder:
    """The decoder for a precision: exact float32 in PyTorch; fewer bits in vector code on a CPU, else in PyTorch.

    Where the kernels cannot run (another device, an odd shape, no Numba), PyTorch computes with the same rounded
    weights. On an NVIDIA card its single steps are recorded and replayed (`fourhorn.sampling.graphs`).
    """
    from fourhorn.sampling.quantize import check_precision, round_trip

    check_precision(precision)
    device = model.wte.weight.device.type
    kernels = vector_kernels() if device == "cpu" and precision != "float32" else None
    if kernels is not None and kernels.why_not(model.config) is None:
        fast: Decoder = kernels.VectorDecoder(model, n_slots, n_ctx, precision=precision)
        return fast
    if precision != "float32":
        model = round_trip(model, precision).to(torch.bfloat16)
    if device == "cuda":
        from fourhorn.sampling.graphs import GraphDecoder

        return GraphDecoder(model.eval(), n_slots, n_ctx)
    return TorchDecoder(model.eval(), n_slots, n_ctx)


@functools.cache
def vector_kernels() -> Any:
    """The module of the fast decoder, or None, said once, where its kernels can neither be loaded nor compiled."""
    try:
        from fourhorn.sampling import library, vector_decoder

        library.check()
    except ImportError as error:
        print(
            f"fourhorn: sampling runs in PyTorch alone, without the fast kernels ({error}).", file=sys.stderr
        )
        return None
    return vector_decoder


class SlotRows(KVCache):
    """A view of neighbouring rows of a larger cache: a pass over it writes into the larger one."""

    def __init__(self, cache: KVCache, first: int, last: int, lengths: Sequence[int]) -> None:
        self.n_ctx = cache.n_ctx
        self.k, self.v = cache.k[:, first : last + 1], cache.v[:, first : last + 1]
        self.lengths = torch.tensor(lengths, device=cache.k.device)
        self._positions, self._mask, self._span, self._start = torch.empty(0), None, 0, None


class TorchDecoder:
    """Any device, any dtype, plain PyTorch."""

    def __init__(self, model: GPT2, n_slots: int = 1, n_ctx: int | None = None) -> None:
        self.model = model
        self.cache = KVCache(model.config, n_slots, n_ctx, model.wte.weight.dtype, model.wte.weight.device)
        self.n_ctx, self.n_vocab, self.n_slots = self.cache.n_ctx, model.config.n_vocab, n_slots
        self.lengths = [0] * n_slots

    @torch.inference_mode()
    def read(
        self,
        slots: Sequence[int],
        tokens: Sequence[Sequence[int]],
        *,
        every: bool = False,
        as_steps: bool | None = None,
    ) -> Tensor:
        """See `Decoder`. One new token for each of several slots is one pass; anything longer is a pass per slot."""
        if len(slots) > 1 and all(len(new) == 1 for new in tokens):  # as_steps changes nothing here
            return self._read_one_each(slots, [new[0] for new in tokens])
        rows = [self._read_one_slot(slot, new, every) for slot, new in zip(slots, tokens, strict=True)]
        return torch.cat(rows) if len(rows) > 1 else rows[0]

    def choose(
        self, logits: Tensor, params: Sequence[SamplingParams], uniforms: Sequence[float]
    ) -> list[int]:
        """See `Decoder`."""
        return choose(logits, params, uniforms)

    def truncate(self, slot: int, length: int) -> None:
        """See `Decoder`."""
        self.lengths[slot] = min(length, self.lengths[slot])

    def copy(self, source: int, target: int, length: int) -> None:
        """See `Decoder`."""
        for buffer in (self.cache.k, self.cache.v):
            buffer[:, target, :, :length] = buffer[:, source, :, :length]
        self.lengths[target] = length

    def _read_one_slot(self, slot: int, tokens: Sequence[int], every: bool) -> Tensor:
        rows = SlotRows(self.cache, slot, slot, [self.lengths[slot]])
        with changing_shapes(rows.k.device):
            hidden = self.model.hidden(torch.tensor([tokens], device=rows.k.device), rows)[0]
        self.lengths[slot] += len(tokens)
        return self.model.head(hidden if every else hidden[-1:]).float()

    def _read_one_each(self, slots: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """One pass over all rows from the first slot to the last; idle ones in between read a token of no effect."""
        first, last = min(slots), max(slots)
        new = dict(zip(slots, tokens, strict=True))
        for slot in range(first, last + 1):
            if slot not in new:  # what an idle row writes is overwritten by its next token
                self.truncate(slot, self.n_ctx - 1)
        rows = SlotRows(self.cache, first, last, self.lengths[first : last + 1])
        inputs = torch.tensor([[new.get(slot, 0)] for slot in range(first, last + 1)])
        with changing_shapes(rows.k.device):
            hidden = self.model.hidden(inputs.to(rows.k.device), rows)[:, 0]
        for slot in slots:
            self.lengths[slot] += 1
        order = torch.tensor([slot - first for slot in slots], device=hidden.device)
        return self.model.head(hidden[order]).float()
