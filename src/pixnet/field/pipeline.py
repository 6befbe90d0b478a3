"""Reading ahead and writing behind in threads, while the main thread computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(items: Iterable[Item], read: Callable[[Item], Result], workers: int) -> Iterator[tuple[Item, Result]]:
    """Yield each item with the result of `read`, in order, while threads read up to `workers` later items."""
    remaining = iter(items)
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="read-ahead")
    try:
        while True:
            while len(waiting) <= workers and (item := next(remaining, None)) is not None:
                waiting.append((item, pool.submit(read, item)))
            if not waiting:
                return
            item, future = waiting.popleft()
            yield item, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def write_behind() -> Iterator[Callable[..., None]]:
    """Yield a function that runs calls in one thread, in order. An error is raised at the next call, or at the end."""
    running: deque[Future[Any]] = deque()

    def finish_last() -> None:
        while running:
            running.popleft().result()

    def write(work: Callable[..., object], *arguments: Any) -> None:
        finish_last()
        running.append(pool.submit(work, *arguments))

    with ThreadPoolExecutor(1, thread_name_prefix="write-behind") as pool:
        yield write
        # Not after an error of the main thread: that came first, so it is the one to raise.
        finish_last()
