from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.accuracy.results import Results
from tests.benchmarks.small import SmallPlan, SmallScales, freeze, write_manifest


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_manifest(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def done(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> SmallPlan:
    """A plan whose results are in `results`, beside its runs."""
    folder = tmp_path_factory.mktemp("done")
    plan = SmallPlan({"": freeze(manifest)}, folder / "runs")
    Results(folder / "results").complete(plan)
    return plan


@pytest.fixture(scope="session")
def done_scales(tmp_path_factory: pytest.TempPathFactory) -> SmallScales:
    """A plan on virtual tissue whose results are in `results`, beside its runs."""
    folder = tmp_path_factory.mktemp("scales")
    plan = SmallScales(folder / "runs")
    Results(folder / "results").complete(plan)
    return plan
