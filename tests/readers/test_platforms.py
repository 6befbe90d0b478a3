"""All platforms through one manifest and through `pixnet.read`, and a model that is trained on several of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Unpack

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse

import pixnet
from pixnet.config import Config
from pixnet.errors import DataError
from pixnet.readers.common import SampleOptions, given_options, telling_name
from pixnet.readers.entry import Entry
from pixnet.readers.manifest import manifest_entries, read_manifest
from pixnet.readers.platforms import PLATFORMS, Platform
from pixnet.readers.raw import RawFiles
from pixnet.readers.recognition import read, recognise
from pixnet.regions import Disks
from pixnet.sample import Sample
from pixnet.sample.counts import Counts
from pixnet.slide.slide import open_slide
from pixnet.virtual import VirtualTissue, spots, write_legacy_st
from pixnet.virtual.write.hest import write_hest
from pixnet.virtual.write.visium import write_visium
from pixnet.virtual.write.visium_hd import write_visium_hd
from pixnet.virtual.write.xenium import write_xenium

SIDE_UM = 500.0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a virtual tissue as every platform would; give the manifest of all of them."""
    folder = tmp_path_factory.mktemp("platforms")
    tissues = [VirtualTissue.generate("breast", seed, seed, SIDE_UM, SIDE_UM) for seed in (1, 2)]
    visium = tissues[0].measure(spots(SIDE_UM, SIDE_UM, 55.0, 100.0, hexagonal=True), 0)
    legacy = tissues[1].measure(spots(SIDE_UM, SIDE_UM, 55.0, 100.0), 1)
    entries: list[dict[str, Any]] = [
        {**write_visium(visium, folder / "visium"), "root": "visium", "mpp": 1.0},
        {**write_visium_hd(tissues[1], folder / "hd", (8, 16)), "root": "hd", "bin_um": 48.0},
        {**write_xenium(tissues[0], folder / "xenium"), "root": ".", "regions": 50.0},
        {**write_hest(visium, folder / "hest"), "root": "hest"},
        {**write_legacy_st(legacy, folder / "legacy", 100.0), "root": "legacy"},
    ]
    parts = []
    for entry in entries:
        root = entry.pop("root")
        entry["id"] = entry["platform"]
        for key in ("path", "image", "counts", "spots"):
            if key in entry:
                entry[key] = f"{root}/{entry[key]}"
        parts.append("[[sample]]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in entry.items()))
    manifest = folder / "samples.toml"
    manifest.write_text("\n\n".join(parts) + "\n")
    return manifest


def test_one_manifest_lists_every_platform(dataset: Path) -> None:
    samples = {sample.id: sample for sample in read_manifest(dataset)}
    assert set(samples) == {"visium", "visium-hd", "xenium", "hest", "legacy-st"}
    assert all(sample.platform == name for name, sample in samples.items())
    # The same spots, in the order of their barcodes and in that of the table.
    visium, hest = samples["visium"], samples["hest"]
    pairs = np.linalg.norm(visium.regions.centers_um[:, None] - hest.regions.centers_um[None], axis=2)
    assert pairs.min(axis=1).max() <= 0.71  # Visium's positions are whole pixels
    assert np.array_equal(visium.counts.matrix.toarray(), hest.counts.matrix.toarray()[pairs.argmin(axis=1)])
    assert np.allclose(samples["visium-hd"].regions.areas_um2, 48.0**2, rtol=1e-3)
    assert np.allclose(samples["xenium"].regions.areas_um2, 50.0**2)
    for sample in samples.values():
        assert sample.slide.mpp == pytest.approx(1.0, rel=2e-3)
        assert sample.depth.sum() > 0


@pytest.mark.parametrize(
    ("place", "platform"),
    [
        ("visium/*/outs", "visium"),
        ("visium/*", "visium"),
        ("hd/*/outs", "visium-hd"),
        ("hd/*/outs/binned_outputs", "visium-hd"),
        ("hd/*/outs/binned_outputs/square_008um", "visium-hd"),
        ("xenium", "xenium"),
        ("hest", "hest"),
        ("hest/st/*.h5ad", "hest"),
    ],
)
def test_a_path_tells_its_platform(dataset: Path, place: str, platform: str) -> None:
    (path,) = [found for found in dataset.parent.glob(place) if not found.name.endswith((".tif", ".toml"))]
    found, why = recognise(path)
    assert found == platform
    assert why
    images = list(dataset.parent.glob("hd/*/*.tif"))
    options = {"image": images[0]} if platform == "visium-hd" else {}
    sample = read(path, **options)
    assert sample.platform == platform
    assert sample.slide.mpp_source != "manifest"


def test_the_same_sample_either_way(dataset: Path) -> None:
    (path,) = dataset.parent.glob("visium/*/outs")
    by_name = pixnet.read_visium(path, mpp=1.0)
    by_path = pixnet.read(path, mpp=1.0, id="mine", donor="D")
    assert (by_path.id, by_path.donor) == ("mine", "D")
    assert np.array_equal(by_name.counts.matrix.toarray(), by_path.counts.matrix.toarray())
    assert np.array_equal(by_name.regions.centers_um, by_path.regions.centers_um)


def test_what_is_not_known_is_told(tmp_path: Path, dataset: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or folder"):
        recognise(tmp_path / "none")
    with pytest.raises(DataError, match="from none of the known platforms"):
        recognise(tmp_path)
    with pytest.raises(DataError, match="unknown key 'bins'; did you mean 'bin_um'"):
        read(next(dataset.parent.glob("hd/*/outs")), bins=8)
    with pytest.raises(DataError, match=r"has the platform 'visum'.*Did you mean 'visium'"):
        read(dataset.parent / "hest", platform="visum")


def test_what_was_meant_is_guessed(tmp_path: Path, dataset: Path) -> None:
    (outs,) = dataset.parent.glob("visium/*/outs")
    for part in (outs / "spatial", next(outs.glob("*.h5"))):
        with pytest.raises(DataError, match=rf"It is a part of .*{outs.name}, which is from visium: give that\."):
            recognise(part)
    with pytest.raises(DataError, match=r"It is a part of .*hest, which is from hest"):
        recognise(dataset.parent / "hest/wsis")
    for kept, says in (
        ("outs/spatial/a.csv", r"It has spatial, but no feature matrix .*copy the whole folder"),
        ("transcripts.parquet", r"It has transcripts\.parquet, but no experiment\.xenium"),
        ("st/a.h5ad", "It has st, but no wsis/, as HEST has"),
    ):
        folder = tmp_path / kept.replace("/", "_").replace(".", "_")
        path = folder / kept
        path.parent.mkdir(parents=True)
        path.touch()
        with pytest.raises(DataError, match=says):
            recognise(folder)
    with pytest.raises(
        DataError, match=r"regions = 'bins' is not valid: .*'nuclei', or input should be a valid number"
    ):
        read(dataset.parent / "xenium", platform="xenium", regions="bins")


def test_polygons_include_and_exclude(dataset: Path) -> None:
    def square(left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        return {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}

    for name, shape in (
        ("keep", square(0, 0, 500, 250)),
        ("fold", square(0, 0, 200, 500)),
        ("none", square(0, 0, 1, 1)),
    ):
        (dataset.parent / f"{name}.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [shape]}))
    text = dataset.read_text()
    (entry,) = [part for part in text.split("\n\n") if '"legacy-st"' in part]
    changed = dataset.with_name("changed.toml")
    changed.write_text(entry + '\ninclude = "keep.geojson"\nexclude = "fold.geojson"\n')
    whole = read_manifest(dataset, ["legacy-st"])[0].regions.centers_um
    (sample,) = read_manifest(changed)
    expected = whole[(whole[:, 1] < 250) & (whole[:, 0] > 200)]
    assert 0 < len(expected) < len(whole)
    assert np.array_equal(sample.regions.centers_um, expected)
    changed.write_text(entry + '\ninclude = "none.geojson"\n')
    with pytest.raises(DataError, match=r"none\.geojson: leaves no region of sample 'legacy-st'"):
        read_manifest(changed)


def test_the_keys_of_a_platform_are_its_own(dataset: Path) -> None:
    text = dataset.read_text().replace('platform = "visium"\n', 'platform = "visium"\nbin_um = 8\n')
    changed = dataset.with_name("wrong.toml")
    changed.write_text(text)
    with pytest.raises(DataError, match="sample 'visium': unknown key 'bin_um'"):
        manifest_entries(changed)


@pytest.mark.parametrize("platform", ["visium", "visium-hd"])
def test_the_raw_matrix_can_be_asked_for_everywhere(dataset: Path, platform: str) -> None:
    text = dataset.read_text().replace(f'platform = "{platform}"\n', f'platform = "{platform}"\nfiltered = false\n')
    changed = dataset.with_name("raw.toml")
    changed.write_text(text)
    with pytest.raises(DataError, match=r"raw_feature_bc_matrix\.h5.* not found"):
        read_manifest(changed, [platform])
    changed.write_text(text.replace("filtered = false", "filtered = true"))
    assert len(read_manifest(changed, [platform])[0].regions) > 0


class PatchEntry(Entry):
    """An image with one patch; stands for a platform that somebody adds."""

    reader: ClassVar[str] = "tests.readers.patch:read_patch"
    path: Path


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a platform as its author would: a module with a reader, and one row of the table."""
    module = ModuleType("tests.readers.patch")

    def read_patch(path: Path, image: Path | None = None, **options: Unpack[SampleOptions]) -> Sample:
        given = given_options(**options)
        slide = open_slide(image or path / "patch.png", given.pixel)
        counts = Counts(sparse.csr_matrix([[3.0]], dtype=np.float32), pd.Index(["EPCAM"]))
        return Sample(given.id or telling_name(path), slide, Disks([[20.0, 20.0]], 10.0), counts, given.donor, "patch")

    def raw_places(entry: PatchEntry, raw: RawFiles) -> None:
        raw.image = entry.path / "patch.png"

    functions = {"read_patch": read_patch, "raw_places": raw_places, "raw_counts": lambda entry: None}
    for name, function in functions.items():
        setattr(module, name, function)
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def sign(path: Path) -> str:
        return "it has patch.png" if (path / "patch.png").is_file() else ""

    platform = Platform("patch", PatchEntry, sign, {"patch.txt": "no patch.png"})
    monkeypatch.setitem(PLATFORMS, "patch", platform)


def test_a_row_of_the_table_adds_a_platform(tmp_path: Path, patch: None) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.new("RGB", (64, 64), (200, 120, 180)).save(folder / "patch.png")
    assert recognise(folder) == ("patch", "it has patch.png")
    sample = read(folder, mpp=1.0)
    assert (sample.id, sample.platform, sample.slide.mpp_source) == ("mine", "patch", "argument")
    manifest = tmp_path / "samples.toml"
    manifest.write_text('[[sample]]\nid = "a"\nplatform = "patch"\npath = "mine"\nmpp = 2.0\n')
    assert read_manifest(manifest)[0].slide.mpp_source == "manifest"
    (inspected,) = pixnet.inspect(folder, mpp=1.0)
    assert (inspected.inspection.platform, inspected.inspection.recognised_by) == ("patch", "it has patch.png")
    (inspected,) = pixnet.inspect(folder)
    assert "no pixel size" in inspected.inspection.summary
    (folder / "patch.png").rename(folder / "patch.txt")
    with pytest.raises(DataError, match=r"It has patch\.txt, but no patch\.png: copy the whole folder"):
        recognise(folder)


def test_platforms_train_one_model(dataset: Path, tmp_path: Path) -> None:
    samples = read_manifest(dataset, ["visium", "visium-hd", "xenium"])
    config = Config.from_dict(
        {
            "network": {
                "encoder": {"name": "test_resnet", "weights": "random", "finest": 4, "stride": 16},
                "decoder": {"channels": [6] * 3, "dsub_steps": 1},
                "surroundings_um": [64.0],
            },
            "training": {
                "steps": 4, "tiles": 6, "tile_um": 80.0, "views": 1, "min_counts": 20, "validation": "none",
            },
            "genes": {"number": 12, "measured_in": "any"},
        }
    )  # fmt: skip
    model = pixnet.PixNet(config).fit(samples, work=tmp_path / "work")
    assert len(model.genes) == 12
    field = model.predict(samples[0].slide, tmp_path / "field")
    for sample in samples[:1]:
        assert np.isfinite(field.query(sample.regions).X).all()
