from __future__ import annotations

from pathlib import Path

import numpy as np
import ome_types
import pytest
import tifffile

from pixnet.field import ExpressionField
from pixnet.field.export import images

Fields = dict[str, ExpressionField]
CHOSEN = ["GNAS", "ERBB2", "ACTB"]


@pytest.mark.parametrize("first", [0, 1, 2])
def test_every_level_is_read_again(patchy_fields: Fields, tmp_path: Path, first: int) -> None:
    field = patchy_fields["mean"]
    field.export(tmp_path / "maps.ome.tif", "ome-tiff", CHOSEN, level=first)
    assert [path.name for path in tmp_path.iterdir()] == ["maps.ome.tif"]
    with tifffile.TiffFile(tmp_path / "maps.ome.tif") as file:
        (series,) = file.series
        assert (series.kind, series.axes, series.dtype) == ("ome", "CYX", np.float32)
        assert len(series.levels) == field.levels - first
        for number, found in enumerate(series.levels):
            np.testing.assert_allclose(found.asarray(), field.genes(CHOSEN, first + number), rtol=1e-6)
            assert found.keyframe.is_tiled
        per_cm = 1e4 / field.level_grid(first).pitch_um
        top, bottom = file.pages[0].tags["XResolution"].value
        assert top / bottom == pytest.approx(per_cm)


def test_the_description_gives_names_and_sizes(patchy_fields: Fields, tmp_path: Path) -> None:
    field = patchy_fields["rate"]
    field.export(tmp_path / "maps.ome.tiff", "ome-tiff", CHOSEN, log=True)
    (image,) = ome_types.from_tiff(tmp_path / "maps.ome.tiff").images
    pixels = image.pixels
    assert [channel.name for channel in pixels.channels] == CHOSEN
    assert (pixels.size_x, pixels.size_y, pixels.size_c) == (580, 376, 3)
    for size, unit in (
        (pixels.physical_size_x, pixels.physical_size_x_unit),
        (pixels.physical_size_y, pixels.physical_size_y_unit),
    ):
        assert (size, unit.value) == (2.0, "µm")
    assert image.name == field.attributes.slide.name
    assert image.description.startswith("log1p of counts per 10,000; ")


def test_a_large_one_is_a_bigtiff_with_the_same_values(
    patchy_fields: Fields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_BIG", 1000)
    field = patchy_fields["mean"]
    field.export(tmp_path / "maps.ome.tif", "ome-tiff", "GNAS")
    with tifffile.TiffFile(tmp_path / "maps.ome.tif") as file:
        assert file.is_bigtiff
        np.testing.assert_allclose(file.asarray().squeeze(), field.gene("GNAS"), rtol=1e-6)
