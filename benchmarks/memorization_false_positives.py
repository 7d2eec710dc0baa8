"""Claim: the filter's false-positive rate is what its formula says, and at 1e-8 it is tried with 3·10⁸ strangers.

The paper states a bound of 1e-8 and tried a million strings, which shows only 3e-6. Here filters of 10³, 10⁵ and 10⁷
8-grams are asked for 8-grams of tokens that no text has, enough of them for the stated rate to be seen.

    python benchmarks/memorization_false_positives.py
"""

import math
import time

import numpy as np
from table import write_table

from fourhorn.memorization.bloom import BloomFilter, false_positive_rate

SIZES = (10**3, 10**5, 10**7)
PROBES = {1e-2: 20_000_000, 1e-4: 50_000_000, 1e-8: 300_000_000}


def poisson_interval(mean: float, share: float = 0.99) -> tuple[int, int]:
    """The hits that `share` of trials lie between when `mean` are expected."""
    low, high, below, term = 0, 0, 0.0, math.exp(-mean) if mean < 700 else 0.0
    if mean >= 700:
        half = 2.576 * math.sqrt(mean)
        return math.floor(mean - half), math.ceil(mean + half)
    k = 0
    while below + term < 1 - (1 - share) / 2:
        below += term
        if below <= (1 - share) / 2:
            low = k + 1
        k += 1
        term *= mean / k
        high = k
    return low, high


def main() -> None:
    """Fill, probe, compare, write the table."""
    rows = []
    for n_items in SIZES:
        for rate, n_probes in PROBES.items():
            filter_ = BloomFilter.sized(n_items, rate)
            filter_.add(np.random.default_rng(n_items).integers(0, 2**64, n_items, dtype=np.uint64))
            formula, deviation = false_positive_rate(
                n_items, filter_.shape.n_blocks, filter_.shape.bits_per_lane
            )
            present = filter_.present_rate()
            started = time.process_time()
            n_hits = filter_.probe(n_probes, seed=1)
            seconds = time.process_time() - started
            low, high = poisson_interval(present * n_probes)
            within = "yes" if low <= n_hits <= high else "NO"
            bits = filter_.shape.n_bits / n_items
            row = [f"{n_items:.0e}", f"{rate:.0e}", f"{bits:.1f}", filter_.shape.n_hashes]
            row += [f"{formula:.2e} ± {deviation:.0e}", f"{present:.2e}", f"{n_probes:.0e}", n_hits]
            row += [f"{n_hits / n_probes:.2e}", f"{low} to {high}", within, f"{n_probes / 1e6 / seconds:.0f}"]
            rows.append(row)
    head = (
        "8-grams",
        "bound",
        "bits per key",
        "hashes",
        "formula, ± between filters",
        "rate of the bits set",
        "probes",
    )
    head += ("hits", "measured", "99 % interval", "within", "M probes/s")
    notes = [
        "The interval is Poisson's around the rate that the bits now set give; every such rate is below its bound."
    ]
    write_table(__file__, "False-positive rate of the Bloom filter", head, rows, notes)


if __name__ == "__main__":
    main()
