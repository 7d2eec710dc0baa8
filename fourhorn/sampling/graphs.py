"""Decoding on an NVIDIA card: a pass is recorded once as a CUDA graph and replayed ever after.

A pass over few tokens launches some two hundred small kernels. A card runs through the weights of 124M in a tenth of a
millisecond, while Python needs several to launch the kernels one by one; a recording launches them all at once. What it
reads and writes has fixed places: the tokens, the lengths, the cache, the result. Attention looks at a fixed number of
positions and masks those not yet written, so there is a recording for every `SPAN` positions of length.

There are two kinds. A step reads one token of every slot, idle ones a token of no effect, so that products have one
shape whoever decodes beside a sequence; only the masked positions that attention looks at depend on the longest one. A
prompt's part, or guesses to verify, are read slot by slot, filled up to one of `WIDTHS`; what the filling writes is
masked, and overwritten by the next tokens. Longer parts, and those near the end of the context, are read as in
`TorchDecoder`, the plain twin of all of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fourhorn.model.cache import KVCache
from fourhorn.model.transformer import GPT2
from fourhorn.sampling.decoder import TorchDecoder

SPAN = 128
WIDTHS = (16, 64, 256)
EVEN = 64  # rows of the head: matrix units read 50,257 of them at a fraction of their speed

Record = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]


class GraphDecoder(TorchDecoder):
    """`TorchDecoder` with recorded passes; `record` makes a function that can be replayed of one that can be called."""

    def __init__(
        self, model: GPT2, n_slots: int = 1, n_ctx: int | None = None, record: Record | None = None
    ) -> None:
        super().__init__(model, n_slots, n_ctx)
        device = self.cache.k.device
        with torch.cuda.device_of(self.cache.k):  # type: ignore[no-untyped-call]
            self._record = record or Recorder()
        # for a step each slot's token, then each slot's length; for a part a slot, its length, its tokens
        self._steps = Mailbox(2 * n_slots, device)
        self._parts = {width: Mailbox(2 + width, device) for width in WIDTHS}
        self._recordings: dict[tuple[int, int], Callable[[], Tensor]] = {}
        weight = model.wte.weight
        self._head = F.pad(weight, (0, 0, 0, -len(weight) % EVEN))

    @torch.inference_mode()
    def read(
        self,
        slots: Sequence[int],
        tokens: Sequence[Sequence[int]],
        *,
        every: bool = False,
        as_steps: bool | None = None,
    ) -> Tensor:
        """See `Decoder`."""
        # a thread begins with the first card
        with torch.cuda.device_of(self.cache.k):  # type: ignore[no-untyped-call]
            if as_steps is not False and all(len(new) == 1 for new in tokens):
                return self._read_one_each(slots, [new[0] for new in tokens])
            return torch.cat([self._read_one_slot(*one, every) for one in zip(slots, tokens, strict=True)])

    def _read_one_each(self, slots: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """One step; what an idle slot writes is overwritten by its next token."""
        new = dict(zip(slots, tokens, strict=True))
        for slot in range(self.n_slots):
            if slot not in new:
                self.truncate(slot, self.n_ctx - 1)
        needed = max(self.lengths[slot] for slot in slots) + 1
        if needed > self.n_ctx:
            raise ValueError(f"{needed} tokens exceed the cache's {self.n_ctx}")
        self._steps.send([*(new.get(slot, 0) for slot in range(self.n_slots)), *self.lengths])
        logits = self._recording(0, needed)()
        for slot in slots:
            self.lengths[slot] += 1
        if list(slots) == list(range(self.n_slots)):
            return logits.clone()
        return logits[torch.tensor(slots, device=logits.device)]

    def _read_one_slot(self, slot: int, tokens: Sequence[int], every: bool) -> Tensor:
        length, n_new = self.lengths[slot], len(tokens)
        width = next((width for width in WIDTHS if width >= n_new), 0)
        if not width or length + width > self.n_ctx:
            return super()._read_one_slot(slot, tokens, every)
        self._parts[width].send([slot, length, *tokens, *[0] * (width - n_new)])
        hidden = self._recording(width, length + width)()[:n_new]  # (T, C)
        self.lengths[slot] += n_new
        return self._logits(hidden if every else hidden[-1:])

    def _recording(self, width: int, needed: int) -> Callable[[], Tensor]:
        """The recording of a step (width 0) or a part that sees `needed` positions."""
        span = min(-(-needed // SPAN) * SPAN, self.n_ctx)
        if (width, span) not in self._recordings:
            function = self._part(width, span) if width else self._step(span)
            self._recordings[width, span] = self._record(function)
        return self._recordings[width, span]

    def _step(self, span: int) -> Callable[[], Tensor]:
        tokens, lengths = self._steps.there.chunk(2)
        rows = FixedRows(self.cache, None, lengths, span)
        return lambda: self._logits(self.model.hidden(tokens[:, None], rows)[:, 0])  # (B, V)

    def _part(self, width: int, span: int) -> Callable[[], Tensor]:
        slot, length, tokens = torch.split(self._parts[width].there, [1, 1, width])
        rows = FixedRows(self.cache, slot, length, span)
        return lambda: self.model.hidden(tokens[None], rows)[0]  # (T, C)

    def _logits(self, hidden: Tensor) -> Tensor:
        """Logits over the vocabulary: (N, C) → (N, V), float32."""
        return F.linear(hidden, self._head)[:, : self.n_vocab].float()


class FixedRows(KVCache):
    """All slots of a cache, or those that a tensor names, read up to `span` positions: what a recorded pass sees."""

    def __init__(self, cache: KVCache, slots: Tensor | None, starts: Tensor, span: int) -> None:
        self.n_ctx, self.k, self.v, self.span = cache.n_ctx, cache.k, cache.v, span
        self.slots, self.starts = slots, starts
        self.lengths = (
            starts.clone()
        )  # what a pass counts up is not looked at: the next starts come from outside
        rows = torch.arange(len(starts), device=starts.device) if slots is None else slots
        self._rows = rows[:, None]  # (B, 1)
        self._keys = torch.arange(span, device=starts.device)  # (S,)

    def begin(self, n_new: int) -> Tensor:
        """See `KVCache.begin`, without asking the card for a number."""
        self._positions = self.starts[:, None] + torch.arange(n_new, device=self.starts.device)  # (B, T)
        self._mask = (self._keys <= self._positions[:, :, None])[:, None]  # (B, 1, T, S)
        return self._positions

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """See `KVCache.append`."""
        keys, values = self.k[layer], self.v[layer]
        keys[self._rows, :, self._positions] = k.transpose(1, 2)
        values[self._rows, :, self._positions] = v.transpose(1, 2)
        if self.slots is not None:
            keys, values = keys[self.slots], values[self.slots]
        return keys[:, :, : self.span], values[:, :, : self.span], self._mask


class Mailbox:
    """Numbers on their way to the card: their fixed place there, and one in main memory that the card can read."""

    def __init__(self, n: int, device: torch.device) -> None:
        self._here = torch.zeros(n, dtype=torch.int64, pin_memory=device.type == "cuda")
        self.there = self._here.to(device)

    def send(self, numbers: Sequence[int]) -> None:
        """Put the numbers in their place before what the card is asked next."""
        if self.there.is_cuda:
            torch.cuda.current_stream().synchronize()  # the last ones have arrived
        self._here[:] = torch.tensor(numbers)
        self.there.copy_(self._here, non_blocking=True)


class Recorder:
    """Records functions of fixed places as CUDA graphs that share their scratch memory."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self, function: Callable[[], Tensor]) -> "Recording":
        """Run the function twice, for libraries to settle, and record its third run."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(2):
                function()
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            result = function()
        return Recording(function, graph, result)


@dataclass(frozen=True)
class Recording:
    """A recorded function; calling it replays the recording, which writes into the same result every time."""

    function: Callable[
        [], Tensor
    ]  # its tensors are what the recording works on: they must live as long as it does
    graph: torch.cuda.CUDAGraph
    result: Tensor

    def __call__(self) -> Tensor:
        self.graph.replay()
        return self.result
