from __future__ import annotations

import contextlib
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import shapely
from numpy.typing import NDArray

from pixnet.errors import DataError, PixNetError, PixNetWarning
from pixnet.readers.formats import parquet
from pixnet.readers.xenium import read_xenium
from pixnet.regions import Disks, LabelMask, Polygons, Regions, Squares
from pixnet.sample import Sample
from pixnet.slide.pixel_size import PixelSize
from pixnet.virtual import VirtualTissue
from pixnet.virtual.transcripts import VirtualTranscripts, draw_transcripts
from pixnet.virtual.write.xenium import write_xenium

WIDTH, HEIGHT = 240.0, 180.0


@pytest.fixture(scope="module")
def tissue() -> VirtualTissue:
    return VirtualTissue.generate("breast", 3, 7, WIDTH, HEIGHT, mpp=0.5)


@pytest.fixture(scope="module")
def drawn(tissue: VirtualTissue) -> VirtualTranscripts:
    return draw_transcripts(tissue, 5)


@pytest.fixture(scope="module")
def written(tissue: VirtualTissue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xenium") / "run-1"
    write_xenium(tissue, folder, 5)
    return folder


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(written, tmp_path / "run"))


def usable(drawn: VirtualTranscripts, min_quality: float = 20.0) -> NDArray[np.bool_]:
    genes = sum(kind == "Gene Expression" for kind in drawn.kinds)
    return (drawn.feature < genes) & (drawn.quality >= min_quality)


def counted(rows: NDArray[np.int64], genes: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.float64]:
    table = np.zeros(shape)
    np.add.at(table, (rows, genes), 1)
    return table


def dense(sample: Sample) -> NDArray[np.float32]:
    return np.asarray(sample.counts.matrix.toarray())


def rewrite(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def test_cells_come_back(written: Path, tissue: VirtualTissue, drawn: VirtualTranscripts) -> None:
    sample = read_xenium(written)
    assert sample.platform == "xenium"
    assert sample.id == "run-1"
    assert list(sample.genes) == list(tissue.genes)
    assert sample.slide.mpp == pytest.approx(0.5, rel=1e-9)
    assert sample.slide.mpp_source == "alignment"
    np.testing.assert_array_equal(sample.slide.read(0, 0, 50, 50, 0.5)[0], tissue.slide.read(0, 0, 50, 50, 0.5)[0])
    assert isinstance(sample.regions, Polygons)
    outlines = list(drawn.cells.values())
    assert len(sample.regions) == len(outlines) > 100
    off = shapely.hausdorff_distance(sample.regions.shapes, np.array(outlines, dtype=object))
    assert off.max() < 0.01
    kept = usable(drawn) & (drawn.cell >= 0)
    row_of = {cell: row for row, cell in enumerate(drawn.cells)}
    rows = np.array([row_of[cell] for cell in drawn.cell[kept]])
    np.testing.assert_array_equal(dense(sample), counted(rows, drawn.feature[kept], sample.counts.shape))
    assert sample.counts.notes["other_features_dropped"] == 7
    assert sample.to_anndata().obs_names[0] == "aaaaaaab-1"


def nuclei_truth(drawn: VirtualTranscripts, n_genes: int) -> NDArray[np.float64]:
    kept = usable(drawn) & drawn.in_nucleus
    row_of = {cell: row for row, cell in enumerate(drawn.nuclei)}
    rows = np.array([row_of[cell] for cell in drawn.cell[kept]])
    return counted(rows, drawn.feature[kept], (len(drawn.nuclei), n_genes))


def test_nuclei_come_back(written: Path, drawn: VirtualTranscripts) -> None:
    sample = read_xenium(written, regions="nuclei")
    assert isinstance(sample.regions, Polygons)
    off = shapely.hausdorff_distance(sample.regions.shapes, np.array(list(drawn.nuclei.values()), dtype=object))
    assert off.max() < 0.01
    np.testing.assert_array_equal(dense(sample), nuclei_truth(drawn, len(sample.genes)))


def test_nuclei_are_counted_by_geometry_where_no_column_says_so(run: Path, drawn: VirtualTranscripts) -> None:
    # As an early version wrote them: names as bytes, cells as numbers.
    def early(table: pd.DataFrame) -> pd.DataFrame:
        return table.drop(columns="overlaps_nucleus").assign(
            feature_name=table["feature_name"].str.encode("utf-8"), cell_id=-1
        )

    rewrite(run / "transcripts.parquet", early)
    sample = read_xenium(run, regions="nuclei")
    truth = nuclei_truth(drawn, len(sample.genes))
    # A hole of a cell is filled by its outline; what another cell has there is the only difference.
    assert np.abs(dense(sample) - truth).sum() <= 0.002 * truth.sum()
    assert (dense(sample) >= truth).all()


@pytest.mark.parametrize("side", [2.0, 8.0, 50])
def test_squares_come_back(written: Path, drawn: VirtualTranscripts, side: float) -> None:
    sample = read_xenium(written, regions=side)
    squares = sample.regions
    assert isinstance(squares, Squares)
    assert (squares.x_um, squares.y_um, squares.angle_deg, squares.side_um) == (0, 0, 0, side)
    n_rows, n_cols = round(HEIGHT / side), round(WIDTH / side)
    kept = usable(drawn)
    col, row = np.floor(drawn.xy_um[kept] / side).astype(int).T
    on = (row < n_rows) & (col < n_cols)
    truth = counted((row * n_cols + col)[on], drawn.feature[kept][on], (n_rows * n_cols, len(sample.genes)))
    place = squares.rows * n_cols + squares.cols
    np.testing.assert_array_equal(dense(sample), truth[place])
    # The tissue fills the picture: empty squares are there too.
    assert len(squares) >= 0.98 * n_rows * n_cols
    if side == 2.0:
        assert (sample.depth == 0).mean() > 0.02
    notes = sample.counts.notes
    dropped = notes["controls_dropped"] + notes["low_quality_dropped"] + notes["in_cut_squares_dropped"]
    assert sample.depth.sum() + dropped == notes["transcripts"] == len(drawn.feature)
    assert notes["in_cut_squares_dropped"] == (~on).sum()


def test_squares_without_tissue_are_left_out(run: Path) -> None:
    rewrite(run / "transcripts.parquet", lambda table: table[table["x_location"] < 120])
    sample = read_xenium(run, regions=4.0)
    assert sample.regions.bounds_um[:, 2].max() <= 120
    assert len(sample.regions) > 0.9 * (95 / 4) * (HEIGHT / 4)


def in_regions() -> list[Regions]:
    rng = np.random.default_rng(0)
    centres = rng.uniform(20, 160, (30, 2))
    rows, cols = np.divmod(np.arange(80), 10)
    labels = rng.integers(0, 9, (40, 60))
    stars = [shapely.Point(x, y).buffer(r, 90) for (x, y), r in zip(centres, rng.uniform(5, 30, 30), strict=True)]
    ring = shapely.Point(90, 90).buffer(60).difference(shapely.Point(90, 90).buffer(40))
    return [
        Disks(centres, 55.0),
        Disks(centres, rng.uniform(2, 80, 30)),
        Squares(60, 20, 11.0, rows, cols, 17.0),
        Squares(120, 30, 11.0, rows, cols, 100.0).take(np.r_[3, 3, np.arange(79, 10, -1)]),
        Squares(60, 20, 11.0, rows, cols, 17.0, [[1, 0.01, 2], [0, 1, 0], [2e-4, 1e-4, 1]]),
        LabelMask(labels, 3.3, 5.5, 3.7, [4, 1, 4, 8]),
        Polygons([*stars, ring]),
    ]


@pytest.mark.parametrize("number", range(7))
def test_transcripts_are_counted_in_any_regions(
    written: Path, drawn: VirtualTranscripts, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    regions = in_regions()[number]
    monkeypatch.setattr(parquet, "_ROWS", 3000)
    sample = read_xenium(written, regions=regions)
    kept = usable(drawn)
    xy, gene = drawn.xy_um[kept], drawn.feature[kept]
    truth = np.zeros(sample.counts.shape)
    for index in range(len(regions)):
        within = membership(regions, index, xy)
        np.add.at(truth[index], gene[within], 1)
    assert truth.sum() > 1000
    # A point within the rounding of the files of a border may fall on either side.
    assert np.abs(dense(sample) - truth).sum() <= 1


def membership(regions: Regions, index: int, xy: NDArray[np.float64]) -> NDArray[np.bool_]:
    if isinstance(regions, Disks):
        far = np.linalg.norm(xy - regions.centers_um[index], axis=1)
        return np.asarray(far <= regions.diameters_um[index] / 2)
    if isinstance(regions, Polygons):
        return np.asarray(shapely.contains_xy(regions.shapes[index], xy))
    if isinstance(regions, Squares) and regions.perspective is not None:
        # Flat again, points lie in squares of a plain lattice.
        back = np.linalg.inv(regions.perspective)
        seen = np.column_stack([xy, np.ones(len(xy))]) @ back.T
        flat = Squares(regions.x_um, regions.y_um, regions.side_um, regions.rows, regions.cols, regions.angle_deg)
        return membership(flat, index, seen[:, :2] / seen[:, 2:])
    if isinstance(regions, Squares):
        turn = np.deg2rad(regions.angle_deg)
        across, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
        away = xy - regions.centers_um[index]
        return np.asarray((np.abs(away @ across) <= regions.side_um / 2) & (np.abs(away @ down) <= regions.side_um / 2))
    assert isinstance(regions, LabelMask)
    col, row = np.floor((xy - (regions.x_um, regions.y_um)) / regions.pitch_um).astype(int).T
    height, width = regions.labels.shape
    on = (row >= 0) & (col >= 0) & (row < height) & (col < width)
    found = np.zeros(len(xy), bool)
    found[on] = regions.labels[row[on], col[on]] == regions.ids[index]
    return found


@pytest.mark.parametrize(("turn_deg", "flipped"), [(90.0, False), (-30.0, True), (181.0, True)])
def test_the_image_may_be_turned_and_mirrored(
    tissue: VirtualTissue, drawn: VirtualTranscripts, written: Path, tmp_path: Path, turn_deg: float, flipped: bool
) -> None:
    write_xenium(tissue, tmp_path, 5, turn_deg=turn_deg, flipped=flipped)
    for regions in ("cells", "nuclei", 8.0):
        sample, upright = read_xenium(tmp_path, regions=regions), read_xenium(written, regions=regions)
        np.testing.assert_allclose(sample.regions.centers_um, upright.regions.centers_um, atol=0.01)
        assert sample.regions.areas_um2.min() > 0
        np.testing.assert_array_equal(dense(sample), dense(upright))


def test_a_stretched_image_has_polygons_but_no_squares(run: Path, drawn: VirtualTranscripts) -> None:
    path = run / "he_imagealignment.csv"
    matrix = np.loadtxt(path, delimiter=",")
    stretched = matrix @ np.diag([1.04, 1 / 1.04, 1])
    for regions in (8.0, Disks([[50, 50]], 20.0)):
        with pytest.raises(DataError, match=r"1\.08 times.*polygons"):
            read_xenium(run, alignment=stretched, regions=regions)
    sample = read_xenium(run, alignment=stretched)
    truth = np.array([shape.centroid.coords[0] for shape in drawn.cells.values()]) / (1.04, 1 / 1.04)
    np.testing.assert_allclose(sample.regions.centers_um, truth, atol=0.01)


def test_without_alignment_the_image_is_taken_for_the_morphology_image(run: Path, tmp_path: Path) -> None:
    (run / "he_imagealignment.csv").unlink()
    outlines = pd.read_parquet(run / "cell_boundaries.parquet")
    # The image is 240 x 180 um, and the run begins some 20 um from the origin.
    with pytest.warns(PixNetWarning, match=r"no alignment matrix .* found") as caught:
        sample = read_xenium(run)
    told = [warning for warning in caught if warning.category is PixNetWarning]
    assert len(told) == 1
    assert (sample.slide.mpp, sample.slide.mpp_source) == (0.5, "OME PhysicalSizeX")
    first = outlines[outlines["cell_id"] == sample.counts.name(0)].iloc[:-1]
    vertices = shapely.get_coordinates(sample.regions.shapes[0])
    assert vertices[:, 0].min() == pytest.approx(first["vertex_x"].min(), abs=1e-6)
    with pytest.warns(PixNetWarning, match="no alignment|he_imagealignment"):
        half = read_xenium(run, mpp=1.0)
    assert half.slide.mpp_source == "argument"
    np.testing.assert_allclose(half.regions.centers_um[0], sample.regions.centers_um[0])


def test_the_pixel_size_is_checked(run: Path) -> None:
    assert read_xenium(run, mpp=PixelSize(0.51, "manifest")).slide.mpp == 0.51
    with pytest.raises(DataError, match=r"0\.5 um per pixel.*0\.25 is stated \(argument\)"):
        read_xenium(run, mpp=0.25)
    experiment = json.loads((run / "experiment.xenium").read_text())
    (run / "experiment.xenium").write_text(json.dumps({**experiment, "pixel_size": 0.3}))
    with pytest.raises(DataError, match=r"0\.7059 um per pixel.*0\.5 is stated \(OME PhysicalSizeX\).*`mpp=0\.7059`"):
        read_xenium(run)
    with pytest.raises(PixNetError, match="positive number"):
        read_xenium(run, mpp=-1.0)


def test_other_names_places_and_formats(run: Path, written: Path, tmp_path: Path) -> None:
    expected = read_xenium(written)
    for stem in ("cell_boundaries", "nucleus_boundaries"):
        path = run / f"{stem}.parquet"
        pd.read_parquet(path).drop(columns="label_id").to_csv(run / f"{stem}.csv.gz", index=False)
        path.unlink()
    for name in ("cell_feature_matrix.h5", "he_image.ome.tif", "he_imagealignment.csv", "cell_boundaries.csv.gz"):
        (run / name).rename(run / f"sampleA_{name}")
    outs = Path(shutil.move(run, tmp_path / "section" / "outs"))
    for path in (outs, outs.parent, outs / "experiment.xenium", str(outs)):
        sample = read_xenium(path)
        assert sample.id == "section"
        np.testing.assert_array_equal(dense(sample), dense(expected))
        np.testing.assert_allclose(sample.regions.centers_um, expected.regions.centers_um, atol=1e-4)
    assert len(read_xenium(outs, regions="nuclei").regions) > 100
    image = outs / "sampleA_he_image.ome.tif"
    other = Path(shutil.move(image, tmp_path / "he.tif"))
    shutil.move(outs / "sampleA_he_imagealignment.csv", tmp_path / "he_imagealignment.csv")
    with pytest.raises(DataError, match=r"he_image\.ome\.tif.*`image`"):
        read_xenium(outs)
    assert read_xenium(outs, image=other, id="x", donor="d").donor == "d"


def test_genes_come_from_the_transcripts_where_there_is_no_table(run: Path, written: Path) -> None:
    expected = read_xenium(written, regions=10.0)
    (run / "cell_feature_matrix.h5").unlink()
    sample = read_xenium(run, regions=10.0)
    assert set(sample.genes) <= set(expected.genes)
    assert list(sample.genes) == sorted(sample.genes)
    place = expected.genes.get_indexer(sample.genes)
    np.testing.assert_array_equal(dense(sample), dense(expected)[:, place])
    with pytest.raises(DataError, match="cell_feature_matrix"):
        read_xenium(run)


def test_the_quality_can_be_chosen(written: Path, drawn: VirtualTranscripts) -> None:
    for quality in (0.0, 30.0):
        sample = read_xenium(written, regions=20.0, min_quality=quality)
        assert sample.depth.sum() == usable(drawn, quality).sum()


def test_what_is_unusual_is_told_once(run: Path) -> None:
    def spoil(table: pd.DataFrame) -> pd.DataFrame:
        cells = table["cell_id"].unique()
        x = table["vertex_x"].where(table["cell_id"] != cells[1], 100.0)
        x = x.where(table["cell_id"] != cells[2], np.nan)
        table = table.assign(vertex_x=x)[table["cell_id"] != cells[0]]
        bow = pd.DataFrame(
            {"cell_id": "bow", "vertex_x": [60.0, 70, 60, 70], "vertex_y": [60.0, 60, 70, 70], "label_id": 9999}
        )
        return pd.concat([table, bow])

    rewrite(run / "cell_boundaries.parquet", spoil)
    with pytest.warns(PixNetWarning) as caught:
        sample = read_xenium(run)
    told = [warning for warning in caught if warning.category is PixNetWarning]
    assert len(told) == 1
    text = str(told[0].message)
    assert "1 outlines in cell_boundaries.parquet cross themselves" in text
    assert "2 outlines in cell_boundaries.parquet have no area" in text
    assert "3 cells with counts but without an outline and 1 outline without counts" in text
    assert told[0].filename == __file__
    assert "aaaaaaab-1" not in sample.counts.names


def test_transcripts_that_cannot_be_placed_are_told(run: Path) -> None:
    def spoil(table: pd.DataFrame) -> pd.DataFrame:
        sure = np.flatnonzero((table["qv"] >= 20) & table["feature_name"].str.startswith("VG"))
        x, names = table["x_location"].to_numpy(copy=True), table["feature_name"].to_numpy(copy=True)
        x[sure[:3]], x[sure[3:7]], names[sure[7:12]] = np.nan, 1e30, "Surprise"
        return table.assign(x_location=x, feature_name=names)

    rewrite(run / "transcripts.parquet", spoil)
    with pytest.warns(PixNetWarning, match=r"5 transcripts are of features .* 3 .*no position.* 4 of"):
        sample = read_xenium(run, regions=10.0)
    assert "Surprise" not in sample.genes


def test_outlines_beside_the_image_are_left_out(run: Path) -> None:
    matrix = np.loadtxt(run / "he_imagealignment.csv", delimiter=",")
    matrix[0, 2] += 30 / 0.2125
    with pytest.warns(PixNetWarning, match="outlines are outside the image and are left out"):
        sample = read_xenium(run, alignment=matrix)
    assert len(sample.regions) > 100
    matrix[0, 2] += 2000
    for regions in ("cells", "nuclei", 10.0):
        with pytest.raises(DataError, match="outside"):
            read_xenium(run, alignment=matrix, regions=regions)


def test_a_cell_with_two_nuclei_is_one_region(run: Path) -> None:
    def split(table: pd.DataFrame) -> pd.DataFrame:
        first = table[table["cell_id"] == table["cell_id"].iloc[0]]
        return pd.concat([table, first.assign(vertex_x=first["vertex_x"] + 15, label_id=9999)])

    before = read_xenium(run, regions="nuclei")
    rewrite(run / "nucleus_boundaries.parquet", split)
    after = read_xenium(run, regions="nuclei")
    assert len(after.regions) == len(before.regions)
    assert after.regions.areas_um2[0] == pytest.approx(2 * before.regions.areas_um2[0], rel=1e-4)
    assert isinstance(after.regions, Polygons)
    assert isinstance(after.regions.shapes[0], shapely.MultiPolygon)


def test_duplicate_genes_are_summed(run: Path) -> None:
    with h5py.File(run / "cell_feature_matrix.h5", "r+") as file:
        names = file["matrix/features/name"]
        names[1] = names[0]
    with pytest.warns(PixNetWarning, match="1 column added to others"):
        sample = read_xenium(run)
    assert sample.genes.is_unique


def drop(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def fill(name: str, content: bytes) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        (run / name).write_bytes(content)

    return write


def lose(name: str, column: str) -> Callable[[Path], None]:
    return lambda run: rewrite(run / name, lambda table: table.drop(columns=column))


@pytest.mark.parametrize(
    ("spoil", "regions", "message"),
    [
        (drop("experiment.xenium"), "cells", "not a Xenium run: experiment.xenium not found"),
        (fill("experiment.xenium", b"{"), "cells", "is not a JSON file"),
        (fill("experiment.xenium", b"[1]"), "cells", "pixel_size"),
        (fill("experiment.xenium", b'{"pixel_size": true}'), "cells", "pixel_size"),
        (fill("experiment.xenium", b'{"pixel_size": -1}'), "cells", "pixel_size"),
        (fill("experiment.xenium", b'{"pixel_size": NaN}'), "cells", "pixel_size"),
        (fill("he_imagealignment.csv", b"1,2\n3,4\n"), "cells", "3 x 3"),
        (fill("he_imagealignment.csv", b"1,0,0\n0,1,0\n0,0,0\n"), "cells", "3 x 3"),
        (fill("he_imagealignment.csv", b"1,0,0\n0,0,0\n0,0,1\n"), "cells", "3 x 3"),
        (fill("he_imagealignment.csv", b"1,0,nan\n0,1,0\n0,0,1\n"), "cells", "3 x 3"),
        (fill("he_imagealignment.csv", b"1,0\n0,1,0\n0,0,1\n"), "cells", "not a matrix"),
        (fill("he_imagealignment.csv", b"\xff\xfe,a"), "cells", "not a matrix"),
        (fill("he_imagealignment.csv", b" " * 100_000), "cells", "too long"),
        (fill("b_he_imagealignment.csv", b""), "cells", None),
        (drop("cell_boundaries.parquet"), "cells", "cell_boundaries.parquet"),
        (drop("nucleus_boundaries.parquet"), "nuclei", "nucleus_boundaries.parquet"),
        (drop("transcripts.parquet"), 8.0, "transcripts.parquet"),
        (drop("he_image.ome.tif"), "cells", "`image`"),
        (lose("cell_boundaries.parquet", "vertex_x"), "cells", "no column 'vertex_x'"),
        (lose("transcripts.parquet", "qv"), 8.0, "no column 'qv'"),
        (fill("transcripts.parquet", b"PAR1"), 8.0, "parquet"),
        (fill("cell_feature_matrix.h5", b"nothing"), 8.0, "HDF5"),
        (fill("cell_feature_matrix.h5", b"nothing"), "cells", "HDF5"),
    ],
)
def test_what_is_wrong_is_named(
    run: Path, spoil: Callable[[Path], None], regions: str | float, message: str | None
) -> None:
    spoil(run)
    if message is None:
        assert len(read_xenium(run, regions=regions).regions)
        return
    with pytest.raises(DataError, match=message):
        read_xenium(run, regions=regions)


@pytest.mark.parametrize("regions", ["bins", -1.0, 0, float("nan"), True, "8", None])
def test_regions_must_be_known(written: Path, regions: str | float) -> None:
    with pytest.raises(DataError, match=r"`regions` cannot be"):
        read_xenium(written, regions=regions)


def test_squares_can_be_too_small(written: Path) -> None:
    for side in (1e-9, 0.01):
        with pytest.raises(DataError, match="too many"):
            read_xenium(written, regions=side)


def test_two_files_of_one_kind_are_refused(run: Path) -> None:
    (run / "experiment.xenium").rename(run / "a_experiment.xenium")
    shutil.copy(run / "a_experiment.xenium", run / "b_experiment.xenium")
    with pytest.raises(DataError, match="could both be meant"):
        read_xenium(run)
    with pytest.raises(DataError, match="no such folder"):
        read_xenium(run / "nowhere")


SMALL = {
    "experiment.xenium": "cells",
    "he_imagealignment.csv": "cells",
    "cell_boundaries.parquet": "cells",
    "nucleus_boundaries.parquet": "nuclei",
    "cell_feature_matrix.h5": "cells",
    "transcripts.parquet": 16.0,
    "he_image.ome.tif": "cells",
}


@pytest.mark.parametrize("name", SMALL)
def test_damaged_files_end_in_a_sample_or_a_refusal(run: Path, name: str) -> None:
    whole = (run / name).read_bytes()
    rng = np.random.default_rng(len(whole))
    for turn in range(12):
        spoilt = bytearray(whole)
        if turn % 3 == 0:
            spoilt = spoilt[: int(rng.integers(len(whole)))]
        else:
            # Footers and headers hold the structure; half of the flips go there.
            where = (
                rng.integers(len(whole), size=3) if turn % 3 == 1 else -rng.integers(1, min(len(whole), 900), size=3)
            )
            for place in where:
                spoilt[place] = int(rng.integers(256))
        (run / name).write_bytes(bytes(spoilt))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PixNetWarning)
            with contextlib.suppress(PixNetError):
                assert isinstance(read_xenium(run, regions=SMALL[name]), Sample)


def test_the_same_tissue_gives_the_same_bytes(tissue: VirtualTissue, written: Path, tmp_path: Path) -> None:
    entry = write_xenium(tissue, tmp_path, 5)
    assert entry["platform"] == "xenium"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in written.iterdir()
    }
