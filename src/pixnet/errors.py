"""The few exceptions that a user can meet.

Every message says, in one or two sentences, which file or argument is at fault, what was found and what to do. What can
be mended by an option is named once for all three ways: as a manifest and Python have it, in backticks, and behind that
as the command line has it, such as `mpp` (--mpp) or `bin_um` (--set bin_um=16).
"""

from __future__ import annotations


class PixNetError(Exception):
    """Something that the user can mend: a file, an argument, a configuration."""


class SlideError(PixNetError):
    """An image that cannot be used: unreadable, truncated, or without a pixel size."""


class DataError(PixNetError):
    """Counts, regions or a manifest that contradict themselves or each other."""


class ModelError(PixNetError):
    """A model folder, an encoder or a configuration that cannot be used."""


class FieldError(PixNetError):
    """A stored field that is incomplete, altered, or asked for what it does not hold."""


def first_line(error: BaseException) -> str:
    """Give the first line of another library's error, to stand in a sentence: the rest is for its developers."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


class PixNetWarning(UserWarning):
    """Something that was put right or left out, and that the user should know of."""
