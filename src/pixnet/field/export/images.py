"""Maps of genes as a pyramid of images, OME-Zarr or OME-TIFF, written tile by tile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from pixnet.field.build.writing import multiscales
from pixnet.field.export.request import Request, steps
from pixnet.field.read.maps import read_values
from pixnet.grid import Grid

TILE = 512  # side of a tile, in pixels of the field
EXPORT_KEY = "pixnet_export"
_GENES = 32  # maps computed at once
_BIG = 3 << 30  # uncompressed size in bytes above which a BigTIFF is written
_COLORS = ("FF00FF", "00FF00", "00FFFF", "FFFF00", "FF4040", "4040FF")
_SHOWN = 3  # channels that a viewer shows when it opens the image


def write_ome_zarr(request: Request, path: Path) -> None:
    """Write OME-Zarr (OME-NGFF 0.5) for napari, Vitessce and ome-zarr-py: a Zarr 3 group with one array per level."""
    arrays = _write_levels(request, path)
    grids = {str(number): grid for number, grid in enumerate(request.grids)}
    ome = multiscales(request.slide.name, grids)
    ome["omero"] = {"channels": _channels(request, arrays[-1]), "rdefs": {"model": "color"}}
    zarr.open_group(path, mode="r+", zarr_format=3).attrs.put({"ome": ome, EXPORT_KEY: request.facts})


def write_ome_tiff(request: Request, path: Path) -> None:
    """Write tiled OME-TIFF for QuPath and Bio-Formats: one float32 page per gene, with coarser levels as sub-images.

    A TIFF is written page by page, but the field is read block by block for all genes. So the maps are written to a
    temporary Zarr group first.
    """
    scratch = path.with_name("maps.zarr")
    arrays = _write_levels(request, scratch)
    grids = request.grids
    size = 4 * len(request.genes) * sum(grid.size for grid in grids)
    with tifffile.TiffWriter(path, bigtiff=size > _BIG, ome=True) as file:
        for array, grid in zip(arrays, grids, strict=True):
            first = array is arrays[0]
            dots_per_cm = 1e4 / grid.pitch_um
            file.write(
                _padded_tiles(array, grid),
                shape=(len(request.genes), *grid.shape),
                dtype=np.float32,
                tile=(TILE, TILE),
                photometric="minisblack",
                compression="zlib",
                resolution=(dots_per_cm, dots_per_cm),
                resolutionunit="CENTIMETER",
                subifds=len(grids) - 1 if first else None,
                subfiletype=0 if first else 1,
                metadata=_ome(request, grid) if first else None,
            )
    shutil.rmtree(scratch)


def _write_levels(request: Request, path: Path) -> list[zarr.Array[Any]]:
    """Write the maps of all levels as arrays 0, 1, ... (c, y, x) of a new Zarr group; a chunk is a tile of one gene.

    NaN means no data or background.
    """
    group = zarr.create_group(path, zarr_format=3)
    grids, arrays = request.grids, []
    done, total = 0, sum(len(list(grid.boxes(TILE))) for grid in grids)
    request.report(done, total)
    for number, grid in enumerate(grids):
        array = group.create_array(
            str(number),
            shape=(len(request.genes), *grid.shape),
            chunks=(1, TILE, TILE),
            dtype=np.float32,
            dimension_names=("c", "y", "x"),
            fill_value=float("nan"),  # a chunk without data is not written
            compressors=ZstdCodec(level=1),
        )
        arrays.append(array)
        for box in grid.boxes(TILE):
            for part in steps(len(request.genes), _GENES):
                values = read_values(request.store, request.readout.take(part), request.finest_level + number, box)
                array[(part, *box.window)] = values
            done += 1
            request.report(done, total)
    return arrays


def _padded_tiles(array: zarr.Array[Any], grid: Grid) -> Iterator[NDArray[np.float32]]:
    """Yield all tiles of all genes in the order of a TIFF; those at the edge are padded with NaN."""
    for gene in range(array.shape[0]):
        for box in grid.boxes(TILE):
            tile = np.full((TILE, TILE), np.nan, np.float32)
            tile[: box.height, : box.width] = np.asarray(array[(gene, *box.window)])
            yield tile


def _channels(request: Request, coarsest: zarr.Array[Any]) -> list[dict[str, Any]]:
    """Return the name and the display settings of each channel, from the coarsest level's maps, which are small."""
    channels = []
    for number, gene in enumerate(request.genes):
        values: NDArray[np.float32] = np.asarray(coarsest[number])
        known = values[np.isfinite(values)]
        if not len(known):
            known = np.zeros(1, np.float32)
        start, end = min(float(known.min()), 0.0), float(np.quantile(known, 0.995))
        # Viewers divide by the range, so it must not be 0.
        end = end if end > start else start + 1.0
        window = {"min": start, "max": max(float(known.max()), end), "start": start, "end": end}
        color = "FFFFFF" if len(request.genes) == 1 else _COLORS[number % len(_COLORS)]
        channels.append({"label": gene, "color": color, "active": number < _SHOWN, "window": window})
    return channels


def _ome(request: Request, grid: Grid) -> dict[str, Any]:
    facts = request.facts
    return {
        "axes": "CYX",
        "Name": facts["slide"],
        "Description": f"{facts['units']}; slide {facts['slide_fingerprint']}; pixnet {facts['pixnet_version']}",
        "Channel": {"Name": list(request.genes)},
        "PhysicalSizeX": grid.pitch_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": grid.pitch_um,
        "PhysicalSizeYUnit": "µm",
    }
