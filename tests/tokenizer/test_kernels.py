"""The language of kernels means what Python means; machine code is found on disk, and made anew where it is not."""

import ctypes
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fourhorn.tokenizer.kernels import library
from fourhorn.tokenizer.kernels.functions import Function, inner

ROOT = Path(__file__).parents[2]
LIMIT = 7


def native(python: Callable[..., int]) -> Callable[..., int]:
    """Compile one function."""
    kernel, machine = Function(python, exported=True), library.target_machine()
    address = library.loaded(library.compiled(machine, [kernel]), machine, [kernel])[kernel.name]
    return ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * kernel.n_arguments)(address)


def arithmetic(a: int, b: int) -> int:
    c = (a + b) * 3 - (a & b) | (a ^ ~b)
    c -= (b >> 3) + (-a << 2)
    return max(c, min(a, b)) + (a < b) + (a == b) - (not c > LIMIT)


def loops(a: int, b: int) -> int:
    total = 0
    for i in range(a & 31):
        if i == 20:
            break
        for j in range(3, i, 2):
            if j & 4:
                continue
            total += i * j
        i = 1000  # does not change how often the loop runs
    for k in range(b & 15, -2, -3):
        total = total * 3 + k
    while True:
        total -= 5
        if total < 100:
            return total if total > 0 and b != 3 else -total
        if total > 300 or a == b:
            total >>= 1


@inner
def halves(a: int, b: int) -> tuple[int, int]:
    if a < b:
        return b, a
    return a, b


def calls(a: int, b: int) -> int:
    larger, smaller = halves(a, b)
    x = y = smaller
    if (a < 0 or b < 0) and not (a < 0 and b < 0):
        return 1
    elif x != larger:
        x, y = y + 1, larger
    return x * 10 - y


@pytest.mark.parametrize("python", [arithmetic, loops, calls])
def test_machine_code_gives_what_python_gives(
    python: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(0)
    compiled = native(python)
    monkeypatch.setitem(globals(), "halves", halves.python)
    for _ in range(500):
        a, b = (rng.randrange(-50, 50) for _ in range(2))
        assert compiled(a, b) == python(a, b), (a, b)


def test_other_python_is_refused_with_its_line() -> None:
    def divides(a: int, b: int) -> int:
        c = a
        return c // b

    with pytest.raises(
        TypeError, match=rf"test_kernels.py:{divides.__code__.co_firstlineno + 2}: c // b cannot"
    ):
        native(divides)


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    code = (
        "from fourhorn.tokenizer import Tokenizer\n"
        "t = Tokenizer.train(['hello hello'], n_vocab=258)\n"
        "print(t.engine, t.encode_ordinary('hello'))"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )


def test_damaged_machine_code_is_made_anew(tmp_path: Path) -> None:
    first = run(FOURHORN_CACHE_DIR=str(tmp_path))
    assert first.stdout == "compiled [71, 256, 75, 78]\n"
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    assert len(whole) > 10_000
    path.write_bytes(whole[:-100])
    assert run(FOURHORN_CACHE_DIR=str(tmp_path)).stdout == first.stdout
    assert path.stat().st_size == len(whole)


def test_without_a_place_for_machine_code_the_fast_engine_works_and_says_so() -> None:
    result = run(FOURHORN_CACHE_DIR="/dev/null/nowhere")
    assert result.stdout == "compiled [71, 256, 75, 78]\n"
    assert result.stderr.count("Set FOURHORN_CACHE_DIR to a folder that can be written to") == 1
