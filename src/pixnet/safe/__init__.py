"""Bounds on what files from others may make this program do: memory, code, paths and numbers."""

from __future__ import annotations
