"""A file to write HDF5 to that may be on a full disk."""

from __future__ import annotations

import io
import os
from typing import Any


class SteadyFile(io.FileIO):
    """A file that keeps its first failure to itself, to be asked for with `check`.

    Where HDF5 cannot write, it can crash the whole process as it closes the file. So from the first failure on, what is
    written stays in memory, where HDF5 finds it again; ask often, so that this is little.
    """

    failure: OSError | None = None

    def check(self) -> None:
        """Raise OSError if something could not be written."""
        if self.failure is not None:
            raise self.failure

    def write(self, data: Any) -> int:
        """Write all of some bytes."""
        place, left = self.tell(), memoryview(data)
        try:
            while self.failure is None and len(left):
                left = left[super().write(left) :]
        except OSError as error:
            self.failure, self._kept = error, []
        if self.failure is not None:
            self._kept.append((place, bytes(data)))
            self.seek(place + len(data))
        return len(data)

    def readinto(self, buffer: Any) -> int:
        """Read what was written."""
        place, found = self.tell(), super().readinto(buffer)
        if self.failure is None:
            return found
        view = memoryview(buffer)
        for start, data in self._kept:
            low, high = max(start, place), min(start + len(data), place + len(view))
            if low < high:
                view[low - place : high - place] = data[low - start : high - start]
        return len(view)

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; the end is that of all that was written."""
        if self.failure is not None and whence == os.SEEK_END:
            end = max(start + len(data) for start, data in self._kept)
            return super().seek(max(end, super().seek(0, os.SEEK_END)) + place)
        return super().seek(place, whence)

    def truncate(self, size: int | None = None) -> int:
        """Set the file's size."""
        try:
            return super().truncate(size) if self.failure is None else 0
        except OSError as error:
            self.failure, self._kept = error, [(0, b"")]
            return 0
