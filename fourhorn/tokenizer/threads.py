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
    """`map(function, work)` with `n_threads` threads; only a few items of `work` are taken ahead.

    The calling thread is one of them: while the next result is not there, it works on what nobody has begun. A thread
    that only waited would be woken for each result, on a processor that another one uses.
    """
    if n_threads <= 1:
        yield from map(function, work)
        return
    with ThreadPoolExecutor(n_threads - 1) as pool:
        waiting: deque[tuple[Future[B], A]] = deque()
        for item in work:
            waiting.append((pool.submit(function, item), item))
            if len(waiting) > 2 * n_threads:
                yield _first(function, waiting)
        while waiting:
            yield _first(function, waiting)


def _first(function: Callable[[A], B], waiting: "deque[tuple[Future[B], A]]") -> B:
    """Take the first result out of `waiting`, doing items behind it meanwhile."""
    while not waiting[0][0].done():
        mine = next((i for i, (future, _) in enumerate(waiting) if future.cancel()), None)
        if mine is None:
            break
        done: Future[B] = Future()
        try:
            done.set_result(function(waiting[mine][1]))
        except Exception as error:
            done.set_exception(error)  # raised when its turn comes
        waiting[mine] = done, waiting[mine][1]
    return waiting.popleft()[0].result()
