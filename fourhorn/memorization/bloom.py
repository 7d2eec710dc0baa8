# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,call-arg"
"""A Bloom filter as the paper's: train once, ask any set later, at a stated false-positive rate.

§4 bounds the rate by 1e-8. The filter is blocked: a key touches one cache line of 512 bits, as 8 lanes of 64 bits with
1, 2 or 3 bits set in each. So adding or asking is one memory access and a few vector instructions, for 65 bits per key
at 1e-8 where the classic layout takes 38 bits and 27 accesses.

Arithmetic (`false_positive_rate`): n keys over b blocks give a block a Poisson(n/b) number j of keys. A lane then has
seen r·j throws into 64 places; with p(s) the chance that s of them are filled, a stranger's r places are all filled
with g(j) = Σ p(s)·(s/64)^r, and the whole block with g(j)^8. The rate is the Poisson mean of g^8. `size` takes the
least memory at which that mean plus four standard deviations between filters stays below the wished rate.
Two different n-grams with one 64-bit hash are the same key: n / 2^64 more, 3e-10 at the 6e9 8-grams of 40 GB.

Files: a header line of JSON (magic, counts, kind of n-gram, sha256) padded to 4,096 bytes, then the lanes as
little-endian uint64, to be memory-mapped. Raises `UserError` for a damaged file and for merging
filters of different shape.
"""

import hashlib
import json
import mmap
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fourhorn.errors import UserError
from fourhorn.files import atomic_write
from fourhorn.memorization.kernels import BASE, CACHED, FOLD, MIX_1, MIX_2, SEED, U64, mix
from fourhorn.memorization.ngrams import Hashes

MAGIC, VERSION = "fourhorn-bloom", 1
HEADER_BYTES = 4096
N_LANES, LANE_BITS = 8, 64
BLOCK_BITS = N_LANES * LANE_BITS
AHEAD = 16  # keys whose cache line is asked for before its turn
LANE_SALTS = (
    *(0x8A5CD789635D2DFF, 0x121FD2155C472F96, 0xC7A7EDF2D7C4CB43, 0x3B2C5A9E7F0D8E61),
    *(0x6D0F27BD1F3B52A5, 0xE4A1B7C2F98D6037, 0x52F6E0A9B3C41D8B, 0x99DC3F8E21075AC9),
)
Lanes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Shape:
    """What two filters must share to be merged, and what a question must share with its filter."""

    n_blocks: int
    bits_per_lane: int
    ngram: int = 8
    unit: str = "bpe"
    tokenizer_sha256: str | None = None

    @property
    def n_bits(self) -> int:
        """Size of the filter, in bits."""
        return self.n_blocks * BLOCK_BITS

    @property
    def n_hashes(self) -> int:
        """Bits set per key."""
        return self.bits_per_lane * N_LANES


# ------------------------------------------------------------------------------------------------- arithmetic


@lru_cache(maxsize=8)
def _block_rates(bits_per_lane: int, most_keys: int) -> npt.NDArray[np.float64]:
    """The chance that a stranger finds all its bits set in a block of j keys, for j = 0 … most_keys."""
    filled = np.arange(LANE_BITS + 1) / LANE_BITS
    chance = np.zeros(LANE_BITS + 1)
    chance[0] = 1.0
    rates = [0.0]
    for _ in range(most_keys):
        for _ in range(bits_per_lane):
            moved = chance * (1 - filled)
            chance = chance * filled
            chance[1:] += moved[:-1]
        rates.append(float((chance * filled**bits_per_lane).sum()))
    return np.array(rates) ** N_LANES


def false_positive_rate(n_items: int, n_blocks: int, bits_per_lane: int) -> tuple[float, float]:
    """The expected rate after `n_items` distinct keys, and its standard deviation from filter to filter."""
    mean = n_items / n_blocks
    most = 1 << int(mean + 12 * mean**0.5 + 30).bit_length()
    j = np.arange(most + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])
    weight = np.exp(j * np.log(max(mean, 1e-300)) - mean - log_factorial)
    rates = _block_rates(bits_per_lane, most)
    expected = float((weight * rates).sum())
    variance = max(float((weight * rates**2).sum()) - expected**2, 0.0)
    return expected, (variance / n_blocks) ** 0.5


def size(n_items: int, rate: float) -> tuple[int, int]:
    """Blocks and bits per lane of the smallest filter that holds `n_items` at `rate` or below."""
    if not 1e-12 <= rate < 1:
        raise UserError(f"false_positive_rate {rate} is not between 1e-12 and 1; the paper's bound is 1e-8.")
    best: tuple[int, int] | None = None
    for bits_per_lane in (1, 2, 3):
        low, high = 0, 1
        while not _holds(n_items, high, bits_per_lane, rate):
            low, high = high, 2 * high
        while high - low > 1 and high - low > high // 4096:
            middle = (low + high) // 2
            low, high = (low, middle) if _holds(n_items, middle, bits_per_lane, rate) else (middle, high)
        if best is None or high < best[0]:
            best = high, bits_per_lane
    assert best is not None
    return best


def _holds(n_items: int, n_blocks: int, bits_per_lane: int, rate: float) -> bool:
    if n_items > 400 * n_blocks:
        return False
    expected, deviation = false_positive_rate(n_items, n_blocks, bits_per_lane)
    return expected + 4 * deviation <= rate


# ------------------------------------------------------------------------------------------------- the filter


class BloomFilter:
    """A set of n-gram hashes that forgets none and takes a stranger for a member at a bounded rate."""

    def __init__(self, shape: Shape, lanes: Lanes, *, n_items: int, rate: float, n_added: int = 0) -> None:
        self.shape, self.lanes, self.n_items, self.rate, self.n_added = shape, lanes, n_items, rate, n_added

    @classmethod
    def sized(
        cls,
        n_items: int,
        false_positive_rate: float = 1e-8,
        *,
        ngram: int = 8,
        unit: str = "bpe",
        tokenizer_sha256: str | None = None,
    ) -> "BloomFilter":
        """An empty filter for `n_items` distinct n-grams."""
        if n_items < 1:
            raise UserError(f"n_items {n_items} must be at least 1: the number of n-grams to be held.")
        n_blocks, bits_per_lane = size(n_items, false_positive_rate)
        shape = Shape(n_blocks, bits_per_lane, ngram, unit, tokenizer_sha256)
        return cls(shape, _zeros(n_blocks), n_items=n_items, rate=false_positive_rate)

    def add(self, hashes: Hashes) -> None:
        """Add n-grams; a filter is filled by one thread (several fill one each, then `merge`)."""
        bloom_add(hashes, self.lanes, self.shape.bits_per_lane)
        self.n_added += len(hashes)

    def contains(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Which n-grams are members, or taken for one."""
        found = np.zeros(len(hashes), dtype=np.bool_)
        bloom_contains(hashes, self.lanes, self.shape.bits_per_lane, found)
        return found

    def merge(self, other: "BloomFilter") -> None:
        """Take in all members of a filter of the same shape."""
        if self.shape != other.shape:
            raise UserError(f"Filters of different shape cannot be merged: {self.shape} and {other.shape}.")
        np.bitwise_or(self.lanes, other.lanes, out=self.lanes)
        self.n_added += other.n_added

    def present_rate(self) -> float:
        """The false-positive rate that the bits now set give: the mean over blocks of Π over lanes (filled / 64)^r."""
        total, step = 0.0, 1 << 18
        for start in range(0, self.shape.n_blocks, step):
            lanes = self.lanes[start * N_LANES : (start + step) * N_LANES].reshape(-1, N_LANES)
            filled = np.bitwise_count(lanes) / LANE_BITS
            total += float((filled.prod(axis=1) ** self.shape.bits_per_lane).sum())
        return total / self.shape.n_blocks + self.n_added / 2.0**64

    def probe(self, n_probes: int, seed: int = 0) -> int:
        """How many of `n_probes` random n-grams that no text has are taken for members (the paper tried 1e6)."""
        n_hits, step = 0, 1 << 18
        hashes, found = np.zeros(step, dtype=np.uint64), np.zeros(step, dtype=np.bool_)
        for start in range(0, n_probes, step):
            part = hashes[: min(step, n_probes - start)]
            random_ngrams((seed << 40) + start, self.shape.ngram, part)
            n_hits += int(bloom_contains(part, self.lanes, self.shape.bits_per_lane, found))
        return n_hits

    def describe(self) -> str:
        """The filter in one line."""
        return (
            f"{self.n_added:,} {self.shape.ngram}-grams ({self.shape.unit}) in {self.lanes.nbytes / 1e6:,.1f} MB, "
            f"{self.shape.n_hashes} bits each, false-positive rate {self.present_rate():.2e} (bound {self.rate:.0e})"
        )

    def save(self, path: str | Path) -> None:
        """Write the filter with its checksum, atomically."""
        header = {"magic": MAGIC, "version": VERSION, **asdict(self.shape)}
        header |= {"n_items": self.n_items, "n_added": self.n_added, "false_positive_rate": self.rate}
        header["sha256"] = hashlib.sha256(self.lanes.data).hexdigest()
        with atomic_write(path) as file:
            file.write(json.dumps(header).encode().ljust(HEADER_BYTES - 1) + b"\n")
            file.write(self.lanes.data)

    @classmethod
    def load(cls, path: str | Path, *, verify: bool = True) -> "BloomFilter":
        """Memory-map a saved filter; `verify` reads it once and compares its checksum. Adding copies pages."""
        try:
            with open(path, "rb") as file:
                header: dict[str, Any] = json.loads(file.read(HEADER_BYTES))
            if header.pop("magic") != MAGIC or header.pop("version") != VERSION:
                raise ValueError("another kind of file or version")
            sha256, n_items, n_added = header.pop("sha256"), header.pop("n_items"), header.pop("n_added")
            rate, shape = header.pop("false_positive_rate"), Shape(**header)
            lanes = np.memmap(path, "<u8", mode="c", offset=HEADER_BYTES, shape=(shape.n_blocks * N_LANES,))
            if verify and hashlib.sha256(lanes.data).hexdigest() != sha256:
                raise ValueError("its checksum does not match")
        except FileNotFoundError:
            raise UserError(f"{path} does not exist. Build it: fourhorn bloom build.") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no whole Bloom filter: {error}. Build it again.") from None
        return cls(shape, lanes.view(np.ndarray), n_items=n_items, rate=rate, n_added=n_added)

    def grown(self, n_blocks: int) -> "BloomFilter":
        """An empty filter of the same kind with another number of blocks."""
        shape = replace(self.shape, n_blocks=n_blocks)
        return BloomFilter(shape, _zeros(n_blocks), n_items=self.n_items, rate=self.rate)


def _zeros(n_blocks: int) -> Lanes:
    """Zeroed lanes on a page boundary, in huge pages where the system has them: far fewer address look-ups."""
    memory = mmap.mmap(-1, n_blocks * BLOCK_BITS // 8)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype=np.uint64)


# ---------------------------------------------------------------------------------------------------- kernels

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_BLOCK = ir.VectorType(_I64, N_LANES)


def _splat(builder: Any, value: Any) -> Any:
    first = builder.insert_element(ir.Constant(_BLOCK, ir.Undefined), value, ir.Constant(_I32, 0))
    order = ir.Constant(ir.VectorType(_I32, N_LANES), [0] * N_LANES)
    return builder.shuffle_vector(first, ir.Constant(_BLOCK, ir.Undefined), order)


def _each(value: Any) -> Any:
    values = [int(v) for v in value] if isinstance(value, tuple) else [int(value)] * N_LANES
    return ir.Constant(_BLOCK, values)


def _pattern(builder: Any, h: Any, bits_per_lane: Any) -> Any:
    """A key's bits in its block: lane l's places are slices of six bits from the top of a product of its own.

    (Places by double hashing within the block are not independent: measured elsewhere, 9e-5 in place of 1e-8.)
    """
    x = builder.mul(builder.xor(_splat(builder, h), _each(LANE_SALTS)), _each(MIX_1))
    x = builder.mul(builder.xor(x, builder.lshr(x, _each(32))), _each(MIX_2))
    bits = builder.shl(_each(1), builder.lshr(x, _each(58)))
    for k in (1, 2):
        more = builder.shl(_each(1), builder.and_(builder.lshr(x, _each(58 - 6 * k)), _each(63)))
        wanted = builder.icmp_signed(">", bits_per_lane, ir.Constant(_I64, k))
        bits = builder.or_(bits, builder.select(wanted, more, _each(0)))
    return bits


def _block(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    view = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.bitcast(builder.gep(view.data, [arguments[1]]), ir.PointerType(_BLOCK))


@intrinsic
def prefetch(typing: Any, lanes: Any, start: Any) -> Any:
    """Ask for the cache line of `lanes[start]` before it is needed."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = builder.bitcast(_block(context, builder, signature, arguments), ir.PointerType(_I8))
        kind = ir.FunctionType(ir.VoidType(), [ir.PointerType(_I8), _I32, _I32, _I32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [ir.PointerType(_I8)], kind)
        builder.call(function, [address, _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(lanes, types.intp), generate


@intrinsic
def set_block(typing: Any, lanes: Any, start: Any, h: Any, bits_per_lane: Any) -> Any:
    """Set a key's bits in the block that begins at `lanes[start]`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _block(context, builder, signature, arguments)
        pattern = _pattern(builder, arguments[2], arguments[3])
        builder.store(builder.or_(builder.load(address, align=8), pattern), address, align=8)
        return context.get_dummy_value()

    return types.void(lanes, types.intp, types.uint64, types.int64), generate


@intrinsic
def has_block(typing: Any, lanes: Any, start: Any, h: Any, bits_per_lane: Any) -> Any:
    """Whether all of a key's bits are set in the block that begins at `lanes[start]`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pattern = _pattern(builder, arguments[2], arguments[3])
        here = builder.load(_block(context, builder, signature, arguments), align=8)
        lanes_equal = builder.icmp_unsigned("==", builder.and_(here, pattern), pattern)
        return builder.icmp_unsigned("==", builder.bitcast(lanes_equal, _I8), ir.Constant(_I8, 255))

    return types.boolean(lanes, types.intp, types.uint64, types.int64), generate


@njit(inline="always")
def high_product(a, b):
    """The upper 64 bits of a 64 × 64 bit product: `a` scaled from [0, 2^64) to [0, b)."""
    low, a_high, b_high = U64(0xFFFFFFFF), a >> U64(32), b >> U64(32)
    a_low, b_low = a & low, b & low
    middle = a_high * b_low + ((a_low * b_low) >> U64(32))
    return a_high * b_high + (middle >> U64(32)) + (((middle & low) + a_low * b_high) >> U64(32))


@njit(**CACHED)
def bloom_add(hashes, lanes, bits_per_lane):
    """Set the bits of every hash; `lanes` is uint64 (8 · blocks,)."""
    n_blocks = U64(len(lanes) // N_LANES)
    for i in range(len(hashes)):
        if i + AHEAD < len(hashes):
            prefetch(lanes, np.intp(high_product(hashes[i + AHEAD], n_blocks) * U64(N_LANES)))
        start = np.intp(high_product(hashes[i], n_blocks) * U64(N_LANES))
        set_block(lanes, start, mix(hashes[i]), bits_per_lane)


@njit(**CACHED)
def bloom_contains(hashes, lanes, bits_per_lane, found):
    """`found[i]` = whether all bits of `hashes[i]` are set; returns how many are found."""
    n_blocks, n_found = U64(len(lanes) // N_LANES), 0
    for i in range(len(hashes)):
        if i + AHEAD < len(hashes):
            prefetch(lanes, np.intp(high_product(hashes[i + AHEAD], n_blocks) * U64(N_LANES)))
        start = np.intp(high_product(hashes[i], n_blocks) * U64(N_LANES))
        found[i] = has_block(lanes, start, mix(hashes[i]), bits_per_lane)
        n_found += found[i]
    return n_found


@njit(**CACHED)
def random_ngrams(first, n, hashes):
    """Hashes of n-grams of random tokens at or above 2^32, which no text has; `first` numbers the first of them."""
    for i in range(len(hashes)):
        polynomial = U64(0)
        state = mix(U64(first) + U64(i)) ^ FOLD
        for _ in range(n):
            state += SEED
            token = mix(state) | U64(1 << 32)
            polynomial = polynomial * BASE + mix(SEED + token)
        hashes[i] = mix(polynomial)
