"""The smallest valid input of each reader, and how to read it."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests.fuzz.hostile import make_bombs, make_field, make_model, read_bomb, read_field, read_model

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "data" / "fixtures"

MPP = 0.5


@dataclass(frozen=True)
class Target:
    """An input to be damaged.

    Attributes
    ----------
    name
        Name of the input, and of its folder.
    read
        Function that reads the input in a folder, and raises AssertionError if the result is not valid.
    damaged
        Patterns of the files to damage.
    made_by
        Function that writes the input into a folder; None if it cannot be made on this computer.
    """

    name: str
    read: Callable[[Path], None]
    damaged: tuple[str, ...]
    made_by: Callable[[Path], None] | None


def check_sample(sample: Any) -> None:
    """Check what all users of a sample rely on."""
    matrix = sample.counts.matrix
    assert type(sample).__name__ == "Sample"
    assert matrix.shape == (len(sample.regions), len(sample.genes))
    assert len(sample.regions) > 0
    assert np.isfinite(matrix.data).all()
    assert (matrix.data >= 0).all()
    assert not len(matrix.indices) or (matrix.indices.min() >= 0 and matrix.indices.max() < matrix.shape[1])
    assert np.isfinite(sample.regions.bounds_um).all()
    assert sample.slide.mpp > 0
    check_slide(sample.slide)


def check_slide(slide: Any) -> None:
    """Check that pixels of a slide can be read, as many as requested."""
    thumbnail, um_per_px = slide.thumbnail(64)
    assert thumbnail.ndim == 3
    assert max(thumbnail.shape) <= 65
    x, y = slide.width_um / 2, slide.height_um / 2
    rgb, mask = slide.read(x, y, 32 * slide.mpp, 32 * slide.mpp, slide.mpp)
    assert rgb.shape == (32, 32, 3)
    assert mask.shape == (32, 32)
    assert um_per_px > 0


# Functions that read an input.


def _reader(name: str, path: str, **options: Any) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        import pixnet

        check_sample(getattr(pixnet, name)(folder / path, **options))

    return read


def _read_legacy(counts: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        import pixnet

        check_sample(
            pixnet.read_legacy_st(
                folder / "a.png", folder / counts, folder / "a_spots.tsv", id="a", spot_diameter_um=30, spot_pitch_um=60
            )
        )

    return read


def _read_legacy_fixture(folder: Path) -> None:
    import pixnet

    check_sample(pixnet.read_legacy_st(folder / "image.jpg", folder / "counts.tsv", folder / "spots.tsv", id="a"))


def _read_manifest(folder: Path) -> None:
    import pixnet

    for sample in pixnet.read_manifest(folder / "samples.toml"):
        check_sample(sample)


def _read_h5ad(table: str, image: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        import pixnet

        check_sample(pixnet.read_anndata(folder / table, folder / image, mpp=MPP, diameter_um=20.0))

    return read


def _read_slide(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        import pixnet

        check_slide(pixnet.Slide.open(folder / name, mpp=MPP))

    return read


def _read_polygons(folder: Path) -> None:
    import pixnet

    regions = pixnet.Polygons.from_geojson(folder / "a.geojson", MPP)
    assert len(regions) > 0
    assert np.isfinite(regions.bounds_um).all()
    assert np.isfinite(regions.areas_um2).all()


# Functions that make an input.


@functools.cache
def _tissue(width: float = 160.0, height: float = 120.0) -> Any:
    from pixnet.virtual import VirtualTissue

    return VirtualTissue.generate("breast", 3, 7, width, height, mpp=MPP)


def _spots(width: float, height: float, diameter: float, pitch: float, hexagonal: bool = False) -> Any:
    from pixnet.virtual import spots

    tissue = _tissue(width, height)
    return tissue.measure(spots(width, height, diameter, pitch, hexagonal=hexagonal), 1)


def _make_legacy(folder: Path) -> None:
    from pixnet.virtual import write_dataset

    sample = _spots(300.0, 240.0, 30.0, 60.0)
    sample = type(sample)("a", sample.slide, sample.regions, sample.counts, "donor", sample.platform)
    write_dataset(folder, [sample], pitch_um=60.0)
    (folder / "a.tsv").write_bytes(gzip.decompress((folder / "a.tsv.gz").read_bytes()))


def _make_visium(folder: Path) -> None:
    from pixnet.virtual import write_visium

    sample = _spots(420.0, 360.0, 55.0, 100.0, hexagonal=True)
    write_visium(type(sample)("a", sample.slide, sample.regions, sample.counts, None, sample.platform), folder, 2)


def _make_visium_text(folder: Path) -> None:
    _make_visium(folder)
    _matrix_as_text(folder / "a" / "outs" / "filtered_feature_bc_matrix.h5")


def _make_visium_parquet(folder: Path) -> None:
    import pandas as pd

    _make_visium_text(folder)
    positions = folder / "a" / "outs" / "spatial" / "tissue_positions.csv"
    pd.read_csv(positions).to_parquet(positions.with_suffix(".parquet"), index=False)
    positions.unlink()


def _matrix_as_text(path: Path) -> None:
    """Replace a matrix in HDF5 by the folder of text files that Space Ranger also writes."""
    import io

    from scipy import io as scipy_io

    from pixnet.readers.formats.tenx_matrix import read_tenx_matrix

    table = read_tenx_matrix(path)
    folder = path.with_suffix("")
    folder.mkdir()
    stream = io.BytesIO()
    scipy_io.mmwrite(stream, table.matrix.T.astype(np.int32).tocoo())
    features = "".join(f"{i}\t{n}\tGene Expression\n" for i, n in zip(table.ids, table.names, strict=True))
    (folder / "matrix.mtx.gz").write_bytes(gzip.compress(stream.getvalue()))
    (folder / "features.tsv.gz").write_bytes(gzip.compress(features.encode()))
    (folder / "barcodes.tsv.gz").write_bytes(gzip.compress(b"".join(name + b"\n" for name in table.barcodes)))
    path.unlink()


def _make_visium_hd(folder: Path) -> None:
    from pixnet.virtual import write_visium_hd

    write_visium_hd(_tissue(), folder, bin_sizes=(8,), angle_deg=3.0, seed=1)
    next(folder.iterdir()).rename(folder / "a")
    next((folder / "a").glob("*.tif")).rename(folder / "a" / "a.tif")


def _make_visium_hd_text(folder: Path) -> None:
    _make_visium_hd(folder)
    _matrix_as_text(folder / "a/outs/binned_outputs/square_008um/filtered_feature_bc_matrix.h5")
    _matrix_as_text(folder / "a/outs/segmented_outputs/filtered_feature_cell_matrix.h5")


def _make_xenium(folder: Path) -> None:
    from pixnet.virtual import write_xenium

    write_xenium(_tissue(), folder / "a", 5)


def _make_xenium_text(folder: Path) -> None:
    import pandas as pd

    _make_xenium(folder)
    _matrix_as_text(folder / "a" / "cell_feature_matrix.h5")
    for stem, end in (("cell_boundaries", ".csv.gz"), ("nucleus_boundaries", ".csv")):
        path = folder / "a" / f"{stem}.parquet"
        pd.read_parquet(path).to_csv(path.with_name(stem + end), index=False)
        path.unlink()


def _make_hest(folder: Path) -> None:
    from pixnet.virtual import write_hest

    sample = _spots(420.0, 360.0, 55.0, 100.0, hexagonal=True)
    write_hest(type(sample)("a", sample.slide, sample.regions, sample.counts, "donor", sample.platform), folder)


def _make_table(folder: Path) -> Any:
    sample = _spots(160.0, 120.0, 20.0, 40.0)
    _save_images(sample.slide, folder, ["a.png"])
    table = sample.to_anndata()
    table.obs["kind"] = np.array(["tumour", "stroma"])[np.arange(len(table)) % 2]
    table.obs["kind"] = table.obs["kind"].astype("category")
    table.layers["dense"] = table.X.toarray()
    return table


def _make_h5ad(folder: Path) -> None:
    _make_table(folder).write_h5ad(folder / "a.h5ad")


def _make_zarr(folder: Path) -> None:
    _make_table(folder).write_zarr(folder / "a.zarr")


def _make_spatialdata(folder: Path) -> None:
    import spatialdata

    sample = _spots(160.0, 120.0, 20.0, 40.0)
    slide, models = sample.slide, spatialdata.models
    rgb, _ = slide.read(0, 0, slide.width_um, slide.height_um, slide.mpp)
    table = sample.to_anndata()
    table.obs["region"], table.obs["instance"] = "spots", np.arange(len(table))
    table.obs["region"] = table.obs["region"].astype("category")
    elements = {
        "he": models.Image2DModel.parse(np.moveaxis(rgb, -1, 0), dims=("c", "y", "x"), c_coords=["r", "g", "b"]),
        "spots": models.ShapesModel.parse(sample.regions.centers_um / slide.mpp, 0, radius=20.0),
        "table": models.TableModel.parse(table, region="spots", region_key="region", instance_key="instance"),
    }
    spatialdata.SpatialData.init_from_elements(elements).write(folder / "a.zarr")


def _make_polygons(folder: Path) -> None:
    ring = [[10, 10], [60, 12], [58, 50], [9, 48], [10, 10]]
    hole = [[20, 20], [30, 20], [30, 30], [20, 30], [20, 20]]
    other = [[[[70, 70], [90, 70], [80, 95], [70, 70]]]]
    features = [
        {"type": "Feature", "id": "a", "properties": {"name": "tumour"}, "geometry": {"type": kind, "coordinates": xy}}
        for kind, xy in (("Polygon", [ring, hole]), ("MultiPolygon", other))
    ]
    (folder / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def _images(*names: str) -> Callable[[Path], None]:
    return lambda folder: _save_images(_tissue().slide, folder, names)


def _save_images(slide: Any, folder: Path, names: Any) -> None:
    import tifffile
    from PIL import Image

    rgb, _ = slide.read(0, 0, slide.width_um, slide.height_um, slide.mpp)
    half = np.ascontiguousarray(rgb[::2, ::2])
    tiled: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64)}
    for name in names:
        path = folder / name
        if name in ("a.png", "a.jpg", "a.webp", "a.jp2", "a.bmp"):
            Image.fromarray(rgb).save(path)
        elif name == "progressive.jpg":
            Image.fromarray(rgb).save(path, progressive=True)
        elif name == "palette.png":
            Image.fromarray(rgb).quantize(64).save(path)
        elif name == "strips.tif":
            tifffile.imwrite(path, rgb, photometric="rgb", compression="lzw", rowsperstrip=16)
        elif name in ("zlib.tif", "jpeg.tif", "jpeg2000.tif", "zstd.tif"):
            tifffile.imwrite(path, rgb, compression=path.stem, **tiled)
        elif name == "a.ome.tif":
            with tifffile.TiffWriter(path, ome=True) as file:
                file.write(rgb, subifds=1, metadata={"axes": "YXS", "PhysicalSizeX": MPP}, compression="zlib", **tiled)
                file.write(half, subfiletype=1, compression="zlib", **tiled)
        elif name == "a.svs":
            description = (
                f"Aperio Image Library v1.0\r\n{rgb.shape[1]}x{rgb.shape[0]} JPEG/RGB Q=90|AppMag = 20|MPP = {MPP}"
            )
            with tifffile.TiffWriter(path) as file:
                file.write(rgb, compression="jpeg", description=description, metadata=None, **tiled)
                file.write(half, compression="jpeg", description=description, metadata=None, **tiled)
        else:
            raise ValueError(name)


def _fixture(*names: str, at: str = "") -> Callable[[Path], None] | None:
    """Return a function that copies real data; None if the data are missing."""
    paths = [FIXTURES / name for name in names]
    if not all(path.exists() for path in paths):
        return None

    def make(folder: Path) -> None:
        (folder / at).mkdir(parents=True, exist_ok=True)
        for path in paths:
            if path.is_dir():
                shutil.copytree(path, folder / at / path.name)
            else:
                shutil.copyfile(path, folder / at / path.name)

    return make


_HD = "a/outs/binned_outputs/square_008um"
_SPATIALDATA = _make_spatialdata if importlib.util.find_spec("spatialdata") else None
_IMAGES = ("a.png", "palette.png", "a.jpg", "progressive.jpg", "a.webp", "a.jp2", "strips.tif", "zlib.tif")
_MORE_IMAGES = ("jpeg.tif", "jpeg2000.tif", "zstd.tif", "a.ome.tif", "a.svs")
_CORE = tuple(f"hest-xenium/NCBI858.{end}" for end in ("h5ad", "json", "jpg"))
_LEGACY = tuple(f"legacy-st-small/{name}" for name in ("counts.tsv", "spots.tsv", "image.jpg"))

TARGETS = [
    Target("legacy-st", _read_legacy("a.tsv"), ("a.tsv", "a_spots.tsv", "a.png"), _make_legacy),
    Target("legacy-st-gz", _read_legacy("a.tsv.gz"), ("a.tsv.gz",), _make_legacy),
    Target("legacy-st-real", _read_legacy_fixture, ("*.tsv",), _fixture(*_LEGACY)),
    Target("manifest", _read_manifest, ("samples.toml",), _make_legacy),
    Target("visium-h5", _reader("read_visium", "a"), ("**/*.h5",), _make_visium),
    Target("visium-text", _reader("read_visium", "a"), ("**/*.gz", "**/*.csv", "**/*.json"), _make_visium_text),
    Target(
        "visium-parquet", _reader("read_visium", "a"), ("**/*.parquet", "**/*.png", "**/*.tif"), _make_visium_parquet
    ),
    Target("visium-hd-h5", _reader("read_visium_hd", "a"), (f"{_HD}/*.h5",), _make_visium_hd),
    Target(
        "visium-hd-text",
        _reader("read_visium_hd", "a"),
        (f"{_HD}/*/*.gz", f"{_HD}/spatial/*.parquet", f"{_HD}/spatial/*.json", "a/a.tif"),
        _make_visium_hd_text,
    ),
    Target(
        "visium-hd-cells",
        _reader("read_visium_hd_cells", "a"),
        ("**/*cell*/*.gz", "**/*.geojson"),
        _make_visium_hd_text,
    ),
    Target("xenium-h5", _reader("read_xenium", "a"), ("**/*.h5",), _make_xenium),
    Target("xenium-nuclei", _reader("read_xenium", "a", regions="nuclei"), ("a/*.parquet",), _make_xenium),
    Target(
        "xenium-squares",
        _reader("read_xenium", "a", regions=20.0),
        ("a/transcripts.parquet", "a/*.csv", "a/experiment.xenium", "a/*.tif"),
        _make_xenium_text,
    ),
    Target("xenium-text", _reader("read_xenium", "a"), ("a/*.csv", "a/*.csv.gz", "a/*/*.gz"), _make_xenium_text),
    Target("hest", _reader("read_hest", "", id="a"), ("st/*", "metadata/*", "wsis/*"), _make_hest),
    Target(
        "hest-real", _reader("read_hest", "NCBI858.h5ad", mpp=1.0, swap_xy=True), ("*.h5ad", "*.json"), _fixture(*_CORE)
    ),
    Target("anndata-h5ad", _read_h5ad("a.h5ad", "a.png"), ("a.h5ad",), _make_h5ad),
    Target("anndata-zarr", _read_h5ad("a.zarr", "a.png"), ("a.zarr/**/*",), _make_zarr),
    Target("spatialdata", _reader("read_spatialdata", "a.zarr", mpp=MPP), ("a.zarr/**/*",), _SPATIALDATA),
    Target("model", read_model, ("model/*",), make_model),
    Target("field", read_field, ("field/**/*",), make_field),
    Target("bombs", read_bomb, ("choice.txt",), make_bombs),
    Target("polygons", _read_polygons, ("a.geojson",), _make_polygons),
    *(Target(f"image-{name}", _read_slide(name), (name,), _images(name)) for name in (*_IMAGES, *_MORE_IMAGES)),
    Target("image-real.svs", _read_slide("CMU-1-Small-Region.svs"), ("*",), _fixture("wsi/CMU-1-Small-Region.svs")),
]
"""All inputs; `made_by` is None for those that cannot be made on this computer."""
