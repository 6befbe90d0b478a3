"""The sittings that a computation took: the cost of each is noted while it goes on, so that a kill loses a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pixnet.evaluation.cost import Cost


class Sittings:
    """The sittings of one computation.

    Parameters
    ----------
    folder
        For a file of each, which must outlive a kill.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sit(self) -> Cost:
        """Give the next sitting, to be entered."""
        import torch  # here and not within the sitting, for the first method would pay for all

        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / f"{len(self._notes())}.json"
        return Cost(note, {"threads": torch.get_num_threads()})

    def facts(self) -> dict[str, Any]:
        """Give `seconds` (their sum), `peak_rss_mb` (the highest), `threads` (of the last), `resumed`, `sittings`."""
        each = [json.loads(path.read_text(encoding="utf-8")) for path in self._notes()]
        return {
            "seconds": sum(one["seconds"] for one in each),
            "peak_rss_mb": max(one["peak_rss_mb"] for one in each),
            "threads": each[-1]["threads"],
            "resumed": len(each) > 1,
            "sittings": each,
        }

    def _notes(self) -> list[Path]:
        return sorted(self.folder.glob("*.json"), key=lambda path: int(path.stem))
