"""Fixtures that several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the project's root; a test that needs it is skipped where it is absent."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not (path / "data").is_dir():
        pytest.skip(f"no real data: {path} is absent")
    return path


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name parameters of bytes by their length: what gzip packs holds the time, so each worker would name it anew."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None
