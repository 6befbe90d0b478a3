from __future__ import annotations

import pytest

from pixnet.virtual import VirtualTissue


@pytest.fixture(scope="session")
def tissue() -> VirtualTissue:
    """A small tissue that tests only read."""
    return VirtualTissue.generate("breast", 3, 7, 400.0, 300.0)
