from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixnet.errors import DataError
from pixnet.grid import Box
from pixnet.inspection import inspect_sample
from pixnet.inspection.geometry import Layout
from pixnet.inspection.report import _histograms, _overlay, write_report
from pixnet.regions import Squares
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.slide import Slide
from pixnet.virtual import VirtualTissue


@pytest.fixture(scope="module")
def bins() -> Sample:
    """Return 160,000 squares of 1 um, with counts only on the left."""
    slide: Slide = VirtualTissue.generate("breast", 3, 7, 400, 400).slide
    squares = Squares.tiling(0, 0, 400, 400, side_um=1.0)
    counts = np.where(squares.centers_um[:, :1] < 200, 30, 0)
    return Sample("bins", slide, squares, Counts(counts, ["G"]))


def test_many_small_squares_are_drawn_pooled(bins: Sample, tmp_path: Path) -> None:
    written = write_report(inspect_sample(bins), tmp_path / "new")
    assert [path.name for path in written] == ["inspect.json", "overlay.png", "histograms.png"]
    depth = next(finding for finding in json.loads(written[0].read_text())["findings"] if finding["code"] == "depth")
    assert depth["value"]["regions"] == 160_000
    drawn = np.asarray(Image.open(written[1]).convert("RGB")).astype(int)
    # Without the frame and the scale; viridis is yellow at its top and violet at its bottom.
    height, width, _ = drawn.shape
    part = drawn[height // 4 : -height // 4, width // 6 : -width // 4]
    yellow = (part[..., 0] > part[..., 2] + 80) & (part[..., 1] > part[..., 2] + 80)
    left, right = np.array_split(yellow, 2, axis=1)
    assert left.mean() > 0.3
    assert right.mean() < 0.1


def test_figures_show_and_count_all_regions(bins: Sample) -> None:
    rgb = bins.slide.read_box(Box(0, 0, 200, 200), 1.0)[0]
    slide = Slide.from_array(rgb, 1.0)
    outside = Layout(slide, np.array([[10.0, 10.0], [230.0, 100.0]]), 40.0)
    (axes,) = _overlay("far", outside, None).axes
    # The region outside is fully visible.
    assert axes.get_xlim() == (-10.0, 250.0)
    assert axes.get_ylim() == (200.0, -10.0)
    figure = _histograms(bins)
    depth = figure.axes[0]
    assert sum(bar.get_height() for bar in depth.patches) == 80_000
    assert depth.get_xlabel() == "median 15"
    assert depth.get_title() == "Counts of a region (none in 80000)"


def test_a_report_needs_a_folder(bins: Sample, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file: cannot be written to.*another `out`"):
        write_report(inspect_sample(bins), tmp_path / "file")
