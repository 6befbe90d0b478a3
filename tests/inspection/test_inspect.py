"""Each planted fault is found, and sound data have no warnings."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse

from pixnet.errors import DataError
from pixnet.inspection import Finding, Inspection, inspect, inspect_sample
from pixnet.inspection.counts_checks import (
    USUAL_MIN_COUNTS,
    check_sample_counts,
    findings_of_warnings,
    weigh_duplicates,
)
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.slide import Slide
from pixnet.training.config import TrainingConfig
from pixnet.virtual import VirtualTissue, spots, write_hest, write_visium_hd, write_xenium

Spoil = Callable[[str], Path]
Change = Callable[[anndata.AnnData], None]

LEGACY = """
[[sample]]
id = "V"
platform = "legacy-st"
image = "V.png"
counts = "V.tsv.gz"
spots = "V_spots.tsv"
spot_pitch_um = 120.0
"""


def inspect_one(path: Path, **options: Any) -> Inspection:
    return inspect(path, **options)[0].inspection


def only_finding(inspection: Inspection, code: str, level: str) -> Finding:
    findings = inspection.of(code)
    assert [finding.level for finding in findings] == [level], inspection.summary
    return findings[0]


def hest(folder: Path, change: Change) -> Path:
    """Change the table of a HEST sample."""
    path = folder / "st/V.h5ad"
    table = anndata.read_h5ad(path)
    change(table)
    table.write_h5ad(path)
    return folder


def moved(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def apply(table: anndata.AnnData) -> None:
        table.obsm["spatial"] = change(np.asarray(table.obsm["spatial"]))
        table.obs = table.obs[["in_tissue"]]

    return apply


def legacy(folder: Path, more: str = "") -> Path:
    path = folder / "samples.toml"
    path.write_text(LEGACY + more)
    return path


@pytest.mark.parametrize("platform", ["visium", "hest", "legacy"])
def test_sound_data_have_no_warnings(written: Path, platform: str, tmp_path: Path) -> None:
    path = written / platform
    if platform == "visium":
        path = path / "V"
    if platform == "legacy":
        path = legacy(path)
    inspection = inspect_one(path)
    assert inspection.status == 0, inspection.summary
    assert inspection.codes == set()
    assert {finding.code for finding in inspection.findings} >= {"pixel-size", "on-tissue", "blur", "depth"}
    assert inspection.of("on-tissue")[0].value["share"] > 0.85


@pytest.mark.parametrize("platform", ["visium", "hest", "legacy"])
def test_a_wrong_pixel_size(spoil: Spoil, platform: str) -> None:
    folder = spoil(platform)
    path = folder / "V" if platform == "visium" else legacy(folder) if platform == "legacy" else folder
    inspection = inspect_one(path, mpp=0.8)
    finding = only_finding(inspection, "pixel-size", "error")
    assert "The pixel size of 0.8 um (argument) contradicts the regions" in finding.text
    assert finding.value["mpp_of_pitch"] == pytest.approx(1.0, rel=0.01)
    assert "(`mpp=1`)" in finding.advice
    assert inspection.status == 2


def test_swapped_positions_with_an_option(spoil: Spoil) -> None:
    folder = hest(spoil("hest"), moved(lambda xy: xy[:, ::-1].copy()))
    finding = only_finding(inspect_one(folder), "swapped", "error")
    assert finding.advice == "Use `swap_xy=True`."
    again = inspect_one(folder, swap_xy=True)
    assert again.status == 0, again.summary
    assert again.of("on-tissue")[0].value["share"] == finding.value["shares"]["x and y swapped"]


def test_swapped_positions_without_an_option(spoil: Spoil) -> None:
    folder = spoil("visium") / "V"
    path = folder / "outs/spatial/tissue_positions.csv"
    table = pd.read_csv(path)
    x, y = "pxl_col_in_fullres", "pxl_row_in_fullres"
    table[[x, y]] = table[[y, x]].to_numpy()
    table.to_csv(path, index=False)
    finding = inspect_one(folder).of("swapped")[0]
    assert "no option for that" in finding.advice


@pytest.mark.parametrize(
    ("flip", "name"),
    [
        ((True, False), "x counted from the right"),
        ((False, True), "y counted from the bottom"),
        ((True, True), "turned by 180 degrees"),
    ],
)
def test_flipped_positions(spoil: Spoil, flip: tuple[bool, bool], name: str) -> None:
    extent = np.array([1700, 1150])
    inspection = inspect_one(hest(spoil("hest"), moved(lambda xy: np.where(flip, extent - xy, xy))))
    finding = inspection.of("flipped")[0]
    assert finding.level in ("warning", "error")
    assert finding.value["best"] == name


def test_a_smaller_copy_of_the_image(spoil: Spoil, sample: Sample) -> None:
    folder = spoil("visium")
    lowres = folder / "V/outs/spatial/tissue_lowres_image.png"
    finding = only_finding(inspect_one(folder / "V", image=lowres), "not-full-resolution", "error")
    assert "tissue_lowres_image.png" in finding.text
    assert "as `image`" in finding.advice
    Image.fromarray(sample.slide.thumbnail(400)[0]).save(folder / "small.png")
    table = spoil("hest") / "st/V.h5ad"
    inspection = inspect_one(table.rename(folder / "T.h5ad"), image=folder / "small.png", mpp=1.0)
    assert inspection.platform == "anndata"
    only_finding(inspection, "not-full-resolution", "error")


@pytest.mark.parametrize(("shift", "level"), [((0, 0), "info"), ((20, 0), "warning"), ((36, -48), "warning")])
def test_a_shift(spoil: Spoil, shift: tuple[int, int], level: str) -> None:
    inspection = inspect_one(hest(spoil("hest"), moved(lambda xy: xy - np.array(shift))))
    value = only_finding(inspection, "shift", level).value
    assert value["sd_um"] < 15
    np.testing.assert_allclose([value["x_um"], value["y_um"]], shift, atol=max(6.0, 2 * value["sd_um"]))


def test_counts_without_structure_give_no_shift(spoil: Spoil) -> None:
    def shuffled(table: anndata.AnnData) -> None:
        table.X = sparse.csr_matrix(table.X)[np.random.default_rng(2).permutation(table.n_obs)]

    assert inspect_one(hest(spoil("hest"), shuffled)).of("shift") == []


def log(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.log1p(values / np.maximum(values.sum(axis=1, keepdims=True), 1) * 1e4))


def planted(number: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values = values.astype(float)
        values[3, 5] = number
        return values

    return change


COUNTS: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
    ("logged", log),
    ("normalised", lambda values: values / np.maximum(values.sum(axis=1, keepdims=True), 1) * 1e4),
    ("fractional", planted(1000.5)),
    ("negative", planted(-2.0)),
    ("not-finite", lambda values: np.where(np.arange(values.shape[1]) == 5, np.nan, values)),
]


@pytest.mark.parametrize(("code", "change"), COUNTS, ids=[code for code, _ in COUNTS])
def test_values_that_are_not_raw_counts(spoil: Spoil, code: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    def apply(table: anndata.AnnData) -> None:
        table.X = change(sparse.csr_matrix(table.X).toarray())

    inspection = inspect_one(hest(spoil("hest"), apply))
    assert inspection.status == 2
    only_finding(inspection, code, "error")
    folder = spoil("legacy")
    path = folder / "V.tsv.gz"
    values = pd.read_csv(path, sep="\t", index_col=0)
    table = pd.DataFrame(change(values.to_numpy()), values.index, values.columns)
    path.write_bytes(gzip.compress(table.to_csv(sep="\t", na_rep="nan").encode()))
    only_finding(inspect_one(legacy(folder)), code, "error")


def test_duplicated_genes(spoil: Spoil) -> None:
    def apply(table: anndata.AnnData) -> None:
        names = list(table.var_names)
        table.var_names = [names[0], names[0], *names[2:]]

    inspection = inspect_one(hest(spoil("hest"), apply))
    assert (inspection.status, inspection.codes) == (1, {"duplicated-genes"}), inspection.summary
    folder = spoil("legacy")
    path = folder / "V.tsv.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"VG002", b"VG001", 1)))
    inspection = inspect_one(legacy(folder))
    assert (inspection.status, inspection.codes) == (1, {"duplicated-genes"}), inspection.summary


def test_barcodes_on_one_side(spoil: Spoil) -> None:
    folder = spoil("visium") / "V"
    path = folder / "outs/spatial/tissue_positions.csv"
    table = pd.read_csv(path)
    under = np.flatnonzero(table["in_tissue"])
    table.drop(index=under[:3]).to_csv(path, index=False)
    inspection = inspect_one(folder)
    assert inspection.codes == {"one-sided"}, inspection.summary
    assert "3 spots with counts but without a position" in only_finding(inspection, "one-sided", "warning").text


def test_empty_and_near_empty_regions(spoil: Spoil) -> None:
    def apply(table: anndata.AnnData) -> None:
        values = sparse.csr_matrix(table.X).toarray()
        values[:4] = 0
        values[2, 0] = 3
        table.X = values

    inspection = inspect_one(hest(spoil("hest"), apply))
    assert only_finding(inspection, "empty", "warning").value["regions"] == 3
    assert only_finding(inspection, "near-empty", "warning").value["regions"] == 1
    assert "S2 (3 counts)" in only_finding(inspection, "near-empty", "warning").text


@pytest.mark.parametrize(
    ("median", "planted", "codes"),
    [
        (45.0, (), set()),  # of small bins, some have one count or none by chance
        (130.0, (), set()),
        (130.0, (0, 0), {"empty"}),
        (1000.0, (3, 20), {"near-empty"}),
        (1000.0, (60,), set()),
    ],
)
def test_small_regions_are_not_near_empty(median: float, planted: tuple[int, ...], codes: set[str]) -> None:
    rng = np.random.default_rng(0)
    # Tissue is uneven: some parts have a tenth of what the middle has.
    depth = rng.poisson(median * rng.choice([0.12, 1.0, 1.6], 4000, p=[0.2, 0.5, 0.3]))
    depth[: len(planted)] = planted
    names = pd.Index([f"B{row}" for row in range(len(depth))])
    counts = Counts(sparse.csr_matrix(depth[:, None].astype(np.float32)), pd.Index(["A"]), names=names)
    assert {finding.code for finding in check_sample_counts(counts) if finding.level == "warning"} == codes


def test_what_cannot_be_read_is_refused_not_raised(spoil: Spoil) -> None:
    folder = spoil("visium") / "V"
    (folder / "outs/filtered_feature_bc_matrix.h5").write_bytes(b"no")
    inspection = inspect_one(folder)
    assert inspection.codes == {"refused"}
    (folder / "outs/spatial/tissue_positions.csv").write_bytes(b"\x00\xff")
    assert inspect_one(folder).status == 2
    (folder / "V.tif").unlink()
    assert inspect_one(folder).status == 2
    with pytest.raises(DataError, match="none of the known platforms"):
        inspect_one(folder / "outs/spatial")
    with pytest.raises(DataError, match=r"`mpp` must be a positive number"):
        inspect_one(folder, mpp=-1.0)


def test_the_slide_of_a_refused_sample_is_closed(spoil: Spoil, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Slide] = []
    monkeypatch.setattr(Slide, "close", lambda slide: closed.append(slide))
    folder = spoil("legacy")
    (folder / "V.tsv.gz").write_bytes(b"no")
    inspected = inspect(legacy(folder))[0]
    assert inspected.sample is None
    assert inspected.layout is not None
    assert inspected.layout.slide in closed


def test_bins_and_cells(tmp_path: Path) -> None:
    tissue = VirtualTissue.generate("breast", 3, 7, 600, 500)
    entry = write_visium_hd(tissue, tmp_path, (8, 16))
    folder = tmp_path / str(entry["path"])
    inspection = inspect_one(folder)
    assert inspection.codes == set(), inspection.summary
    assert inspection.of("pixel-size")[0].value["mpp_of_pitch"] == pytest.approx(1.0, rel=0.01)
    # The pitch is that of the requested bins; the depth says how many regions training would use.
    assert "should be 8 um and measures 8.0 um" in inspection.of("pixel-size")[0].text
    assert "should be 16 um and measures 16.0 um" in inspect_one(folder, bin_um=16).of("pixel-size")[0].text
    depth = inspection.of("depth")[0]
    assert f"only the {depth.value['kept']} of {depth.value['regions']} regions" in depth.advice
    assert TrainingConfig().min_counts == USUAL_MIN_COUNTS
    only_finding(inspect_one(folder, mpp=1.2), "pixel-size", "error")
    write_xenium(tissue, tmp_path / "xenium")
    inspection = inspect_one(tmp_path / "xenium")
    assert (inspection.platform, inspection.status) == ("xenium", 0), inspection.summary
    # For cells, the size of the full-resolution image is known from the run's own image.
    smaller = tmp_path / "smaller.png"
    Image.new("RGB", (300, 250), "white").save(smaller)
    finding = only_finding(inspect_one(tmp_path / "xenium", image=smaller), "not-full-resolution", "error")
    assert "he_image.ome.tif the positions refer to an image of 600 x 500 pixels: it is a smaller copy" in finding.text
    (tmp_path / "xenium/he_imagealignment.csv").unlink()
    inspection = inspect_one(tmp_path / "xenium")
    assert "unless a matrix is given as `alignment`" in only_finding(inspection, "reader", "warning").text
    # Now nothing but the file itself states its pixel size.
    doubt, stated = inspection.of("pixel-size")
    assert (doubt.level, stated.level) == ("warning", "info")
    assert "exactly 1 um by OME PhysicalSizeX" in doubt.text


def test_swapped_axes_are_found_by_the_frame_where_tissue_fills_the_image(tmp_path: Path) -> None:
    tissue = VirtualTissue.generate("breast", 3, 7, 700, 560)
    write_hest(replace(tissue.measure(spots(700, 560, 55, 100, hexagonal=True), 1), id="V"), tmp_path)
    assert inspect_one(tmp_path).status == 0

    def apply(table: anndata.AnnData) -> None:
        table.obsm["spatial"] = np.asarray(table.obsm["spatial"])[:, ::-1].copy()
        table.obs = table.obs[["in_tissue"]]

    inspection = inspect_one(hest(tmp_path, apply))
    finding = only_finding(inspection, "swapped", "error")
    assert "all regions are inside the image" in finding.text
    assert finding.advice == "Use `swap_xy=True`."
    assert only_finding(inspection, "outside", "error").advice == "See swapped."
    assert inspect_one(tmp_path, swap_xy=True).status == 0


def test_warnings_of_readers_become_findings() -> None:
    message = (
        "sample 'A; B': 3 bins without a position and 2 bins not under tissue are left out, 95 remain; "
        "4 columns added to others of the same gene; 5 columns of controls left out; the lattice leans."
    )
    findings = findings_of_warnings(
        [message.replace("A; B", "A"), "sample 'C': 2 columns added to others of the same gene."]
    )
    codes = ["one-sided", "duplicated-genes", "other-features", "reader", "duplicated-genes"]
    assert [finding.code for finding in findings] == codes
    assert findings[3].text == "The lattice leans."
    assert findings[0].text == "3 bins without a position and 2 bins not under tissue are left out, 95 remain."
    assert [finding.level for finding in weigh_duplicates(findings, 100)][-1] == "warning"


def test_values_that_json_does_not_know_are_converted() -> None:
    inspection = Inspection(
        "A", "hest", "by its files", (Finding("info", "x", "X.", "", {"a": np.float32(1), "b": float("nan")}),)
    )
    assert json.loads(json.dumps(inspection.to_json(), allow_nan=False))["findings"][0]["value"] == {
        "a": 1.0,
        "b": None,
    }


def test_cells_that_an_alignment_swaps(tmp_path: Path) -> None:
    tissue = VirtualTissue.generate("breast", 3, 7, 600, 500)
    folder = tmp_path / "xenium"
    write_xenium(tissue, folder)
    path = next(folder.rglob("*he_imagealignment.csv"))
    matrix = np.loadtxt(path, delimiter=",")
    np.savetxt(path, matrix[:, [1, 0, 2]], delimiter=",")
    inspection = inspect_one(folder)
    # The reader leaves out the cells that come to be outside the image; they count, too.
    assert inspection.codes == {"outside", "swapped"}, inspection.summary
    assert "Set `alignment`" in inspection.of("swapped")[0].advice
    np.savetxt(path, matrix[:, [1, 0, 2]] + [[0, 0, 3000], [0, 0, 0], [0, 0, 0]], delimiter=",")
    inspection = inspect_one(folder)
    assert inspection.codes >= {"refused", "outside"}, inspection.summary
    assert inspection.of("outside")[0].value["regions"] > 900


def test_a_refused_store_is_checked(tmp_path: Path) -> None:
    spatialdata = pytest.importorskip("spatialdata")
    models, here = spatialdata.models, {"global": spatialdata.transformations.Identity()}
    sample = VirtualTissue.generate("breast", 3, 7, 500, 300).measure(spots(500, 300, 20, 40), 1)
    rgb = sample.slide.read(0, 0, 500, 300, 1.0)[0]
    xy = sample.regions.centers_um[:, ::-1]
    table = sample.to_anndata()
    del table.obsm["spatial"]
    table.uns.clear()
    table.obs["region"], table.obs["instance"] = pd.Categorical(["spots"] * len(xy)), np.arange(len(xy))
    store = spatialdata.SpatialData.init_from_elements(
        {
            "he": models.Image2DModel.parse(np.moveaxis(rgb, -1, 0), dims=("c", "y", "x"), transformations=here),
            "spots": models.ShapesModel.parse(xy, 0, radius=10.0, transformations=here),
            "table": models.TableModel.parse(table, region="spots", region_key="region", instance_key="instance"),
        }
    )
    store.write(tmp_path / "store.zarr")
    inspection = inspect_one(tmp_path / "store.zarr", mpp=1.0)
    assert inspection.codes >= {"refused", "outside"}, inspection.summary
    assert inspection.of("outside")[0].value["regions"] == len(xy)


def test_a_sample_in_memory(sample: Sample) -> None:
    inspection = inspect_sample(sample).inspection
    assert inspection.status == 0, inspection.summary
    assert inspection.platform == "virtual"
    assert {finding.code for finding in inspection.findings} >= {"pixel-size", "on-tissue", "blur", "depth", "shift"}
