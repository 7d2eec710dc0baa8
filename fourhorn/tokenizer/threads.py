"""`map` with several threads, in order: how batches of text are worked on while the next are read."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from fourhorn.errors import UserError

A = TypeVar("A")
B = TypeVar("B")


def at_least_one(**options: int) -> None:
    """Refuse options, given by name, that are below one."""
    for name, value in options.items():
        if value < 1:
            raise UserError(f"{name} {value} is impossible: give 1 or more.")


def in_order(function: Callable[[A], B], work: Iterable[A], n_threads: int) -> Iterator[B]:
    """`map(function, work)` with `n_threads` threads; only a few items of `work` are taken ahead."""
    if n_threads <= 1:
        yield from map(function, work)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        waiting: deque[Future[B]] = deque()
        for item in work:
            waiting.append(pool.submit(function, item))
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
