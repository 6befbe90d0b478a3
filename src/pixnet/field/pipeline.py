"""Reading ahead and writing behind in threads, while the main thread computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

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


class WriteBehind:
    """Runs calls in one thread, in order. An error is raised at the next call, or at the end."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write-behind")
        self._last: Future[Any] | None = None

    def __call__(self, work: Callable[..., object], *arguments: Any) -> None:
        """Wait for the call before, then begin this one."""
        self._wait()
        self._last = self._pool.submit(work, *arguments)

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # An error of the main thread came first, so it is the one to raise.
            if error is None:
                self._wait()
        finally:
            self._pool.shutdown()
