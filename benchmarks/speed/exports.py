"""Predict real slides, export them to every format, and read them again with each format's own library.

`python -m benchmarks.speed.exports MODEL OUT` predicts a Her2ST section and an Aperio slide with a trained model,
compares what the libraries read with the field, and draws it next to the H&E image in OUT/NAME.png.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.processes import ROOT
from pixnet.field import ExpressionField
from pixnet.model import PixNet
from pixnet.slide import Slide

_DATA = ROOT.parent / "shared" / "data"
_SLIDES = {
    "her2st-c3": (_DATA / "her2st/data/ST-imgs/C/C3/5714_HE_BT_D1.jpg", 0.69),
    "cmu-1-small-region": (_DATA / "fixtures/wsi/CMU-1-Small-Region.svs", None),
}
_GENES = 3
_REGION_UM = 100.0
_ENDING = {"ome-zarr": "zarr", "ome-tiff": "ome.tif", "spatialdata": "sd.zarr", "geojson": "geojson", "csv": "csv"}

Maps = NDArray[np.float32]


def run(model: Path, out: Path) -> None:
    """Predict, export, open, compare and draw."""
    trained = PixNet.load(model)
    for name, (path, mpp) in _SLIDES.items():
        if not path.exists():
            print(f"{name}: skipped, because {path.name} is not in ../shared")
            continue
        slide = Slide.open(path, mpp)
        field = trained.predict(slide, out / f"{name}.field", resume=True)
        genes = list(field.gene_names[:: len(field.gene_names) // _GENES][:_GENES])
        expected = field.genes(genes).values
        opened: dict[str, Maps] = {}
        for form, ending in _ENDING.items():
            target = out / f"{name}.{ending}"
            grid_um = _REGION_UM if form in _TABLES else None
            field.export(target, form, genes, grid_um=grid_um, overwrite=True)
            if form in _IMAGES:
                maps, pitch = _IMAGES[form](target, genes)
                maps = maps[:, : expected.shape[1], : expected.shape[2]]
                print(f"{name:20} {form:12} {_compared(maps, expected)}; pixels of {pitch:g} um")
                opened[form] = maps
            else:
                print(f"{name:20} {form:12} {_TABLES[form](target, field, genes)}")
        _draw(out / f"{name}.png", slide, field, genes, opened, out / f"{name}.geojson")


def _ome_zarr(path: Path, genes: list[str]) -> tuple[Maps, float]:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    (node,) = [node for node in Reader(parse_url(path))() if node.data]
    scale = node.metadata["coordinateTransformations"][0][0]["scale"]
    assert list(node.metadata["channel_names"]) == genes
    return np.asarray(node.data[0]), float(scale[-1])


def _ome_tiff(path: Path, genes: list[str]) -> tuple[Maps, float]:
    import tifffile
    from ome_types import from_tiff

    pixels = from_tiff(path).images[0].pixels
    assert [channel.name for channel in pixels.channels] == genes
    assert pixels.physical_size_x_unit.value == "µm"
    return tifffile.imread(path), float(pixels.physical_size_x)


def _spatialdata(path: Path, genes: list[str]) -> tuple[Maps, float]:
    import spatialdata
    from spatialdata.transformations import get_transformation

    data = spatialdata.read_zarr(path)
    (key,) = data.images
    image = data.images[key]
    finest = image["scale0"]["image"] if hasattr(image, "children") else image
    assert list(map(str, finest.coords["c"].values)) == genes
    to_um = get_transformation(image, to_coordinate_system="um").to_affine_matrix(("x", "y"), ("x", "y"))
    return np.asarray(finest.data), float(to_um[0, 0])  # may be larger than the field, so that its levels divide evenly


def _geojson(path: Path, field: ExpressionField, genes: list[str]) -> str:
    import geopandas

    frame = geopandas.read_file(path)
    bounds = frame.total_bounds.round(1).tolist()
    return f"{len(frame)} regions, bounds {bounds} px; columns {list(frame.columns)[:4]} ..."


def _csv(path: Path, field: ExpressionField, genes: list[str]) -> str:
    import pandas as pd

    from pixnet.regions import Squares

    table = pd.read_csv(path)
    row, col = (np.floor(table[name] / _REGION_UM).astype(int) for name in ("y_um", "x_um"))
    answer = field.query(Squares(0, 0, _REGION_UM, row, col), genes)
    return f"{len(table)} regions with data; {_compared(table[genes].to_numpy(np.float32), np.asarray(answer.X))}"


def _compared(read: Any, expected: Any) -> str:
    """Return the differences between two arrays as text."""
    one_sided = (np.isnan(read) != np.isnan(expected)).sum()
    difference = np.nanmax(np.abs(read - expected)) / np.nanmax(np.abs(expected))
    return f"largest difference {difference:.1e} of the largest value, {one_sided} values missing on one side"


_IMAGES = {"ome-zarr": _ome_zarr, "ome-tiff": _ome_tiff, "spatialdata": _spatialdata}
_TABLES = {"geojson": _geojson, "csv": _csv}


def _draw(
    path: Path, slide: Slide, field: ExpressionField, genes: list[str], opened: dict[str, Maps], outlines: Path
) -> None:
    """Draw the H&E image, the first gene as each library reads it, the other genes, and the regions of the GeoJSON."""
    import geopandas
    import matplotlib.pyplot as plt

    rgb, um_per_px = slide.thumbnail(900)
    _, _, right, bottom = field.grid.bounds_um
    figure, axes = plt.subplots(2, 4, figsize=(20, 10.5), constrained_layout=True)
    flat = axes.ravel()
    flat[0].imshow(rgb, extent=(0, rgb.shape[1] * um_per_px, rgb.shape[0] * um_per_px, 0))
    flat[0].set_title("H&E")
    shown = [(f"{genes[0]}, {form}", maps[0]) for form, maps in opened.items()]
    shown += [(f"{gene}, ome-zarr", opened["ome-zarr"][number]) for number, gene in enumerate(genes[1:], 1)]
    for axis, (title, values) in zip(flat[1:], shown, strict=False):
        axis.imshow(values, extent=(0, right, bottom, 0), vmax=np.nanpercentile(values, 99.5), cmap="magma")
        axis.set_title(title)
    frame = geopandas.read_file(outlines)
    measured = frame["measurements"].map(lambda value: value if isinstance(value, dict) else json.loads(value))
    values = [next(iter(measurements.values())) for measurements in measured]
    shapes = frame.scale(slide.mpp, slide.mpp, origin=(0, 0)).to_numpy()  # from pixels
    geopandas.GeoDataFrame({"value": values}, geometry=shapes).plot("value", ax=flat[6], cmap="magma")
    flat[6].set_title("regions of the GeoJSON, first measurement")
    for axis in flat[:7]:
        axis.set_xlim(0, slide.width_um)
        axis.set_ylim(slide.height_um, 0)
        axis.set_aspect("equal")
    flat[7].axis("off")
    figure.savefig(path, dpi=60)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    run(Path(sys.argv[1]), Path(sys.argv[2]))
