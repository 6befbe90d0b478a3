"""Small virtual samples."""

from __future__ import annotations

import pytest
from tests.training.small import make_samples

from pixnet.sample import Sample


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    return make_samples(3)
