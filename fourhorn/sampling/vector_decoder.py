"""The fast CPU decoder: packed weights, a bfloat16 cache, and a team of threads that run the kernels.

It does what `TorchDecoder` does and takes its place in the engine. Prompts are read in passes of up to 512 rows; the
new tokens of all running sequences are one pass. Memory is the packed weights, the cache (pages are taken as they are
filled, 64 tokens of a slot at a time) and about 20 MB of buffers. The model it was made from is not kept.

In: a model with heads a multiple of 16 wide. Out: logits (rows, V) in float32; those of a
small pass are overwritten by the next. Raises `UserError` for other shapes.
"""

import contextlib
import math
import mmap
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fourhorn.errors import UserError
from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.runtime import give_back_freed
from fourhorn.sampling import layout
from fourhorn.sampling.draws import choose_fast
from fourhorn.sampling.layout import MAX_ROWS, TILE_SHAPES, Buffers, Pass, Shape
from fourhorn.sampling.processor import HAS_TILES
from fourhorn.sampling.quantize import DEPTH, HALVES, KINDS, PANEL, Packed, head_precision, pack
from fourhorn.sampling.settings import SamplingParams
from fourhorn.sampling.team import Team

HUGE_PAGE = 1 << 21
FEW_LOGITS = 64  # rows of logits kept ready
Array = np.ndarray[Any, Any]


def why_not(config: GPT2Config) -> str | None:
    """Why the kernels cannot run a model of this shape, or None."""
    if config.head_size % 16:
        return f"head size {config.head_size} is not a multiple of 16"
    return None


def grow(weight: Tensor, *sizes: int) -> Tensor:
    """The weight with zeros appended to its last dimensions until they have these sizes."""
    padding = [n for size, old in zip(sizes[::-1], weight.shape[::-1], strict=False) for n in (0, size - old)]
    weight = weight.detach().float().cpu()
    return torch.nn.functional.pad(weight, padding) if any(padding) else weight


def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeroed memory, taken as it is touched; it begins with a page, and with a huge one where it would fill that.

    Huge pages mean fewer address look-ups for the same bytes, where the system has them: for private memory alone.
    """
    n_bytes, flags = math.prod(shape) * np.dtype(dtype).itemsize, {}
    if hasattr(mmap, "MAP_PRIVATE"):
        flags["flags"] = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    is_large = n_bytes >= HUGE_PAGE
    memory = mmap.mmap(-1, n_bytes + is_large * HUGE_PAGE, **flags)
    if is_large and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    array = np.frombuffer(memory, np.uint8)
    start = -array.ctypes.data % HUGE_PAGE if is_large else 0
    return array[start : start + n_bytes].view(dtype).reshape(shape)


class VectorDecoder:
    """See `Decoder`; `precision` is bfloat16, int8 or int4."""

    def __init__(
        self,
        model: GPT2,
        n_slots: int = 1,
        n_ctx: int | None = None,
        *,
        precision: str = "bfloat16",
        n_threads: int | None = None,
    ) -> None:
        config = model.config
        reason = why_not(config)
        if reason is not None:
            raise UserError(f"The fast CPU kernels cannot run this model: {reason}. Use precision float32.")
        self.n_ctx = min(n_ctx or config.n_ctx, config.n_ctx)
        self.n_vocab, self.n_slots, self.lengths = config.n_vocab, n_slots, [0] * n_slots
        self._kept: list[Array] = []  # what the addresses below point at
        kind, head_kind = KINDS[precision], KINDS[head_precision(precision)]
        padded = -(-self.n_ctx // layout.BLOCK) * layout.BLOCK
        n_threads = n_threads or min(torch.get_num_threads(), os.cpu_count() or 1)
        self._shape = Shape(
            config.n_layer, config.n_head, -(-config.n_embd // DEPTH) * DEPTH, config.head_size,
            -(-config.n_vocab // PANEL) * PANEL, padded, n_slots, kind, head_kind, n_threads,
        )  # fmt: skip
        of_block = (config.n_layer, 2, config.n_head, layout.BLOCK * config.head_size)
        self._cache = zeros((n_slots, padded // layout.BLOCK, *of_block), np.uint16)
        self._few = zeros((FEW_LOGITS, self._shape.n_outputs), np.float32)
        table, head, head_scales = self._pack(model, precision)
        others = (
            self._floats(model.wpe.weight),
            self._floats(model.ln_f.weight),
            self._floats(model.ln_f.bias),
        )
        give_back_freed()  # the copies that packing made
        self.n_weight_bytes = sum(array.nbytes for array in self._kept)
        buffers = self._make_buffers(others, head, head_scales)
        self._team = Team(self._shape, table, buffers, [*self._kept, self._cache, self._few])

    # ------------------------------------------------------------------------------------------------- Decoder

    def read(
        self,
        slots: Sequence[int],
        tokens: Sequence[Sequence[int]],
        *,
        every: bool = False,
        as_steps: bool | None = None,
    ) -> Tensor:
        """See `Decoder`. Guesses to be verified are read `as_steps`, with the arithmetic of single new tokens."""
        if as_steps is None:
            as_steps = all(len(new) == 1 for new in tokens)
        rows = self._rows(slots, tokens, every)
        parts, n = [], rows.shape[1]
        for first in range(0, n, MAX_ROWS):
            part = np.ascontiguousarray(rows[:, first : first + MAX_ROWS])
            parts.append(self._pass(part, as_steps, every))
        for slot, new in zip(slots, tokens, strict=True):
            self.lengths[slot] += len(new)
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def choose(
        self, logits: Tensor, params: Sequence[SamplingParams], uniforms: Sequence[float]
    ) -> list[int]:
        """See `Decoder`. The rows must be whole rows of what `read` gave: their padding is used."""
        size = (logits.shape[0], self._shape.n_outputs)
        padded = torch.as_strided(logits, size, logits.stride(), logits.storage_offset())
        return choose_fast(padded.numpy(), self.n_vocab, params, uniforms)

    def truncate(self, slot: int, length: int) -> None:
        """See `Decoder`."""
        self.lengths[slot] = min(length, self.lengths[slot])

    def copy(self, source: int, target: int, length: int) -> None:
        """See `Decoder`."""
        n = -(-length // layout.BLOCK)
        self._cache[target, :n] = self._cache[source, :n]
        self.lengths[target] = length

    @property
    def n_cache_bytes(self) -> int:
        """The memory that the slots' tokens fill."""
        n_blocks = sum(-(-length // layout.BLOCK) for length in self.lengths)
        return n_blocks * self._cache[0, 0].nbytes

    # ------------------------------------------------------------------------------------------------- one pass

    def _rows(self, slots: Sequence[int], tokens: Sequence[Sequence[int]], every: bool) -> Array:
        """Token, slot, position and whether logits are wanted of each new token: (4, n)."""
        rows: tuple[list[int], ...] = [], [], [], []
        for slot, new in zip(slots, tokens, strict=True):
            start, n = self.lengths[slot], len(new)
            if start + n > self.n_ctx:
                raise ValueError(f"{start} cached + {n} new tokens exceed the cache's {self.n_ctx}")
            columns: Sequence[Sequence[int]] = (
                new,
                [slot] * n,
                range(start, start + n),
                [every] * (n - 1) + [True],
            )
            for row, column in zip(rows, columns, strict=True):
                row.extend(column)
        return np.array(rows, np.int64)

    def _pass(self, rows: Array, as_steps: bool, every: bool) -> Tensor:
        wanted = np.flatnonzero(rows[3])
        n_rows, n_logits, shape = rows.shape[1], len(wanted), self._shape
        job = self._team.next_job()
        job[: layout.WANTED, :n_rows] = rows[:3]
        job[layout.WANTED, :n_logits] = wanted
        starts = rows[1, 1:] != rows[1, :-1]  # rows whose slot is not the one before
        n_spans = 0
        if HAS_TILES and not as_steps and shape.head_size % 32 == 0:
            borders = [0, *(np.flatnonzero(starts) + 1).tolist(), n_rows]
            spans = [(r, min(r + 16, b) - r) for a, b in pairwise(borders) for r in range(a, b, 16)]
            n_spans = len(spans)
            job[layout.FIRSTS : layout.LENGTHS + 1, :n_spans] = np.array(spans).T
        logits = self._few[:n_logits]
        if n_logits > FEW_LOGITS:
            logits = np.empty((n_logits, shape.n_outputs), np.float32)
        job[layout.PASS, : layout.N_PASS] = Pass(
            n_rows,
            n_logits,
            n_spans,
            apart=n_spans == 0 and bool(starts.all()),
            as_bytes=as_steps and shape.kind != HALVES,
            head_as_bytes=(as_steps or not every) and shape.head_kind != HALVES,
            logits=logits.ctypes.data,
        )
        self._team.run()
        return torch.from_numpy(logits)[:, : self.n_vocab]

    # -------------------------------------------------------------------------------------------------- making

    def _keep(self, array: Array) -> int:
        self._kept.append(array)
        return array.ctypes.data

    def _floats(self, weight: Tensor) -> int:
        return self._keep(grow(weight, self._shape.n_embd).numpy().copy())

    def _pack(self, model: GPT2, precision: str) -> tuple[Array, int, int]:
        """Addresses of each layer's weights (n_layer, N_COLUMNS), of the head's codes and of its scales."""
        table = np.zeros((model.config.n_layer, layout.N_COLUMNS), np.int64)
        wide = self._shape.n_embd
        head = pack(grow(model.wte.weight, wide), head_precision(precision))
        packed: list[tuple[int, int, Packed]] = []
        for row, layer in enumerate(model.h):
            block: Any = layer
            for column, norm in ((layout.LN_1, block.ln_1), (layout.LN_2, block.ln_2)):
                table[row, column : column + 2] = self._floats(norm.weight), self._floats(norm.bias)
            for column, linear, parts, n_inputs, n_outputs in (
                (layout.C_ATTN, block.attn.c_attn, 3, wide, wide),
                (layout.C_PROJ, block.attn.c_proj, 1, wide, wide),
                (layout.C_FC, block.mlp.c_fc, 1, wide, 4 * wide),
                (layout.MLP_PROJ, block.mlp.c_proj, 1, 4 * wide, wide),
            ):
                weight = linear.weight.view(
                    parts, -1, linear.weight.shape[1]
                )  # q, k and v begin where they should
                weight = grow(weight, n_outputs, n_inputs).flatten(0, 1)
                packed.append((row, column, pack(weight, precision)))
                bias = grow(linear.bias.view(parts, -1), n_outputs)
                table[row, column + 2] = self._keep(bias.numpy().copy())
        packed.append((-1, -1, head))
        del head
        everything = zeros((sum(part.n_bytes for _, _, part in packed),), np.uint8)
        self._kept.append(everything)
        end = 0
        while packed:  # what is copied goes, so that there are never two of all
            row, column, part = packed.pop(0)
            addresses = []
            for array in (part.codes, part.scales):
                everything[end : end + array.nbytes] = array.reshape(-1).view(np.uint8)
                addresses.append(everything.ctypes.data + end)
                end += array.nbytes
            if row >= 0:
                table[row, column : column + 2] = addresses
        return table, addresses[0], addresses[1]

    def _make_buffers(self, others: tuple[int, int, int], head: int, head_scales: int) -> Buffers:
        C, shape = self._shape.n_embd, self._shape
        rows = MAX_ROWS + 32  # tiles read whole blocks of rows
        of_attention = layout.tile_bytes(shape.n_ctx, shape.head_size)
        scratch_bytes = layout.BUFFER_BYTES + 128 * 4 * C + of_attention + layout.OWN_BYTES * C
        tiles = np.frombuffer(TILE_SHAPES, np.uint8).copy()
        return Buffers(
            *others,
            head=head,
            head_scales=head_scales,
            cache=self._cache.ctypes.data,
            x=self._keep(zeros((rows, C), np.float32)),
            wide=self._keep(zeros((rows, 4 * C), np.float32)),
            mixed=self._keep(zeros((rows, C), np.float32)),
            rounded=self._keep(zeros((rows, 4 * C), np.uint16)),
            row_scales=self._keep(zeros((rows, 4 * C // 64), np.float32)),
            row_sums=self._keep(zeros((rows, 4 * C // 64), np.float32)),
            scratch=self._keep(zeros((shape.n_threads * scratch_bytes,), np.uint8)),
            scratch_bytes=scratch_bytes,
            tile_shapes=self._keep(tiles),
        )
