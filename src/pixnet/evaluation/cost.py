"""What a method costs: time and memory."""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pixnet.files import write_whole

_EVERY = 20  # looks between two notes, so about a second


class Cost:
    """Time and memory of what runs inside: the peak of the whole process, read off twenty times a second.

    Where the system's own mark of the highest memory rose meanwhile, that is exact and is taken instead. Elsewhere
    than on Linux it is the peak since the process began.

    Parameters
    ----------
    note
        JSON file that holds the cost so far, written anew every second: what is left of one that was killed.
    facts
        What stands there beside it.
    """

    seconds = 0.0
    peak_rss_mb = 0.0

    def __init__(self, note: Path | None = None, facts: Mapping[str, Any] | None = None) -> None:
        self._note, self._facts = note, dict(facts or {})

    def __enter__(self) -> Self:
        self._start, self._before, self._peak = time.monotonic(), _highest_mb(), _held_mb()
        self._write(0.0, self._peak)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        highest = _highest_mb()
        self.seconds = time.monotonic() - self._start
        self.peak_rss_mb = highest if highest > self._before else max(self._peak, _held_mb())
        self._write(self.seconds, self.peak_rss_mb)

    def _watch(self) -> None:
        looks = 0
        while not self._done.wait(0.05):
            self._peak = max(self._peak, _held_mb())
            looks += 1
            if looks % _EVERY == 0:
                self._write(time.monotonic() - self._start, self._peak)

    def _write(self, seconds: float, peak_rss_mb: float) -> None:
        if self._note is not None:
            told = {"seconds": seconds, "peak_rss_mb": peak_rss_mb, **self._facts}
            write_whole(self._note, json.dumps(told))


def _held_mb() -> float:
    """Give the memory that the process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return _highest_mb()
    return pages * resource.getpagesize() / 1e6


def _highest_mb() -> float:
    """Give the most memory that the process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
