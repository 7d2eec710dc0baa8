import threading
import time

import pytest

from fourhorn.tokenizer.threads import in_order


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_results_come_in_order_however_long_each_takes(n_threads: int) -> None:
    def slowly(n: int) -> int:
        time.sleep(0.004 if n % 3 == 0 else 0)
        return n * n

    assert list(in_order(slowly, iter(range(40)), n_threads)) == [n * n for n in range(40)]


def test_the_caller_works_while_it_waits() -> None:
    who: set[str] = set()
    both = threading.Barrier(2, timeout=20)

    def meet(n: int) -> int:
        if n < 2:
            both.wait()  # passed only if two threads work at once
        who.add(threading.current_thread().name)
        return n

    assert list(in_order(meet, range(10), 2)) == list(range(10))
    assert threading.current_thread().name in who
    assert len(who) == 2


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_an_error_is_raised_when_its_turn_comes(n_threads: int) -> None:
    def divide(n: int) -> float:
        return 1 / (n - 5)

    results = in_order(divide, range(20), n_threads)
    assert [next(results) for _ in range(5)] == [1 / (n - 5) for n in range(5)]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_only_a_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def source():
        for n in range(1000):
            taken.append(n)
            yield n

    results = in_order(lambda n: n, source(), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) < 10
