"""One fault of each kind, planted in virtual tissue, is found and gets the right advice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import sparse

from pixnet.inspection import inspect
from pixnet.sample import Sample
from pixnet.slide.stain import StainProfile
from pixnet.virtual import VirtualTissue, spots, write_hest

Table = anndata.AnnData


def table(change: Callable[[Table], None]) -> Callable[[Path], None]:
    """Plant a fault in the table of counts."""

    def plant(folder: Path) -> None:
        path = folder / "st/V.h5ad"
        read = anndata.read_h5ad(path)
        change(read)
        read.write_h5ad(path)

    return plant


def moved(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Plant a fault in the positions."""

    def apply(counts: Table) -> None:
        counts.obsm["spatial"] = change(np.asarray(counts.obsm["spatial"]))
        counts.obs = counts.obs[["in_tissue"]]

    return table(apply)


def counted(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Plant a fault in the counts."""

    def apply(counts: Table) -> None:
        counts.X = change(sparse.csr_matrix(counts.X).toarray().astype(float))

    return table(apply)


def put(place: Any, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values[place] = value
        return values

    return change


def per_10k(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(values.sum(axis=1, keepdims=True), 1) * 1e4


def mitochondrial(counts: Table) -> None:
    counts.var_names = ["MT-CO1", *counts.var_names[1:]]
    values = sparse.csr_matrix(counts.X).toarray()
    values[:, 0] += values.sum(axis=1)
    counts.X = values


def named_twice(counts: Table) -> None:
    counts.var_names = [counts.var_names[1], *counts.var_names[1:]]


def without_positions(folder: Path) -> None:
    path = folder / "outs/spatial/tissue_positions.csv"
    positions = pd.read_csv(path)
    positions.drop(index=np.flatnonzero(positions["in_tissue"])[:3]).to_csv(path, index=False)


def without_image(folder: Path) -> None:
    (folder / "V.tif").unlink()


def damaged(folder: Path) -> None:
    path = folder / "wsis/V.tif"
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        starts, sizes = page.dataoffsets, page.databytecounts
    data = bytearray(path.read_bytes())
    for start, size in zip(starts[:2], sizes[:2], strict=True):
        data[start : start + size] = b"\xff" * size
    path.write_bytes(data)


@dataclass(frozen=True)
class Fault:
    """A fault to plant, and parts of the text and the advice of its finding."""

    code: str
    level: str
    plant: Callable[[Path], None] = lambda _: None
    text: str = ""
    advice: str = ""
    platform: str = "hest"
    options: dict[str, Any] = field(default_factory=dict)


FAULTS = [
    Fault("pixel-size", "error", text="of 0.8 um (argument) contradicts", advice="`mpp=1`", options={"mpp": 0.8}),
    Fault(
        "not-full-resolution",
        "error",
        text="smaller copy",
        advice="as `image`",
        platform="visium",
        options={"image": "outs/spatial/tissue_lowres_image.png"},
    ),
    Fault("swapped", "error", moved(lambda xy: xy[:, ::-1].copy()), "x and y swapped", "`swap_xy=True`"),
    Fault("flipped", "error", moved(lambda xy: [1700, 0] + xy * [-1, 1]), "x counted from the right", "flip the image"),
    Fault("outside", "error", moved(lambda xy: xy - [-200, 0]), "outside the image", "`image`"),
    Fault("on-tissue", "warning", moved(lambda xy: xy - [300, 0]), "of the regions are on tissue", "same section"),
    Fault(
        "one-sided",
        "warning",
        without_positions,
        "3 spots with counts but without a position",
        "the same run",
        "visium",
    ),
    Fault("duplicated-genes", "warning", table(named_twice), "1 ", "summed"),
    Fault("negative", "error", counted(put((3, 5), -2.0)), "the lowest is -2", "raw counts"),
    Fault("not-finite", "error", counted(put((slice(None), 5), np.nan)), "values are NaN", "raw counts"),
    Fault("fractional", "error", counted(put((3, 5), 1000.5)), "are fractions", "raw counts"),
    Fault("normalised", "error", counted(per_10k), "each region has a total of 1e+04", "raw counts"),
    Fault("logged", "error", counted(lambda values: np.log1p(per_10k(values))), "already logged", "raw counts"),
    Fault("empty", "warning", counted(put(slice(0, 3), 0)), "3 of", "min_counts"),
    Fault("near-empty", "warning", counted(put((4, slice(1, None)), 0)), "1 of", "min_counts"),
    Fault("no-depth", "warning", counted(put(slice(0, -3), 0)), "Most regions have no counts", "the same section"),
    Fault("mitochondrial", "warning", table(mitochondrial), "mitochondrial", "panel"),
    Fault("shift", "warning", moved(lambda xy: xy - [36, -48]), "moved by", "registration"),
    Fault("damaged-image", "warning", damaged, "cannot be read", "again"),
    Fault("refused", "error", without_image, "full-resolution image not found", platform="visium"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.code)
def test_a_fault_is_found(spoil: Callable[[str], Path], fault: Fault) -> None:
    folder = spoil(fault.platform) / ("V" if fault.platform == "visium" else "")
    fault.plant(folder)
    options = {key: folder / value if key == "image" else value for key, value in fault.options.items()}
    inspection = inspect(folder, **options)[0].inspection
    assert [finding.level for finding in inspection.of(fault.code)] == [fault.level], inspection.summary
    finding = inspection.of(fault.code)[0]
    assert fault.text in finding.text
    assert fault.advice in finding.advice
    assert inspection.status == (2 if fault.level == "error" else 1), inspection.summary


@pytest.mark.parametrize(("code", "blur", "mpp"), [("blur", 3.0, 1.0), ("coarse", 0.0, 2.0)])
def test_a_poor_image_is_found(
    canvas: Callable[..., Sample], tmp_path: Path, code: str, blur: float, mpp: float
) -> None:
    tissue = VirtualTissue.generate("breast", 3, 7, 900, 700, mpp)
    write_hest(canvas(tissue, spots(900, 700, 55, 100, hexagonal=True), blur), tmp_path)
    inspection = inspect(tmp_path)[0].inspection
    assert inspection.codes == {code}, inspection.summary
    assert inspection.of(code)[0].advice


def card(mpp: float, *means: tuple[float, float, float]) -> dict[str, Any]:
    """Return the part of a model's card that an inspection uses."""
    profiles = [StainProfile(mean, (0.1, 0.1, 0.1)).to_json() for mean in means]
    return {"mpp": mpp, "samples": [{"id": f"T{index}", "stain": profile} for index, profile in enumerate(profiles)]}


def test_what_a_model_cannot_use_is_found(written: Path, sample: Sample) -> None:
    own = StainProfile.from_slide(sample.slide)
    assert own is not None
    inspection = inspect(written / "hest", card=card(1.0, own.mean))[0].inspection
    assert inspection.codes == set(), inspection.summary
    assert inspection.of("stain")[0].value["nearest"] == "T0"
    far = tuple(value + 0.3 for value in own.mean)
    inspection = inspect(written / "hest", card=card(1.0, far))[0].inspection
    assert inspection.codes == {"stain"}
    finding = inspection.of("stain")[0]
    assert finding.level == "warning"
    assert "10.0 sd away from that of the training slides" in finding.text
    assert "'T0', is 10.0 sd away" in finding.text
    assert "stain_jitter" in finding.advice
    inspection = inspect(written / "hest", card=card(0.5, own.mean))[0].inspection
    assert inspection.codes == {"coarse"}
    assert inspection.status == 2
    assert "0.5 um/px (at most 0.75)" in inspection.of("coarse")[0].text
