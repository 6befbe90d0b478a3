"""The exceptions and the warning that PixNet raises.

Every message says which file or argument is wrong, what was found there and how to fix it. Arguments are named in
backticks, as Python and manifests have them, such as `mpp`; the command line names its own options instead.
"""

from __future__ import annotations


class PixNetError(Exception):
    """Base class of all errors that a user can fix: in a file, an argument or a configuration."""


class SlideError(PixNetError):
    """An image cannot be used: it is unreadable, truncated or has no pixel size."""


class DataError(PixNetError):
    """Counts, regions or a manifest are invalid or contradict each other."""


class ModelError(PixNetError):
    """A model folder, an encoder or a configuration cannot be used."""


class FieldError(PixNetError):
    """A stored field is incomplete, was altered, or does not hold what was requested."""


class PixNetWarning(UserWarning):
    """Something was corrected or left out that the user should know about."""


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error, for use inside a sentence; at most 200 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")


def counted(number: int, nouns: str) -> str:
    """Return a number with its noun, the first word of `nouns`, in the singular or plural: "1 spot without ..."."""
    noun, space, rest = nouns.partition(" ")
    return f"{number} {noun.removesuffix('s') if number == 1 else noun}{space}{rest}"
