"""Limit to the memory that a file may take when it is read, whatever it declares or unpacks to.

The limit is 4 GB, or the value of the environment variable PIXNET_MEMORY_LIMIT_GB.
"""

from __future__ import annotations

import math
import os

from pixnet.errors import DataError, PixNetError

VARIABLE = "PIXNET_MEMORY_LIMIT_GB"
RAISE = f"raise the limit with the environment variable {VARIABLE}"

_DEFAULT_GB = 4.0


def memory_limit() -> int:
    """Return the number of bytes that the content of one file may take in memory."""
    value = os.environ.get(VARIABLE, "").strip()
    try:
        limit_gb = float(value) if value else _DEFAULT_GB
    except ValueError:
        limit_gb = math.nan
    if not (math.isfinite(limit_gb) and limit_gb > 0):
        raise PixNetError(f"the environment variable {VARIABLE} must be a positive number of GB, not {value!r}.")
    return int(limit_gb * 2**30)


class Budget:
    """Memory that is left for what is read from one file; its parts are asked for before they are read.

    Parameters
    ----------
    name
        What is read, for messages: usually the path of a file.
    error
        Class of the error that is raised when the memory does not suffice.
    share
        Part of `memory_limit` that can be asked for.
    """

    def __init__(self, name: object, error: type[PixNetError] = DataError, share: float = 1.0) -> None:
        self.name = name
        self.limit = int(memory_limit() * share)
        self._error = error
        self._taken = 0

    def take(self, needed: float, what: str, remedy: str = "") -> None:
        """Take memory for what stays until the file is closed; raise if it would exceed the limit in sum."""
        self.check(self._taken + needed, what, remedy)
        self._taken += int(needed)

    def check(self, needed: float, what: str, remedy: str = "") -> None:
        """Check that so many bytes can be had for a while; `remedy` is what the user can do besides."""
        if needed <= self.limit:
            return
        do = f"{remedy}, or {RAISE}" if remedy else RAISE
        raise self._error(
            f"{self.name}: {what} would take {needed / 2**30:.1f} GB in memory, but the limit is "
            f"{self.limit / 2**30:.3g} GB. If the file is what it should be, {do}."
        )
