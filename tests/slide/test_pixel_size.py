from __future__ import annotations

import re

import pytest

from pixnet.errors import SlideError
from pixnet.slide.pixel_size import (
    PixelSize,
    doubts,
    from_ome,
    from_openslide,
    from_tiff,
    from_tiff_file,
    objective_doubt,
    resolve,
    um_per_unit,
    unknown_unit,
)


def test_scanner_formats_are_trusted() -> None:
    aperio = {"openslide.vendor": "aperio", "openslide.mpp-x": "0.499", "openslide.mpp-y": "0.499"}
    assert from_openslide(aperio) == (0.499, 0.499, "aperio.MPP")
    dicom = {"openslide.vendor": "dicom", "openslide.mpp-x": "0.25", "openslide.mpp-y": "0.25"}
    assert from_openslide(dicom) == (0.25, 0.25, "DICOM PixelSpacing")


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"openslide.vendor": "aperio"},
        {"openslide.vendor": "aperio", "openslide.mpp-x": "0", "openslide.mpp-y": "0"},
        {"openslide.vendor": "generic-tiff", "openslide.mpp-x": "352.7", "openslide.mpp-y": "352.7"},
    ],
)
def test_openslides_size_of_any_tiff_is_not_trusted(properties: dict[str, str]) -> None:
    assert from_openslide(properties) is None


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('PhysicalSizeX="0.5" PhysicalSizeY="0.5"', 0.5),
        ('PhysicalSizeX="0.5" PhysicalSizeXUnit="µm" PhysicalSizeY="0.5" PhysicalSizeYUnit="µm"', 0.5),
        ('PhysicalSizeX="500" PhysicalSizeXUnit="nm" PhysicalSizeY="500" PhysicalSizeYUnit="nm"', 0.5),
        ('PhysicalSizeX="0.001" PhysicalSizeXUnit="mm" PhysicalSizeY="0.001" PhysicalSizeYUnit="mm"', 1.0),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1" PhysicalSizeYUnit="pixel"', None),
        ('PhysicalSizeX="0.5"', None),
        ('PhysicalSizeX="-1" PhysicalSizeY="-1"', None),
        ("", None),
    ],
)
def test_ome_xml(attributes: str, size: float | None) -> None:
    found = from_ome(
        f'<OME xmlns="x"><Image ID="Image:0"><Pixels ID="Pixels:0" {attributes} SizeX="4"></Pixels></Image></OME>'
    )
    assert (None if found is None else found[0]) == (None if size is None else pytest.approx(size))


@pytest.mark.parametrize(
    ("per_unit", "unit", "size"),
    [
        ((20000, 1), 3, 0.5),
        ((72, 1), 2, None),  # inch: what any image editor writes
        ((50800, 1), 2, None),  # inch, though it would give 0.5 um
        ((28, 1), 3, None),  # 72 dpi put into centimetres
        ((10**7, 1), 3, None),
        ((1, 0), 3, None),
        ((1, 1), 1, None),
    ],
)
def test_tiff_resolution_counts_only_in_centimetres(per_unit: tuple[int, int], unit: int, size: float | None) -> None:
    found = from_tiff({"XResolution": per_unit, "YResolution": per_unit, "ResolutionUnit": unit})
    assert (None if found is None else found[0]) == size


def test_an_argument_takes_precedence() -> None:
    assert resolve("a", PixelSize(0.3), (0.5, 0.5, "aperio.MPP")) == PixelSize(0.3, "argument")
    given = PixelSize(0.3, "manifest")
    assert resolve("a", given, (0.5, 0.9, "aperio.MPP")) == given
    assert resolve("a", None, (0.5, 0.5, "aperio.MPP")) == PixelSize(0.5, "aperio.MPP")
    assert resolve("a", None, (0.5, 0.502, "x")).mpp == pytest.approx(0.501)


def test_unknown_says_how_to_give_it() -> None:
    with pytest.raises(SlideError, match=r"a\.jpg.*no pixel size.*in um per pixel, as `mpp`"):
        resolve("a.jpg", None, None)


def test_oblong_pixels_are_an_error() -> None:
    with pytest.raises(SlideError, match=r"0\.5 x 0\.6 um by aperio\.MPP"):
        resolve("a", None, (0.5, 0.6, "aperio.MPP"))


@pytest.mark.parametrize("mpp", [0, -1, float("nan"), float("inf"), "0.5"])
def test_pixel_size_must_be_a_positive_number(mpp: float) -> None:
    with pytest.raises(SlideError, match="positive number"):
        resolve("a", PixelSize.given(mpp), None)


@pytest.mark.parametrize(
    ("unit", "um"),
    [
        *((unit, 1.0) for unit in ("\u00b5m", "\u03bcm", "um", "micron", "microns", "Micrometers", "micrometre")),
        *((unit, 1.0) for unit in ("&#956;m", "&#xb5;m", "&#181;m", "&micro;m", "&amp;#181;m")),
        *((unit, 1.0) for unit in ("\u00c2\u00b5m", "\u00ce\u00bcm")),  # UTF-8 read as Latin-1
        ("nm", 1e-3),
        ("mm", 1e3),
        ("\ufffdm", None),
        ("pixel", None),
        ("inch", None),
    ],
)
def test_units_however_they_are_spelled(unit: str, um: float | None) -> None:
    assert um_per_unit(unit) == um
    xml = f'<Pixels PhysicalSizeX="0.5" PhysicalSizeXUnit="{unit}" PhysicalSizeY="0.5" PhysicalSizeYUnit="{unit}"/>'
    assert from_ome(xml) == (None if um is None else (0.5 * um, 0.5 * um, "OME PhysicalSizeX"))
    assert unknown_unit(xml) == (unit if um is None else None)


def test_an_unknown_unit_is_named() -> None:
    xml = '<Pixels PhysicalSizeX="2" PhysicalSizeXUnit="furlong" PhysicalSizeY="2" PhysicalSizeYUnit="furlong"/>'
    found, doubt = from_tiff_file(xml, (9, 9), "", {})
    with pytest.raises(SlideError, match=r"in the unit 'furlong', which is not known\)\. Give it, in um per pixel"):
        resolve("a.ome.tif", None, found, doubt)


CM = {"XResolution": (20000, 1), "YResolution": (20000, 1), "ResolutionUnit": 3}


@pytest.mark.parametrize("unit", ["micron", "um", "\\u00B5m", "\u00b5m"])
def test_the_unit_of_imagej_is_used(unit: str) -> None:
    tags = {"XResolution": (4, 1), "YResolution": (4, 1), "ResolutionUnit": 1}
    description = f"ImageJ=1.54f\nimages=1\nunit={unit}\nloop=false"
    assert from_tiff_file(None, (9, 9), description, tags) == ((0.25, 0.25, "ImageJ unit"), "")
    assert from_tiff_file(None, (9, 9), description.replace(unit, "pixel"), tags) == (None, "")


def test_two_sizes_in_one_file_that_differ_are_told() -> None:
    xml = '<Pixels PhysicalSizeX="0.25" PhysicalSizeY="0.25"/>'
    found, doubt = from_tiff_file(xml, (9, 9), "", CM)
    assert found == (0.25, 0.25, "OME PhysicalSizeX")
    assert doubt == "its pixel size is 0.25 um by OME PhysicalSizeX, but 0.5 um by TIFF resolution"
    assert from_tiff_file(xml.replace("0.25", "0.499"), (9, 9), "", CM)[1] == ""


OBJECTIVES = [(0.5, "20", False), (0.25, "40", False), (0.25, "20", False), (1.0, "20", False), (0.5, "", False)]
OBJECTIVES += [(0.5, None, False), (0.05, "20", True), (5.0, "20", True), (0.025, "40", True)]


@pytest.mark.parametrize(("mpp", "power", "doubted"), OBJECTIVES)
def test_a_size_is_weighed_against_the_objective(mpp: float, power: str | None, doubted: bool) -> None:
    doubt = objective_doubt((mpp, mpp, "aperio.MPP"), power)
    assert bool(doubt) == doubted
    assert not doubt or f"{mpp:g} um by aperio.MPP, but its objective of {power}x" in doubt


def test_the_pixel_size_of_an_ome_xml_is_that_of_the_image() -> None:
    macro = '<Pixels SizeX="200" SizeY="150" PhysicalSizeX="16" PhysicalSizeY="16"></Pixels>'
    slide = '<Pixels SizeX="800" SizeY="600" PhysicalSizeX="0.5" PhysicalSizeY="0.5"></Pixels>'
    found = (0.5, 0.5, "OME PhysicalSizeX")
    assert from_ome(macro + slide, (600, 800)) == from_ome(slide + macro, (600, 800)) == found
    # The size of another image is not that of this one.
    assert from_ome(macro + slide.replace("PhysicalSize", "Other"), (600, 800)) is None


@pytest.mark.parametrize(
    ("size", "shape", "told"),
    [
        (PixelSize(0.5, "aperio.MPP"), (40000, 60000), ""),
        (PixelSize(0.11, "argument"), (40000, 60000), ""),
        (PixelSize(0.069, "TIFF resolution"), (600, 800), r"0\.069 um wide \(TIFF resolution\).* ten times too small"),
        (PixelSize(1.0, "OME PhysicalSizeX"), (600, 800), "exactly 1 um by OME PhysicalSizeX"),
        (PixelSize(1.0, "argument"), (600, 800), ""),
        (PixelSize(5.0, "TIFF resolution"), (15000, 20000), r"would be 100 x 75 mm large .* glass slide is 76 x 26 mm"),
    ],
)
def test_sizes_that_contradict_scanners_and_glass_are_doubted(
    size: PixelSize, shape: tuple[int, int], told: str
) -> None:
    found = doubts(size, shape)
    assert len(found) == (1 if told else 0)
    assert not told or re.search(told, found[0])
