"""Other programs that do the same, each in a process of its own in `.venv-bench`."""

from __future__ import annotations
