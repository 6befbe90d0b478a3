"""Files as scanners and their converters write them, made small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

_SCN = """<?xml version="1.0" encoding="UTF-8"?>
<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="urn:uuid:0">
<collection name="c" uuid="urn:uuid:1" sizeX="{glass_x}" sizeY="{glass_y}"><barcode>MQ==</barcode>
{macro}{main}</collection></scn>"""
_IMAGE = """<image name="{name}" uuid="urn:uuid:{name}"><creationDate>2020-01-01T00:00:00Z</creationDate>
<device model="Leica SCN400;Leica SCN" version="1"/><pixels sizeX="{width}" sizeY="{height}">
<dimension sizeX="{width}" sizeY="{height}" r="0" ifd="{page}"/></pixels>
<view sizeX="{view_x}" sizeY="{view_y}" offsetX="{left}" offsetY="{top}" spacingZ="0"/>
<scanSettings><objectiveSettings><objective>{objective}</objective></objectiveSettings><illuminationSettings>
<numericalAperture>0.4</numericalAperture><illuminationSource>brightfield</illuminationSource></illuminationSettings>
</scanSettings></image>"""


def write_scn(path: Path, rgb: np.ndarray, left: int, top: int, canvas: tuple[int, int]) -> Path:
    """Write a Leica SCN at 0.5 um per pixel: a canvas (height, width) on which `rgb` was scanned at (top, left)."""
    height, width = rgb.shape[:2]
    nm = 500
    macro = np.full((canvas[0] // 10, canvas[1] // 10, 3), 230, np.uint8)
    glass_x, glass_y = canvas[1] * nm, canvas[0] * nm
    common = {"left": 0, "top": 0, "view_x": glass_x, "view_y": glass_y}
    facts = {"height": macro.shape[0], "width": macro.shape[1], "page": 0, "objective": 0.6}
    macro_xml = _IMAGE.format(name="macro", **common, **facts)
    place = {"left": left * nm, "top": top * nm, "view_x": width * nm, "view_y": height * nm}
    main_xml = _IMAGE.format(name="main", height=height, width=width, page=1, objective=20, **place)
    description = _SCN.format(glass_x=glass_x, glass_y=glass_y, macro=macro_xml, main=main_xml)
    tiles = {"tile": (64, 64), "photometric": "rgb", "compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(path) as tif:
        tif.write(macro, description=description, resolution=(2000, 2000), resolutionunit="CENTIMETER", **tiles)
        tif.write(rgb, resolution=(20000, 20000), resolutionunit="CENTIMETER", **tiles)
    return path


def write_filled_up_pyramid(path: Path, base: np.ndarray, levels: int, tile: int = 64, stated: bool = False) -> Path:
    """Write a pyramid at 0.5 um per pixel, each level half the one before and filled up to whole tiles."""
    with tifffile.TiffWriter(path) as tif:
        for level in range(levels):
            factor = 2**level
            # Each level shows the same places: the pixels of the full resolution, averaged.
            height, width = (-(-side // factor) for side in base.shape[:2])
            rest = (0, height * factor - base.shape[0]), (0, width * factor - base.shape[1])
            even = np.pad(base, (*rest, (0, 0)), mode="edge")
            small = even.reshape(height, factor, width, factor, 3).mean(axis=(1, 3)).round().astype(np.uint8)
            fill = [(0, -side % tile) for side in small.shape[:2]]
            full = np.pad(small, (*fill, (0, 0)), constant_values=255)
            per_cm = 20000 / factor if stated else 20000
            tif.write(
                full,
                tile=(tile, tile),
                photometric="rgb",
                subfiletype=min(level, 1),
                metadata=None,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
            )
    return path
