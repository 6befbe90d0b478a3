"""Progress of a long run: a bar on a terminal, a line every 30 seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_EVERY_SECONDS = 30.0


class Progress:
    """Progress report; call it with the name of a stage, the work done, the total work and a few words.

    It goes to stderr by default, so that a command's output can be piped. Bars are drawn on a `terminal`; by default
    that is what the stream is. Otherwise a line is written every 30 seconds and at the end of each stage.
    """

    def __init__(
        self, stream: TextIO | None = None, terminal: bool | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty() if terminal is None else terminal
        self._clock = clock
        self._start = clock()
        self._last_line = self._start
        self._stage = ""
        self._stage_ended = False  # whether the line for the end of the stage was written
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if self._terminal:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description:<10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[words]}", markup=False),
                console=Console(file=self._stream, force_terminal=True),
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int, words: str = "") -> None:
        """Report how far a stage is, with anything else in `words`, such as a speed."""
        if self._bars is not None:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=total, words="")
            self._bars.update(self._tasks[stage], completed=done, total=total, words=words)
            return
        now = self._clock()
        if self._stage != stage or done < total:
            self._stage = stage
            self._stage_ended = False
        at_end = done >= total and not self._stage_ended
        if at_end or now - self._last_line >= _EVERY_SECONDS:
            self._stage_ended = done >= total
            self._last_line = now
            parts = [f"{stage} {done}/{total}", words, f"{clock_time(now - self._start)} elapsed"]
            print(", ".join(part for part in parts if part), file=self._stream, flush=True)


def clock_time(seconds: float) -> str:
    """Return a time in seconds as text, such as 1:05 or 2:01:05."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
