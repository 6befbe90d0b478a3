"""Reading ahead and writing behind in threads, while something slower computes in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(items: Iterable[Item], read: Callable[[Item], Result], workers: int) -> Iterator[tuple[Item, Result]]:
    """Give each item with what `read` makes of it, in order, while up to `workers` later ones are being read."""
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
    """Runs one piece of work at a time in a thread, in order; a failure shows at the next call, or at the end."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write-behind")
        self._last: Future[Any] | None = None

    def __call__(self, work: Callable[..., object], *arguments: Any) -> None:
        """Wait for the work before, then begin this one."""
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
            # What failed first is what matters.
            if error is None:
                self._wait()
        finally:
            self._pool.shutdown()
