"""Matrix products of any size from blocks of 32 × 32, with what follows a product done while its result is at hand.

The left operand is packed a panel at a time into the second-level cache; a column of blocks of the right operand, at
most `CHUNK` deep, stays in the first-level cache while the panel's row blocks pass over it. Meanwhile the next one, and
what the next block's result is added to, are asked for.

In: addresses (`amx.address`) of left (M, K) bfloat16, or (K, M) with `turned`, rows `left_row` bytes apart; of right,
packed by `pack_right` or `pack_right_turned`. Out: by `mode`. Sides are multiples of 32, addresses of 64 bytes.
"""
# mypy: disable-error-code="call-arg, var-annotated, no-untyped-call"

from numba import njit

from fourhorn.training.kernels.amx import BLOCK, BLOCK_NUMBERS, OPTIONS, add_block_product_and_fetch
from fourhorn.training.kernels.finish import ADD, GELU, RESIDUAL, SET, SLOPE, SUMS_ROW, finish
from fourhorn.training.kernels.pack import left_block, left_block_turned

PANEL_NUMBERS = 1 << 19  # bfloat16 numbers of a packed panel: 1 MiB
PANEL_ROWS = 512
CHUNK = 8  # blocks along K that stay in the first-level cache: 16 KiB, and as much of the left operand
BLOCK_BYTES = 2 * BLOCK_NUMBERS
BLOCK_LINES = BLOCK_BYTES // 64  # cache lines
SUMS_BYTES = 4 * BLOCK_NUMBERS


def scratch_numbers(most_k: int) -> int:
    """uint16 numbers `product` needs as scratch for products over at most `most_k`."""
    return max(PANEL_NUMBERS, BLOCK * most_k) + 2 * PANEL_ROWS * BLOCK + 2 * BLOCK_NUMBERS


@njit(**OPTIONS)
def product(
    mode: int, left: int, left_row: int, turned: bool, m: int, k: int, right: int, n: int, scratch: int,
    first: int, first_row: int, second: int, second_row: int, bias: int,
) -> None:  # fmt: skip
    """left · right, finished as `mode` says; `first` and `second` are matrices of M rows.

    LOW       first = result + bias                         bfloat16
    GELU      first = result + bias, second = its GELU      bfloat16
    RESIDUAL  first = second + result + bias                float32
    SLOPE     first = result · GELU′(second), then second = GELU(second)    bfloat16
    SET, ADD  first = result, first += result               float32
    """
    n_k = k // BLOCK
    size = 4 if mode >= SET or mode == RESIDUAL else 2
    panel_rows = max(min(PANEL_NUMBERS // k, PANEL_ROWS) // BLOCK, 1) * BLOCK
    spare = scratch + 2 * max(PANEL_NUMBERS, BLOCK * k)
    sums = spare + 2 * BLOCK_NUMBERS
    for m0 in range(0, m, panel_rows):
        n_m = min(panel_rows, m - m0) // BLOCK
        for i in range(n_m):
            for j in range(n_k):
                target = scratch + BLOCK_BYTES * (i * n_k + j)
                if turned:
                    left_block_turned(
                        left + j * BLOCK * left_row + 2 * (m0 + i * BLOCK), left_row, target, spare
                    )
                else:
                    left_block(left + (m0 + i * BLOCK) * left_row + j * 64, left_row, target)
        for column in range(n // BLOCK):
            column_of_blocks(
                mode, scratch, n_m, n_k, right + BLOCK_BYTES * column * n_k, sums,
                first + m0 * first_row + size * BLOCK * column, first_row,
                second + m0 * second_row + size * BLOCK * column, second_row, bias + 4 * BLOCK * column,
            )  # fmt: skip


@njit(**OPTIONS)
def column_of_blocks(
    mode: int, panel: int, n_m: int, n_k: int, right: int, sums: int, first: int, first_row: int, second: int,
    second_row: int, bias: int,
) -> None:  # fmt: skip
    """One column of a panel's result: `n_m` blocks of rows times one column of `n_k` blocks at `right`."""
    direct = mode >= SET
    n_lines = (BLOCK_LINES + n_m - 1) // n_m
    for j in range(0, n_k, CHUNK):
        depth = min(CHUNK, n_k - j)
        last, here = j + depth == n_k, right + BLOCK_BYTES * j
        # Rows to ask for with each product, so that no store or load of them waits for the memory.
        n_rows = (BLOCK + depth - 1) // depth
        n_first = n_rows if (j == 0 if mode == ADD else last) else 0
        n_second = n_rows if last and mode in (GELU, RESIDUAL, SLOPE) else 0
        for i in range(n_m):
            place, other, block = (
                first + i * BLOCK * first_row,
                second + i * BLOCK * second_row,
                sums + SUMS_BYTES * i,
            )
            start, start_row, out, out_row = block, SUMS_ROW, block, SUMS_ROW
            if j == 0:
                start, start_row = place if mode == ADD else 0, first_row
            if direct and last:
                out, out_row = place, first_row
            wanted = place
            if mode == ADD:  # it is read at once, so the next block's
                wanted = place + BLOCK * first_row if i + 1 < n_m else first + 4 * BLOCK
            add_block_product_and_fetch(
                out, out_row, start, start_row, panel + BLOCK_BYTES * (i * n_k + j), here, depth,
                here + BLOCK_BYTES * depth + 64 * n_lines * depth * i, n_lines,
                wanted, first_row, 64 if direct or mode == RESIDUAL else 0, n_first,
                other, second_row, 64 if mode == RESIDUAL else 0, n_second,
            )  # fmt: skip
            if last and not direct and i > 0:  # one block behind: tiles just stored are slow to read
                finish(
                    mode, block - SUMS_BYTES, place - BLOCK * first_row, first_row, other - BLOCK * second_row,
                    second_row, bias,
                )  # fmt: skip
    if not direct:
        row = (n_m - 1) * BLOCK
        finish(
            mode, sums + SUMS_BYTES * (n_m - 1), first + row * first_row, first_row, second + row * second_row,
            second_row, bias,
        )  # fmt: skip
