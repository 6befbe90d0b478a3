"""What a run costs: time, memory, and image features that it computed or found ready."""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pixnet.files import read_note, write_note
from pixnet.network.device import choose_device

_CHECKS = 20  # memory readings between two writes of the file, about a second
_FEATURES = "features.json"
_SESSIONS = "sessions"
_NO_FEATURES: dict[str, Any] = {"device": "cpu", "features": {"made": 0.0, "found": 0.0}}


class Cost:
    """Time and peak memory of a block of code: the memory of the whole process, read twenty times a second.

    Where the system's own record of the highest memory rose meanwhile, that is exact and is taken instead. On other
    systems than Linux it is the peak since the process began. A JSON file at `path` holds the cost so far beside
    `facts`; it is rewritten every second, so that a kill loses a second at most.
    """

    seconds = 0.0
    peak_rss_mb = 0.0

    def __init__(self, path: Path | None = None, facts: Mapping[str, Any] | None = None) -> None:
        self._path = path
        self._facts = dict(facts or {})

    def __enter__(self) -> Self:
        self._start, self._before, self._peak = time.monotonic(), _highest_mb(), _current_mb()
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
        self.peak_rss_mb = highest if highest > self._before else max(self._peak, _current_mb())
        self._write(self.seconds, self.peak_rss_mb)

    def _watch(self) -> None:
        checks = 0
        while not self._done.wait(0.05):
            self._peak = max(self._peak, _current_mb())
            checks += 1
            if checks % _CHECKS == 0:
                self._write(time.monotonic() - self._start, self._peak)

    def _write(self, seconds: float, peak_rss_mb: float) -> None:
        if self._path is not None:
            write_note(self._path, {"seconds": seconds, "peak_rss_mb": peak_rss_mb, **self._facts})


def next_session(work: Path) -> Cost:
    """Return the cost of the next session of a run, to be entered; the files of all sessions are in `work`."""
    import torch  # imported before the session begins, so that the first method does not pay for it

    folder = work / _SESSIONS
    folder.mkdir(parents=True, exist_ok=True)
    return Cost(folder / f"{len(_sessions(work))}.json", {"threads": torch.get_num_threads()})


def total_cost(work: Path) -> dict[str, Any]:
    """Return what a run cost over all its sessions, with the device and features that its method recorded."""
    # A session whose file was damaged is not counted; the last one has just been written.
    sessions = [session for path in _sessions(work) if (session := read_note(path))]
    return {
        "seconds": sum(session["seconds"] for session in sessions),
        "peak_rss_mb": max(session["peak_rss_mb"] for session in sessions),
        "threads": sessions[-1]["threads"],
        "resumed": len(sessions) > 1,
        "sessions": sessions,
        **(read_note(work / _FEATURES) or _NO_FEATURES),
    }


def record_features(work: Path, device: str, features: Mapping[str, float | None] | None = None) -> None:
    """Record where a method ran and the seconds that its image features took (see `total_costs`), none by default.

    A method that records nothing ran on the CPU and shares no features.
    """
    used = choose_device(device)
    if used == "cuda":
        import torch

        used = f"cuda ({torch.cuda.get_device_name()})"
    facts = {"device": used, "features": features or _NO_FEATURES["features"]}
    write_note(work / _FEATURES, facts)


def _sessions(work: Path) -> list[Path]:
    return sorted((work / _SESSIONS).glob("*.json"), key=lambda path: int(path.stem))


def _current_mb() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return _highest_mb()
    return pages * resource.getpagesize() / 1e6


def _highest_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
