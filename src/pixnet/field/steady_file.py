"""A file for HDF5 that survives a full disk."""

from __future__ import annotations

import io
import os
from typing import Any


class SteadyFile(io.FileIO):
    """A file that does not raise when it cannot be written, but remembers the error for `check`.

    HDF5 can crash the whole process if writing fails while it closes a file. So after the first error, this file keeps
    in memory what is written, and HDF5 can read it again from there. Call `check` often, so that this is little.
    """

    failure: OSError | None = None

    def check(self) -> None:
        """Raise the first error of writing, if there was one.

        Raises
        ------
        OSError
            If something could not be written.
        """
        if self.failure is not None:
            raise self.failure

    def write(self, data: Any) -> int:
        """Write all bytes of `data`."""
        position, remaining = self.tell(), memoryview(data)
        try:
            while self.failure is None and len(remaining):
                remaining = remaining[super().write(remaining) :]
        except OSError as error:
            self.failure, self._unwritten = error, []
        if self.failure is not None:
            self._unwritten.append((position, bytes(data)))
            self.seek(position + len(data))
        return len(data)

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a buffer, including those that could not be written to the disk."""
        position, count = self.tell(), super().readinto(buffer)
        if self.failure is None:
            return count
        view = memoryview(buffer)
        for start, data in self._unwritten:
            low, high = max(start, position), min(start + len(data), position + len(view))
            if low < high:
                view[low - position : high - position] = data[low - start : high - start]
        return len(view)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; the end is that of everything written, on the disk or in memory."""
        if self.failure is not None and whence == os.SEEK_END:
            end = max(start + len(data) for start, data in self._unwritten)
            return super().seek(max(end, super().seek(0, os.SEEK_END)) + position)
        return super().seek(position, whence)

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file."""
        try:
            return super().truncate(size) if self.failure is None else 0
        except OSError as error:
            self.failure, self._unwritten = error, [(0, b"")]
            return 0
