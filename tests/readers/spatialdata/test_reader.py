from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from pixnet.errors import DataError, PixNetError, PixNetWarning, SlideError
from pixnet.readers.spatialdata.reader import read_spatialdata
from pixnet.regions import Disks, LabelMask, Polygons
from pixnet.sample import Sample
from pixnet.virtual import VirtualTissue, spots

MPP = 0.5
ANGLE = 0.3


def turn(scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0), mirrored: bool = False) -> np.ndarray[Any, Any]:
    """A 3x3 matrix that turns, scales, perhaps mirrors, and shifts."""
    c, s = np.cos(ANGLE) * scale, np.sin(ANGLE) * scale
    linear = np.array([[c, -s], [s, c]]) @ np.diag([-1 if mirrored else 1, 1])
    return np.block([[linear, np.array(shift)[:, None]], [np.array([[0.0, 0.0, 1.0]])]])


def moved(xy: np.ndarray[Any, Any], matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(xy @ matrix[:2, :2].T + matrix[:2, 2])


class Store:
    """What a test puts into a store, piece by piece."""

    def __init__(self, sample: Sample) -> None:
        self.sd = pytest.importorskip("spatialdata")
        self.models, self.ways = self.sd.models, self.sd.transformations
        self.sample = sample
        self.elements: dict[str, Any] = {}
        slide = sample.slide
        rgb, _ = slide.read(0, 0, slide.width_um, slide.height_um, slide.mpp)
        self.rgb = rgb

    def affine(self, matrix: np.ndarray[Any, Any]) -> Any:
        return self.ways.Affine(matrix, input_axes=("x", "y"), output_axes=("x", "y"))

    def image(self, name: str = "he", pyramid: bool = True, **systems: np.ndarray[Any, Any]) -> Store:
        ways = {system: self.affine(matrix) for system, matrix in systems.items()}
        extra = {"scale_factors": [2, 2]} if pyramid else {}
        self.elements[name] = self.models.Image2DModel.parse(
            np.moveaxis(self.rgb, -1, 0), dims=("c", "y", "x"), c_coords=["r", "g", "b"], transformations=ways, **extra
        )
        return self

    def circles(self, xy: Any, radius: Any, name: str = "cells", **systems: np.ndarray[Any, Any]) -> Store:
        ways = {system: self.affine(matrix) for system, matrix in systems.items()}
        self.elements[name] = self.models.ShapesModel.parse(np.asarray(xy), 0, radius=radius, transformations=ways)
        return self

    def polygons(self, shapes: list[Any], name: str = "cells", **systems: np.ndarray[Any, Any]) -> Store:
        import geopandas

        ways = {system: self.affine(matrix) for system, matrix in systems.items()}
        frame = geopandas.GeoDataFrame(geometry=shapes)
        self.elements[name] = self.models.ShapesModel.parse(frame, transformations=ways)
        return self

    def labels(self, mask: np.ndarray[Any, Any], name: str = "cells", **systems: np.ndarray[Any, Any]) -> Store:
        ways = {system: self.affine(matrix) for system, matrix in systems.items()}
        self.elements[name] = self.models.Labels2DModel.parse(mask, dims=("y", "x"), transformations=ways)
        return self

    def table(self, instances: Any, region: Any = "cells", name: str = "table", **changes: Any) -> Store:
        made = self.sample.to_anndata()
        del made.obsm["spatial"]
        made.uns.clear()
        made.obs["region"] = region
        made.obs["region"] = made.obs["region"].astype("category")
        made.obs["instance_id"] = instances
        for column, value in changes.items():
            made.obs[column] = value
        regions = list(made.obs["region"].cat.categories)
        self.elements[name] = self.models.TableModel.parse(
            made, region=regions, region_key="region", instance_key="instance_id"
        )
        return self

    def write(self, folder: Path) -> Path:
        path = folder / "store.zarr"
        self.sd.SpatialData.init_from_elements(self.elements).write(path)
        return path


@pytest.fixture(scope="module")
def sample() -> Sample:
    tissue = VirtualTissue.generate("breast", 3, 7, 300.0, 200.0, mpp=MPP)
    return tissue.measure(spots(300, 200, 20, 40), 1)


@pytest.fixture
def store(sample: Sample) -> Store:
    return Store(sample)


def check_counts(again: Sample, sample: Sample) -> None:
    assert list(again.genes) == list(sample.genes)
    np.testing.assert_array_equal(again.counts.matrix.toarray(), sample.counts.matrix.toarray())
    np.testing.assert_allclose(again.regions.centers_um, sample.regions.centers_um, atol=1e-6)
    ours, theirs = (slide.read(0, 0, 300, 200, MPP)[0] for slide in (again.slide, sample.slide))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("pyramid", [False, True])
def test_circles_go_through_both_transformations(
    store: Store, sample: Sample, tmp_path: Path, mirrored: bool, pyramid: bool
) -> None:
    # The system "slide" is turned against the image; the circles are stored in yet another unit.
    image_way, own_way = turn(MPP, (900.0, -40.0), mirrored), np.diag([10.0, 10.0, 1.0])
    in_slide = moved(sample.regions.centers_um / MPP, image_way)
    own = moved(in_slide, np.linalg.inv(own_way))
    store.image(pyramid=pyramid, slide=image_way, other=np.eye(3)).circles(own, 1.0, slide=own_way)
    path = store.table(np.arange(len(sample.regions))).write(tmp_path)
    again = read_spatialdata(path, coordinate_system="slide", mpp=MPP, donor="D")
    check_counts(again, sample)
    assert isinstance(again.regions, Disks)
    np.testing.assert_allclose(again.regions.diameters_um, 20.0)
    assert (again.id, again.donor, again.platform) == ("store", "D", "spatialdata")
    assert (again.slide.mpp, again.slide.mpp_source) == (MPP, "argument")
    with pytest.raises(DataError, match=r"not both in the coordinate system 'global'; both are in 'slide'"):
        read_spatialdata(path, mpp=MPP)
    with pytest.raises(SlideError, match="no pixel size"):
        read_spatialdata(path, coordinate_system="slide")


def test_a_coordinate_system_in_um_gives_the_pixel_size(store: Store, sample: Sample, tmp_path: Path) -> None:
    um = np.diag([MPP, MPP, 1.0])
    store.image(microns=um).circles(sample.regions.centers_um, 10.0, microns=np.eye(3))
    path = store.table(np.arange(len(sample.regions))).write(tmp_path)
    again = read_spatialdata(path, coordinate_system="microns")
    check_counts(again, sample)
    assert (again.slide.mpp, again.slide.mpp_source) == (MPP, "coordinate system 'microns'")
    assert read_spatialdata(path, coordinate_system="microns", mpp=0.51).slide.mpp == 0.51
    with pytest.raises(DataError, match=r"0\.5 um per pixel in the coordinate system 'microns', but 0\.4 was given"):
        read_spatialdata(path, coordinate_system="microns", mpp=0.4)


def test_stretched_circles_become_polygons_of_their_area(store: Store, sample: Sample, tmp_path: Path) -> None:
    own = sample.regions.centers_um / MPP / [2.0, 1.0]
    store.image(**{"global": np.eye(3)}).circles(own, 10.0, **{"global": np.diag([2.0, 1.0, 1.0])})
    path = store.table(np.arange(len(sample.regions))).write(tmp_path)
    again = read_spatialdata(path, mpp=MPP)
    check_counts(again, sample)
    assert isinstance(again.regions, Polygons)
    np.testing.assert_allclose(again.regions.areas_um2, np.pi * 100 * 2 * MPP**2)
    sides = again.regions.bounds_um[0, 2:] - again.regions.bounds_um[0, :2]
    np.testing.assert_allclose(sides, [20.0, 10.0], rtol=1e-3)


def test_polygons_are_moved_and_keep_their_holes(store: Store, sample: Sample, tmp_path: Path) -> None:
    way = turn(2.0, (5.0, 7.0))
    shapes = [
        shapely.box(x - 5, y - 5, x + 5, y + 5).difference(shapely.box(x - 2, y - 2, x + 2, y + 2))
        for x, y in moved(sample.regions.centers_um / MPP, np.linalg.inv(way))
    ]
    store.image(**{"global": np.eye(3)}).polygons(shapes, **{"global": way})
    again = read_spatialdata(store.table(np.arange(len(shapes))).write(tmp_path), mpp=MPP)
    check_counts(again, sample)
    np.testing.assert_allclose(again.regions.areas_um2, 84 * 4 * MPP**2)


@pytest.mark.parametrize("turned", [False, True])
def test_labels_make_a_mask_or_polygons(store: Store, sample: Sample, tmp_path: Path, turned: bool) -> None:
    mask = np.zeros((100, 150), np.int32)
    for label, (x, y) in enumerate(np.floor(sample.regions.centers_um / 2).astype(int), start=1):
        mask[y - 2 : y + 2, x - 3 : x + 2] = label
        mask[y, x] = 0
    mask[:2, :2] = 99  # of no row
    # Pixels of the mask are 2 um; they lie on the image as they are, or turned with it.
    place = np.diag([2.0, 2.0, 1.0])
    image_way, own_way = (turn(MPP), turn() @ place) if turned else (np.diag([MPP, MPP, 1.0]), place)
    if turned:
        own_way = own_way @ turn(0.6, (35.0, 2.0))
    store.image(**{"global": image_way}).labels(mask, **{"global": own_way})
    order = np.random.default_rng(0).permutation(len(sample.regions))
    store.sample = sample.take(order)
    again = read_spatialdata(store.table(order + 1).write(tmp_path), mpp=MPP)
    np.testing.assert_array_equal(again.counts.matrix.toarray(), sample.take(order).counts.matrix.toarray())
    assert isinstance(again.regions, Polygons if turned else LabelMask)
    truth = LabelMask(mask, 0, 0, 1.0, order + 1)
    np.testing.assert_allclose(again.regions.areas_um2, truth.areas_um2 * 4 * (0.36 if turned else 1.0))
    expected = moved(moved(truth.centers_um, own_way), np.linalg.inv(image_way)) * MPP
    np.testing.assert_allclose(again.regions.centers_um, expected, atol=1e-9)


def test_an_image_is_read_in_windows(
    store: Store, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"global": np.eye(3)}
    store.image(**here).circles(sample.regions.centers_um / MPP, 20.0, **here)
    path = store.table(np.arange(len(sample.regions))).write(tmp_path)
    # As a whole it would take 0.7 MB, its largest chunk 0.2 MB.
    monkeypatch.setenv("PIXNET_MEMORY_LIMIT_GB", "0.0003")
    again = read_spatialdata(path, mpp=MPP)
    check_counts(again, sample)
    assert again.slide.fingerprint() == sample.slide.fingerprint()
    monkeypatch.setenv("PIXNET_MEMORY_LIMIT_GB", "0.0001")
    with pytest.raises(PixNetError, match=r"smaller chunks|a chunk of shape"):
        read_spatialdata(path, mpp=MPP)


def test_rows_and_instances_without_a_partner_are_told(store: Store, sample: Sample, tmp_path: Path) -> None:
    n = len(sample.regions)
    store.image(**{"global": np.eye(3)}).circles(sample.regions.centers_um / MPP, 20.0, **{"global": np.eye(3)})
    store.table(np.arange(2, n + 2))
    message = (
        r"2 rows of the table without a usable instance in 'cells' and 2 shapes of 'cells' without a row are left out"
    )
    with pytest.warns(PixNetWarning, match=message) as told:
        again = read_spatialdata(store.write(tmp_path), mpp=MPP)
    assert sum(warning.category is PixNetWarning for warning in told) == 1
    assert len(again.regions) == n - 2
    np.testing.assert_allclose(again.regions.centers_um, sample.regions.centers_um[2:])
    np.testing.assert_array_equal(again.counts.matrix.toarray(), sample.counts.matrix.toarray()[:-2])


def test_odd_rows_and_shapes_are_left_out_and_told(store: Store, sample: Sample, tmp_path: Path) -> None:
    n, here = len(sample.regions), {"global": np.eye(3)}
    centres = sample.regions.centers_um / MPP
    shapes = [shapely.Point(*centre).buffer(20.0) for centre in centres]
    shapes[1] = shapely.Polygon()
    store.image(**here).polygons(shapes, **here)
    store.table(np.arange(n), in_tissue=(np.arange(n) != 0).astype(int))
    with pytest.warns(
        PixNetWarning, match="1 row .*usable instance in .cells. and 1 row not under tissue are left out"
    ):
        again = read_spatialdata(store.write(tmp_path), mpp=MPP)
    expected = np.arange(2, n)
    np.testing.assert_allclose(again.regions.centers_um, sample.regions.centers_um[expected], atol=1e-6)
    np.testing.assert_array_equal(again.counts.matrix.toarray(), sample.counts.matrix.toarray()[expected])


def test_what_there_are_several_of_is_chosen_by_name(store: Store, sample: Sample, tmp_path: Path) -> None:
    n, here = len(sample.regions), {"global": np.eye(3)}
    store.image("a", **here).image("b", **here).image("s_hires_image", **here)
    centres = sample.regions.centers_um / MPP
    store.circles(centres[: n // 2], 20.0, "left", **here).circles(centres[n // 2 :], 30.0, "right", **here)
    region = np.where(np.arange(n) < n // 2, "left", "right")
    instances = np.concatenate([np.arange(n // 2), np.arange(n - n // 2)])
    path = store.table(instances, region, "first").table(instances, region, "second").write(tmp_path)
    with pytest.raises(DataError, match=r"several tables: 'first', 'second'. Choose one as `table`"):
        read_spatialdata(path, mpp=MPP)
    with pytest.raises(DataError, match=r"several images: 'a', 'b'\. Choose one as `element`, or `image` of"):
        read_spatialdata(path, table="first", mpp=MPP)
    with pytest.raises(DataError, match=r"several regions: 'left', 'right'\. Choose one as `region`"):
        read_spatialdata(path, table="first", image="a", mpp=MPP)
    with pytest.raises(DataError, match=r"no image 'c'; its images are: 'a', 'b', 's_hires_image'"):
        read_spatialdata(path, table="first", image="c", mpp=MPP)
    again = read_spatialdata(path, table="first", image="s_hires_image", region="right", mpp=MPP)
    np.testing.assert_allclose(again.regions.centers_um, sample.regions.centers_um[n // 2 :])
    np.testing.assert_array_equal(again.counts.matrix.toarray(), sample.counts.matrix.toarray()[n // 2 :])


def test_what_cannot_be_used_is_named(store: Store, sample: Sample, tmp_path: Path) -> None:
    n, here = len(sample.regions), {"global": np.eye(3)}
    with pytest.raises(DataError, match="there is no such folder"):
        read_spatialdata(tmp_path / "none.zarr")
    with pytest.raises(DataError, match=r"cannot be read as SpatialData|has no suitable table"):
        read_spatialdata(tmp_path)
    store.image(**here).circles(sample.regions.centers_um / MPP + 1000, 20.0, **here).table(np.arange(n))
    with pytest.raises(DataError, match=r"regions lie outside .* may not belong together"):
        read_spatialdata(store.write(tmp_path), mpp=MPP)
    store.elements["cells"]["radius"] = 20.0
    store.table(np.arange(n) + 10_000)
    with pytest.raises(DataError, match=r"none of the table's \d+ instances, such as '10000'"):
        read_spatialdata(store.write(tmp_path / "b"), mpp=MPP)


def test_damage_ends_in_an_error_of_ours(store: Store, sample: Sample, tmp_path: Path) -> None:
    here = {"global": np.eye(3)}
    store.image(pyramid=False, **here).circles(sample.regions.centers_um / MPP, 20.0, **here)
    whole = store.table(np.arange(len(sample.regions))).write(tmp_path)
    rng = np.random.default_rng(0)
    refused = 0
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    for number in range(60):
        path = tmp_path / f"{number}.zarr"
        shutil.copytree(whole, path)
        victim = path / files[rng.integers(len(files))]
        data = bytearray(victim.read_bytes())
        if rng.random() < 0.3:
            victim.unlink()
        elif data:
            for place in rng.integers(0, len(data), 5):
                data[place] = rng.integers(256)
            victim.write_bytes(data)
        try:
            assert isinstance(read_spatialdata(path, mpp=MPP), Sample)
        except (PixNetError, PixNetWarning):
            refused += 1
        shutil.rmtree(path)
    assert refused > 0


def test_without_the_package_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    with pytest.raises(DataError, match=r"pip install 'pixnet\[spatialdata\]'"):
        read_spatialdata(tmp_path)
