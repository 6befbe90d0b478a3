"""Small virtual samples and settings that train in a second."""

from __future__ import annotations

from typing import Any

import pytest
from tests.training.small import make_panel, make_samples, network_config, training_config

from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel
from pixnet.training.targets import Targets


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    return make_samples(3)


@pytest.fixture(scope="session")
def panel(samples: list[Sample]) -> GenePanel:
    return make_panel(samples)


@pytest.fixture(scope="session")
def targets(samples: list[Sample], panel: GenePanel) -> list[Targets]:
    return [Targets.from_sample(sample, panel, 100, True) for sample in samples]


@pytest.fixture(scope="session", name="network_config")
def network_config_fixture() -> Any:
    return network_config


@pytest.fixture(scope="session", name="training_config")
def training_config_fixture() -> Any:
    return training_config
