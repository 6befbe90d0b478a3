from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixnet.config import Config
from pixnet.errors import DataError
from pixnet.model.expected import expected_score
from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel
from pixnet.training import left_out
from pixnet.training.fit import FitOptions
from pixnet.training.left_out import LeftOut
from pixnet.virtual import VirtualTissue, spots

GENES = 6


@pytest.fixture(scope="module")
def sample() -> Sample:
    tissue = VirtualTissue.generate("breast", 1, 1, 320, 256)
    return tissue.measure(spots(320, 256, 30.0, 40.0), 1, counts_per_um2=2.0)


def predicted(sample: Sample, agreement: float, offset: float, seed: int, best: float = 0.5) -> LeftOut:
    """Return values that correlate, and differ from what is predicted by an offset of the sample.

    With a share of the linear path other than `best` they are further off.
    """
    rng = np.random.default_rng(seed)
    n = len(sample.regions)
    truth = rng.normal(size=(n, GENES)).astype(np.float32)
    noise = rng.normal(size=(n, GENES)).astype(np.float32)
    values = offset + agreement * truth + np.sqrt(1 - agreement**2) * noise
    by_share = {
        share: (values + abs(share - best) * rng.normal(size=(n, GENES))).astype(np.float32)
        for share in (0.0, 0.5, 1.0)
    }
    return LeftOut(sample, seed % 3, by_share, truth, sample.regions.centers_um)


def estimate(sample: Sample, donors: list[str | None], parts: Any, target: str = "new-donor") -> dict[str, Any]:
    samples = [dataclasses.replace(sample, id=str(i), donor=donor) for i, donor in enumerate(donors)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(left_out, "predict_left_out", lambda *_: parts(samples))
        panel = GenePanel(tuple(f"VG{i:03}" for i in range(GENES)), "top-mean")
        return expected_score(samples, panel, Config(target=target), FitOptions(Path()))  # type: ignore[arg-type]


@pytest.mark.parametrize("donors", [["a", "b"], ["a", "b", "c", "d"]])
def test_each_sample_is_scored_by_itself(sample: Sample, donors: list[str | None]) -> None:
    """Offsets between samples would lower a score over all their regions together, or make one up."""

    def parts(samples: list[Sample]) -> list[LeftOut]:
        return [predicted(s, 0.6, 50.0 * i, i) for i, s in enumerate(samples)]

    found = estimate(sample, donors, parts)
    assert found["pcc_m"] == pytest.approx(0.6, abs=0.12)
    assert found["low"] < found["pcc_m"] < found["high"]
    over = "donors" if len(donors) > 2 else "blocks of the slides"
    assert (found["left_out"], found["folds"], found["interval_over"]) == (len(donors), min(len(donors), 3), over)


def test_the_share_of_the_linear_path_is_chosen_on_other_samples(sample: Sample) -> None:
    def parts(bests: list[float]) -> Any:
        return lambda samples: [predicted(s, 0.9, 0.0, i, bests[i]) for i, s in enumerate(samples)]

    for best in (0.0, 0.5, 1.0):
        assert estimate(sample, ["a", "b"], parts([best, best]))["linear_share"] == best
    # With opposite needs, each sample is scored with the share that the other one needs.
    agreed, opposite = (estimate(sample, ["a", "b"], parts(bests))["pcc_m"] for bests in ([0.0, 0.0], [0.0, 1.0]))
    assert opposite < agreed - 0.15


def test_genes_that_were_not_measured_or_do_not_vary_are_left_out(sample: Sample) -> None:
    def parts(samples: list[Sample]) -> list[LeftOut]:
        found = [predicted(s, 0.6, 0.0, i) for i, s in enumerate(samples)]
        found[0].observed[:, 0] = np.nan
        found[1].observed[:, 1] = 0.0
        return found

    assert estimate(sample, ["a", "b"], parts)["pcc_m"] == pytest.approx(0.6, abs=0.12)


def test_why_there_is_no_score(sample: Sample) -> None:
    def fails(samples: list[Sample]) -> list[LeftOut]:
        raise DataError("only 3 regions have 500 counts or more.")

    def few(samples: list[Sample]) -> list[LeftOut]:
        parts = [predicted(s, 0.6, 0.0, i) for i, s in enumerate(samples)]
        return [dataclasses.replace(p, observed=p.observed[:3], predicted={0.0: p.predicted[0.0][:3]}) for p in parts]

    cases: list[tuple[list[str | None], Any, str, bool]] = [
        (["a", "a"], fails, "all samples are of one donor", True),
        ([None], fails, "there is one sample", True),
        (["a", "b"], fails, "some trainings without a part of the samples failed: only 3 regions have", False),
        (["a", "b"], few, "no sample that was left out has enough regions", False),
    ]
    for donors, parts, words, one_donor in cases:
        found = estimate(sample, donors, parts)
        assert found["unknown"].startswith(words)
        assert found["one_donor"] == one_donor
    assert "pcc_m" in estimate(
        sample, ["a", "a"], lambda s: [predicted(x, 0.6, 0.0, i) for i, x in enumerate(s)], "same-donor"
    )
