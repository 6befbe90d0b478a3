from __future__ import annotations

import json

import numpy as np
import pytest

from pixnet.inspection.trained_on import TrainedOn, check_stain
from pixnet.slide import Slide
from pixnet.slide.stain import EOSIN, HAEMATOXYLIN, StainProfile, stain_distance


def stained(haematoxylin: float, eosin: float, name: str = "S") -> Slide:
    """Return a slide with two stains of known density in its middle, on white."""
    vectors = [vector / np.linalg.norm(vector) for vector in (HAEMATOXYLIN, EOSIN)]
    density = haematoxylin * vectors[0] + eosin * vectors[1]
    rgb = np.full((400, 500, 3), 255, np.uint8)
    rgb[80:320, 100:400] = np.rint(255 * 10**-density)
    return Slide.from_array(rgb, 4.0, name)


def profile(haematoxylin: float, eosin: float) -> StainProfile:
    found = StainProfile.from_slide(stained(haematoxylin, eosin))
    assert found is not None
    return found


@pytest.mark.parametrize(("haematoxylin", "eosin"), [(0.5, 0.2), (0.2, 0.3), (0.3, 0.0)])
def test_stains_are_separated(haematoxylin: float, eosin: float) -> None:
    found = profile(haematoxylin, eosin)
    np.testing.assert_allclose(found.mean, (haematoxylin, eosin, 0.0), atol=0.01)
    np.testing.assert_allclose(found.sd, 0.0, atol=0.02)


def test_a_slide_without_tissue_has_no_profile() -> None:
    assert StainProfile.from_slide(Slide.from_array(np.full((300, 300, 3), 240, np.uint8), 4.0)) is None


def test_a_profile_round_trips_through_json() -> None:
    found = profile(0.4, 0.2)
    assert StainProfile.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    "stored", [None, {}, {"mean": [1, 2, 3]}, {"mean": [1, 2], "sd": [1, 2]}, {"mean": 1, "sd": 1}]
)
def test_an_invalid_profile_is_none(stored: object) -> None:
    assert StainProfile.from_json(stored) is None


def test_the_distance_is_robust() -> None:
    median = StainProfile((0.5, 0.2, 0.1), (0.1, 0.1, 0.1))
    similar = {f"T{index}": StainProfile((0.5 + 0.001 * index, 0.2, 0.1), median.sd) for index in range(5)}
    odd = {"odd": StainProfile((2.0, 1.0, 1.0), median.sd)}
    found = stain_distance(StainProfile((0.65, 0.2, 0.1), median.sd), similar | odd)
    # One odd slide changes neither the median nor the spread.
    assert found.sd == pytest.approx(0.15 / 0.03, rel=0.05)
    assert (found.stain, found.nearest) == ("haematoxylin", "T4")
    assert stain_distance(median, {"T": median}).sd == 0


def test_a_slide_like_one_group_gets_no_warning() -> None:
    groups = {"A": profile(0.5, 0.05), "B": profile(0.52, 0.05), "C": profile(0.2, 0.3)}
    trained = TrainedOn(1.0, groups)
    assert [each.level for each in check_stain(stained(0.2, 0.3), trained)] == ["info"]
    far = check_stain(stained(0.1, 0.6), trained)
    assert [each.level for each in far] == ["warning"]
    assert far[0].value["nearest"] == "C"


def test_the_card_of_an_older_model_has_no_stains() -> None:
    older = TrainedOn.from_card({"mpp": 0.5, "samples": [{"id": "A"}, {"id": "B", "stain": None}]})
    assert (older.mpp, older.stains) == (0.5, {})
    assert check_stain(stained(0.4, 0.2), older) == []
