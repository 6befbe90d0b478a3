"""What others do, each in a process of its own within `.venv-bench`."""

from __future__ import annotations
