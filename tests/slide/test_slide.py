from __future__ import annotations

import multiprocessing
import os
import struct
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from operator import methodcaller
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pixnet.errors import SlideError
from pixnet.grid import Box
from pixnet.slide import Slide
from pixnet.slide import sources as slide_sources

CM = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}  # 0.5 um per pixel


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return an image whose pixels differ from their neighbours, but survive lossy compression."""
    y, x = np.mgrid[:height, :width]
    waves = np.random.default_rng(seed).uniform(0.02, 0.1, (3, 2))
    return np.stack([127 + 60 * np.sin(x * a) + 60 * np.cos(y * b) for a, b in waves], axis=-1).astype(np.uint8)


def write_pyramid(path: Path, base: np.ndarray, factor: int = 4, subifds: bool = False, **options: object) -> None:
    """Write base and a level shrunk by `factor` (the rest at the edges left out), as pages or as SubIFDs."""
    height, width = base.shape[0] // factor, base.shape[1] // factor
    blocks = base[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    small = (blocks.mean(axis=(1, 3)) + 0.5).astype(np.uint8)
    tiles = {"tile": (64, 64), "photometric": "rgb", **options}
    with tifffile.TiffWriter(path, ome=subifds) as tif:
        metadata = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25} if subifds else None
        resolution = {} if subifds else CM
        tif.write(base, subifds=1 if subifds else 0, metadata=metadata, **tiles, **resolution)
        tif.write(small, subfiletype=1, metadata=None, **tiles)


WRITERS: dict[str, Callable[[Path, np.ndarray], object]] = {
    "png": lambda p, a: Image.fromarray(a).save(p, "png"),
    "bmp": lambda p, a: Image.fromarray(a).save(p, "bmp"),
    "tiled.tif": lambda p, a: tifffile.imwrite(p, a, tile=(64, 64), photometric="rgb"),
    "striped.tif": lambda p, a: tifffile.imwrite(p, a, photometric="rgb", rowsperstrip=16),
    "deflate.tif": lambda p, a: tifffile.imwrite(
        p, a, tile=(64, 64), photometric="rgb", compression="zlib", predictor=True
    ),
    "lzw.tif": lambda p, a: tifffile.imwrite(p, a, photometric="rgb", compression="lzw"),
    "big.tif": lambda p, a: tifffile.imwrite(p, a, tile=(64, 64), photometric="rgb", bigtiff=True),
    "planar.tif": lambda p, a: tifffile.imwrite(p, np.moveaxis(a, -1, 0), photometric="rgb", planarconfig="separate"),
    "planar_tiled.ome.tif": lambda p, a: tifffile.imwrite(
        p, np.moveaxis(a, -1, 0), photometric="rgb", planarconfig="separate", tile=(64, 64), metadata={"axes": "SYX"}
    ),
    "tiled.ome.tif": lambda p, a: tifffile.imwrite(p, a, tile=(64, 64), photometric="rgb", metadata={"axes": "YXS"}),
    "channels.ome.tif": lambda p, a: tifffile.imwrite(
        p, np.moveaxis(a, -1, 0), tile=(64, 64), photometric="minisblack", metadata={"axes": "CYX"}
    ),
    "pyramid.ome.tif": lambda p, a: write_pyramid(p, a, subifds=True),
    "pyramid.tif": lambda p, a: write_pyramid(p, a),
}


@pytest.mark.parametrize("name", WRITERS)
def test_lossless_formats_return_the_stored_pixels(tmp_path: Path, name: str) -> None:
    image = smooth(150, 200)
    WRITERS[name](tmp_path / name, image)
    with Slide.open(tmp_path / name, mpp=0.5) as slide:
        assert slide.shape == (150, 200)
        assert (slide.width_um, slide.height_um) == (100, 75)
        rgb, mask = slide.read(0, 0, 100, 75, 0.5)
        assert np.array_equal(rgb, image)
        assert mask.all()
        rgb, mask = slide.read(5, 10, 20, 30, 0.5)
        assert np.array_equal(rgb, image[20:80, 10:50])


def test_jpeg_is_read_as_stored_whatever_its_dpi_and_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn it to the right before showing"
    Image.fromarray(smooth(150, 200)).save(tmp_path / "a.jpg", quality=98, dpi=(72, 72), exif=exif)
    with pytest.raises(SlideError, match=r"a\.jpg.*no pixel size"):
        Slide.open(tmp_path / "a.jpg")
    slide = Slide.open(tmp_path / "a.jpg", mpp=1)
    assert slide.shape == (150, 200)
    assert np.abs(slide.read(0, 0, 200, 150, 1)[0].astype(int) - smooth(150, 200)).max() < 12


@pytest.mark.parametrize(("compression", "tiled"), [("jpeg", True), ("jpeg", False), ("jpeg2000", True)])
def test_lossy_tiffs(tmp_path: Path, compression: str, tiled: bool) -> None:
    options: dict[str, object] = {"tile": (64, 64)} if tiled else {}
    if compression == "jpeg":
        options["compressionargs"] = {"outcolorspace": "ycbcr"}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, smooth(128, 192), compression=compression, photometric="rgb", metadata={"axes": "YXS"}, **options
    )
    rgb, mask = Slide.open(path, mpp=1).read(0, 0, 192, 128, 1)
    assert np.abs(rgb.astype(int) - smooth(128, 192)).max() < 25
    assert mask.all()


def test_pixel_size_of_tiffs(tmp_path: Path) -> None:
    image = smooth(100, 130)
    tifffile.imwrite(tmp_path / "cm.tif", image, tile=(64, 64), photometric="rgb", **CM)
    slide = Slide.open(tmp_path / "cm.tif")
    assert (slide.mpp, slide.mpp_source) == (0.5, "TIFF resolution")
    for name, unit, options in [("inch", "INCH", {"tile": (64, 64)}), ("none", "NONE", {}), ("inch2", "INCH", {})]:
        tifffile.imwrite(
            tmp_path / f"{name}.tif",
            image,
            photometric="rgb",
            resolution=(50800, 50800),
            resolutionunit=unit,
            **options,
        )
        with pytest.raises(SlideError, match="no pixel size"):
            Slide.open(tmp_path / f"{name}.tif")
    tifffile.imwrite(
        tmp_path / "oblong.tif", image, photometric="rgb", resolution=(20000, 10000), resolutionunit="CENTIMETER"
    )
    with pytest.raises(SlideError, match=r"oblong\.tif.*0\.5 x 1 um"):
        Slide.open(tmp_path / "oblong.tif")
    write_pyramid(tmp_path / "a.ome.tif", image, subifds=True)
    slide = Slide.open(tmp_path / "a.ome.tif")
    assert (slide.mpp, slide.mpp_source, slide.name) == (0.25, "OME PhysicalSizeX", "a")
    assert [level[0] for level in slide.levels] == [1, 4]


def test_svs(shared: Path) -> None:
    with Slide.open(shared / "data/fixtures/wsi/CMU-1-Small-Region.svs") as slide:
        assert (slide.mpp, slide.mpp_source) == (0.499, "aperio.MPP")
        assert slide.shape == (2967, 2220)
        rgb, mask = slide.read(100, 100, 256, 128, 1.0)
        assert rgb.shape == (128, 256, 3)
        assert mask.all()
        thumb, um_per_px = slide.thumbnail(300)
        assert thumb.shape == (300, 224, 3)
        assert um_per_px == pytest.approx(2967 * 0.499 / 300)


def test_a_dicom_that_openslide_refuses_is_an_error(shared: Path) -> None:
    # It lacks ImageType, so OpenSlide cannot tell the slide from its label.
    with pytest.raises(SlideError, match=r"small_dicom\.dcm: OpenSlide knows this format but cannot read"):
        Slide.open(shared / "data/fixtures/wsi/small_dicom.dcm", mpp=0.5)


def dicom_element(tag: tuple[int, int], vr: bytes, value: bytes) -> bytes:
    """Write one element of an explicit, little-endian DICOM."""
    value += b" " * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if vr == b"SQ" else struct.pack("<H", len(value))
    return struct.pack("<HH", *tag) + vr + length + value


def completed_dicom(data: bytes) -> bytes:
    """Return the DICOM with the three elements without which OpenSlide refuses it."""
    spacing = dicom_element((0x0028, 0x0030), b"DS", b"0.0005\\0.0004995")  # mm
    for tag in ((0x0028, 0x9110), (0x5200, 0x9229)):
        spacing = dicom_element(tag, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(spacing)) + spacing)
    elements = {
        (0x0008, 0x0008): dicom_element((0x0008, 0x0008), b"CS", b"ORIGINAL\\PRIMARY\\VOLUME\\NONE"),
        (0x0020, 0x9311): dicom_element((0x0020, 0x9311), b"CS", b"TILED_FULL"),
        (0x5200, 0x9229): spacing,
    }
    at = 132  # after the preamble
    while (tag := struct.unpack_from("<HH", data, at)) != (0x7FE0, 0x0010):
        long = data[at + 4 : at + 6] in (b"OB", b"SQ")
        size = 12 + struct.unpack_from("<I", data, at + 8)[0] if long else 8 + struct.unpack_from("<H", data, at + 6)[0]
        elements[tag] = data[at : at + size]
        at += size
    return data[:132] + b"".join(elements[tag] for tag in sorted(elements)) + data[at:]


def test_dicom(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(completed_dicom((shared / "data/fixtures/wsi/small_dicom.dcm").read_bytes()))
    slide = Slide.open(path)
    assert slide.mpp == pytest.approx(0.49975)
    assert slide.mpp_source == "DICOM PixelSpacing"
    assert slide.shape == (2638, 3236)
    rgb, mask = slide.read(250, 250, 64, 64, 1.0)
    assert mask.all()
    assert 100 < rgb.mean() < 250


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA"])
def test_other_png_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(smooth(40, 50)).convert(mode)
    image.save(tmp_path / "a.png")
    rgb, mask = Slide.open(tmp_path / "a.png", mpp=1).read(0, 0, 50, 40, 1)
    assert np.array_equal(rgb, np.asarray(image.convert("RGB")))
    assert mask.all()


@pytest.mark.parametrize("suffix", ["png", "tif", "tiled.ome.tif"])
def test_transparent_pixels_are_without_data(tmp_path: Path, suffix: str) -> None:
    rgba = np.concatenate([smooth(70, 80), np.full((70, 80, 1), 255, np.uint8)], axis=-1)
    rgba[:, 30:, 3] = 0
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":
        Image.fromarray(rgba).save(path)
    else:
        options = {"tile": (64, 64), "metadata": {"axes": "YXS"}} if "ome" in suffix else {}
        tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=["unassalpha"], **options)
    rgb, mask = Slide.open(path, mpp=1).read(0, 0, 80, 70, 1)
    assert np.array_equal(mask, rgba[..., 3] > 0)
    assert np.array_equal(rgb[:, :30], rgba[:, :30, :3])
    assert (rgb[:, 30:] == 255).all()


def test_grey_and_inverted_tiffs(tmp_path: Path) -> None:
    grey = smooth(70, 80)[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="minisblack")
    tifffile.imwrite(tmp_path / "b.tif", 255 - grey, photometric="miniswhite")
    for name in "ab":
        rgb, _ = Slide.open(tmp_path / f"{name}.tif", mpp=1).read(0, 0, 80, 70, 1)
        assert np.array_equal(rgb, np.repeat(grey[..., None], 3, axis=-1))


def test_outside_is_white_and_masked() -> None:
    image = smooth(20, 30)
    rgb, mask = Slide.from_array(image, mpp=2.0).read_box(Box(-5, -6, 40, 50), 2.0)
    assert np.array_equal(rgb[5:25, 6:36], image)
    expected = np.zeros((40, 50), bool)
    expected[5:25, 6:36] = True
    assert np.array_equal(mask, expected)
    assert (rgb[~mask] == 255).all()
    rgb, mask = Slide.from_array(image, mpp=2.0).read(1000, 1000, 20, 20, 1.5)
    assert not mask.any()
    assert (rgb == 255).all()


def test_read_keeps_a_position_between_lattice_pixels() -> None:
    ramp = np.repeat(np.tile(np.arange(0, 200, 2, dtype=np.uint8), (10, 1))[..., None], 3, axis=-1)
    slide = Slide.from_array(ramp, mpp=1.0)
    rgb, _ = slide.read(10.5, 0, 20, 4, 1.0)
    assert np.array_equal(rgb[0, :, 0], np.arange(21, 61, 2))
    assert np.array_equal(slide.read(10.0000000001, 2, 20, 4, 1.0)[0], ramp[2:6, 10:30])


def test_level_is_chosen_by_resolution(tmp_path: Path) -> None:
    # Each level has its own colour, which shows where pixels are from.
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for index, size in enumerate((400, 200, 100)):
            level = np.full((size, size, 3), 40 * (index + 1), np.uint8)
            tif.write(level, tile=(64, 64), photometric="rgb", subfiletype=min(index, 1), metadata=None)
    slide = Slide.open(tmp_path / "a.tif", mpp=0.5)
    assert [(level[0], level[1]) for level in slide.levels] == [(1, (400, 400)), (2, (200, 200)), (4, (100, 100))]
    for um_per_px, value in [(0.3, 40), (0.5, 40), (0.98, 40), (0.995, 80), (1.9, 80), (2.0, 120), (9.0, 120)]:
        assert (slide.read(20, 20, 90, 90, um_per_px)[0] == value).all()


@pytest.fixture(scope="module")
def pyramids(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Slide]:
    folder = tmp_path_factory.mktemp("pyramids")
    base = smooth(1203, 1410)  # not a multiple of four, so the downsampling of OpenSlide is not a whole number
    write_pyramid(folder / "a.tif", base)
    write_pyramid(folder / "b.ome.tif", base, subifds=True)
    Image.fromarray(base).save(folder / "c.png")
    return {name: Slide.open(folder / name, mpp=0.5) for name in ("a.tif", "b.ome.tif", "c.png")}


@pytest.mark.parametrize("name", ["a.tif", "b.ome.tif", "c.png"])
@given(
    um_per_px=st.sampled_from([0.37, 0.5, 0.83, 1.0, 1.99, 2.0, 2.5, 3.3]),
    row=st.integers(-30, 500),
    col=st.integers(-30, 500),
    size=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    data=st.data(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_overlapping_reads_of_files_are_identical(
    pyramids: dict[str, Slide],
    name: str,
    um_per_px: float,
    row: int,
    col: int,
    size: tuple[int, int],
    data: st.DataObject,
) -> None:
    slide = pyramids[name]
    top, left = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
    whole, whole_mask = slide.read_box(Box(row, col, *size), um_per_px)
    part, part_mask = slide.read_box(Box(row + top, col + left, size[0] - top, size[1] - left), um_per_px)
    assert np.array_equal(whole[top:, left:], part)
    assert np.array_equal(whole_mask[top:, left:], part_mask)


def test_levels_have_the_position_of_the_full_resolution(pyramids: dict[str, Slide]) -> None:
    plain, mask = pyramids["c.png"].read_box(Box(20, 30, 200, 250), 2.0)
    for name in ("a.tif", "b.ome.tif"):
        rgb, valid = pyramids[name].read_box(Box(20, 30, 200, 250), 2.0)
        assert np.abs(rgb.astype(int) - plain).max() <= 6
        assert np.array_equal(valid, mask)


def test_openslide_levels_of_odd_size_do_not_depend_on_where_a_read_begins(tmp_path: Path) -> None:
    base = smooth(1203, 3001)  # OpenSlide takes the level for 4.004 times smaller
    write_pyramid(tmp_path / "a.tif", base)
    source = slide_sources.OpenSlideSource(tmp_path / "a.tif")
    assert source.levels == ((1.0, (1203, 3001)), (4.0, (300, 750)))
    whole, mask = source.read(1, 0, 0, 300, 750)
    assert mask is None or mask.all()
    assert np.abs(whole.astype(int) - base[2:1200:4, 2:3000:4]).max() <= 10
    rng = np.random.default_rng(0)
    for _ in range(20):
        row, col = int(rng.integers(0, 290)), int(rng.integers(0, 740))
        part, _ = source.read(1, row, col, 10, 10)
        assert np.array_equal(part, whole[row : row + 10, col : col + 10])


def test_cutting_large_reads_does_not_change_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    slide = Slide.from_array(smooth(300, 400), mpp=0.7)
    whole = slide.read_box(Box(-3, -3, 250, 300), 1.0)
    monkeypatch.setattr("pixnet.slide.slide._WINDOW", 37)
    cut = slide.read_box(Box(-3, -3, 250, 300), 1.0)
    assert np.array_equal(whole[0], cut[0])
    assert np.array_equal(whole[1], cut[1])


def damage(path: Path, page: int, tile: int) -> None:
    """Overwrite the bytes of one tile."""
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[page].dataoffsets[tile], tif.pages[page].databytecounts[tile]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\x00" * count)


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_a_damaged_tile_is_without_data_and_counted(tmp_path: Path, name: str) -> None:
    image = smooth(700, 900)
    path = tmp_path / name
    metadata = {"axes": "YXS"} if "ome" in name else None
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb", compression="zlib", metadata=metadata)
    damage(path, 0, 3 * 15 + 5)  # rows 192 to 256, columns 320 to 384
    slide = Slide.open(path, mpp=1)
    rgb, mask = slide.read(0, 0, 900, 700, 1)
    assert slide.no_data_reads == 1
    assert not mask[192:256, 320:384].any()
    assert (rgb[~mask] == 255).all()
    assert (~mask).sum() <= 256 * 256  # the block around it, no more
    assert np.array_equal(rgb[mask], image[mask])
    again, _ = slide.read(600, 400, 300, 300, 1)  # the handle survives
    assert np.array_equal(again, image[400:700, 600:900])
    assert slide.no_data_reads == 1


def test_svs_with_damaged_bytes(shared: Path, tmp_path: Path) -> None:
    data = bytearray((shared / "data/fixtures/wsi/CMU-1-Small-Region.svs").read_bytes())
    path = tmp_path / "a.svs"
    path.write_bytes(data)
    damage(path, 0, 20)
    slide = Slide.open(path)
    _, mask = slide.read_box(Box(0, 0, *slide.shape), slide.mpp)
    assert slide.no_data_reads > 0
    assert 0.8 < mask.mean() < 1
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SlideError, match=r"a\.svs"):
        Slide.open(path).read(0, 0, 500, 500, 1)


def test_a_file_that_disappears_is_an_error(tmp_path: Path) -> None:
    for name in ("png", "tiled.ome.tif"):
        WRITERS[name](tmp_path / name, smooth(150, 200))
        slide = Slide.open(tmp_path / name, mpp=1)
        slide.close()
        (tmp_path / name).unlink()
        with pytest.raises(SlideError, match=name.replace(".", r"\.")):
            slide.read(0, 0, 9, 9, 1)


def test_tiles_missing_in_a_tiff_are_without_data(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tiles = [np.full((64, 64, 3), 90, np.uint8).tobytes(), b"", b"", np.full((64, 64, 3), 120, np.uint8).tobytes()]
    tifffile.imwrite(
        path,
        iter(tiles),
        shape=(128, 128, 3),
        dtype=np.uint8,
        tile=(64, 64),
        photometric="rgb",
        compression="none",
        metadata={"axes": "YXS"},
    )
    rgb, mask = Slide.open(path, mpp=1).read(0, 0, 128, 128, 1)
    assert mask[:64, :64].all()
    assert mask[64:, 64:].all()
    assert mask.sum() == 2 * 64 * 64
    assert (rgb[~mask] == 255).all()


@pytest.mark.parametrize("name", ["png", "tiled.tif", "striped.tif", "deflate.tif", "tiled.ome.tif", "pyramid.tif"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_files_are_errors_or_no_data(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    WRITERS[name](path, smooth(300, 400))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(SlideError, match=name.replace(".", r"\.")):
        Slide.open(path, mpp=1).read(0, 0, 400, 300, 1)


def test_truncated_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(smooth(300, 400)).save(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(SlideError, match=r"a\.jpg.*truncated.*again"):
        Slide.open(path, mpp=1).read(0, 0, 10, 10, 1)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", ["png", "deflate.tif", "pyramid.tif", "pyramid.ome.tif"])
def test_random_damage_raises_no_other_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path, smooth(150, 200))
    good = np.frombuffer(path.read_bytes(), np.uint8)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        places = np.concatenate([rng.integers(0, len(good), 4), rng.integers(0, min(600, len(good)), 4)])
        data = good.copy()
        data[places] = rng.integers(0, 256, 8)
        path.write_bytes(data.tobytes())
        try:
            rgb, mask = Slide.open(path, mpp=1).read(0, 0, 200, 150, 1)
        except SlideError as error:
            assert str(path) in str(error)  # noqa: PT017 - either way is right
        else:
            assert rgb.shape == (150, 200, 3)
            assert (rgb[~mask] == 255).all()


@pytest.mark.parametrize(
    ("name", "array", "options"),
    [
        ("16.tif", np.zeros((70, 70, 3), np.uint16), {"photometric": "rgb"}),
        ("16t.tif", np.zeros((70, 70, 3), np.uint16), {"photometric": "rgb", "tile": (64, 64)}),
        ("5c.tif", np.zeros((5, 70, 70), np.uint8), {"photometric": "minisblack", "tile": (64, 64)}),
        ("5c.ome.tif", np.zeros((5, 70, 70), np.uint8), {"photometric": "minisblack", "metadata": {"axes": "CYX"}}),
        ("z.ome.tif", np.zeros((3, 70, 70), np.uint8), {"photometric": "minisblack", "metadata": {"axes": "ZYX"}}),
        ("float.tif", np.zeros((70, 70), np.float32), {"photometric": "minisblack"}),
        ("cmyk.tif", np.zeros((70, 70, 4), np.uint8), {"photometric": "separated"}),
    ],
)
def test_a_tiff_that_is_not_8_bit_rgb_is_an_error(
    tmp_path: Path, name: str, array: np.ndarray, options: dict[str, object]
) -> None:
    tifffile.imwrite(tmp_path / name, array, **options)
    with pytest.raises(SlideError, match=rf"{name}: holds {array.dtype} pixels of shape .*Give an 8-bit RGB image"):
        Slide.open(tmp_path / name, mpp=1)


def test_16_bit_and_cmyk_images_are_errors(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / "grey.png")
    Image.new("CMYK", (9, 9)).save(tmp_path / "cmyk.jpg")
    for name, found in [("grey.png", "16-bit"), ("cmyk.jpg", "CMYK")]:
        with pytest.raises(SlideError, match=f"{name}: holds {found}"):
            Slide.open(tmp_path / name, mpp=1)


def test_images_over_the_limit_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXNET_MEMORY_LIMIT_GB", "0.0001")
    Image.new("RGB", (400, 300)).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", smooth(300, 400), photometric="rgb")
    for name in ("a.png", "a.tif"):
        with pytest.raises(
            SlideError, match=r"400 x 300 pixels without tiles.*tiled, pyramidal TIFF.*PIXNET_MEMORY_LIMIT_GB"
        ):
            Slide.open(tmp_path / name, mpp=1)
    tifffile.imwrite(tmp_path / "b.tif", smooth(300, 400), photometric="rgb", tile=(64, 64))
    assert Slide.open(tmp_path / "b.tif", mpp=1).read(0, 0, 400, 300, 1)[1].all()


def test_files_that_are_not_images(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "header.tif").write_bytes(b"II*\0\x08\0\0\0")
    cases = {"text.jpg": "not an image that can be read", "empty.png": "is empty", "header.tif": "TIFF cannot be read"}
    for name, message in {**cases, "missing.svs": "does not exist", ".": "is a folder"}.items():
        with pytest.raises(SlideError, match=message):
            Slide.open(tmp_path / name, mpp=1)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"barcode,x,y\nAAAC-1,10,20\n", r"the file is text that begins 'barcode,x,y'\. Give the H&E image as JPEG"),
        ("\nMünchen\n".encode("utf-16"), "text that begins 'München'"),
        (b"MM and II are words\n" * 40, "text that begins 'MM and II are words"),
        (b"%PDF-1.4\n", "is a PDF document"),
        (b"PK\x03\x04\x14\0", "is a ZIP archive"),
        (b"\x89HDF\r\n\x1a\n\0\0", "is an HDF5 file"),
        (b"\xff\xd8\xff\xe0", "begins like a JPEG, but"),
        (b"\0\1\2\3", "bytes 00 01 02 03, which are not those of a known image format"),
    ],
)
@pytest.mark.parametrize("name", ["given.csv", "given.jpg"])
def test_a_file_that_is_not_an_image_is_described(tmp_path: Path, content: bytes, found: str, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SlideError, match=rf"{name}: is not an image that can be read: .*{found}") as raised:
        Slide.open(tmp_path / name, mpp=1)
    # Names of libraries and their messages do not help the user.
    assert not any(word in str(raised.value) for word in ("PIL", "MPO", "tifffile", "cannot identify"))


def test_arrays_must_be_rgb() -> None:
    for array in (
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 3)),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
    ):
        with pytest.raises(SlideError, match=r"\(h, w, 3\) array of uint8"):
            Slide.from_array(array, mpp=1)


@pytest.mark.parametrize(
    "arguments", [(0, 0, 5, 5, 0), (0, 0, 5, 5, -1), (0, 0, 0, 5, 1), (0, 0, 5, 5, float("nan")), (0, 0, 1e9, 1e9, 1)]
)
def test_impossible_reads_are_errors(arguments: tuple[float, float, float, float, float]) -> None:
    with pytest.raises(SlideError):
        Slide.from_array(smooth(5, 5), mpp=1).read(*arguments)


def test_fingerprint_depends_on_the_bytes(tmp_path: Path) -> None:
    Image.fromarray(smooth(5, 5)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    first, second = Slide.open(tmp_path / "a.png", mpp=1), Slide.open(tmp_path / "b.png", mpp=2)
    assert first.fingerprint() == second.fingerprint()
    assert len(first.fingerprint()) == 64
    image = smooth(5, 6)
    same = Slide.from_array(image.copy(), mpp=1).fingerprint()
    assert Slide.from_array(image, mpp=1).fingerprint() == same
    assert Slide.from_array(image.reshape(6, 5, 3), mpp=1).fingerprint() != same


@pytest.mark.parametrize("name", ["png", "pyramid.tif", "pyramid.ome.tif", "striped.tif"])
def test_slides_can_be_used_in_other_processes_and_threads(tmp_path: Path, name: str) -> None:
    image = smooth(150, 200)
    WRITERS[name](tmp_path / name, image)
    check_everywhere(Slide.open(tmp_path / name, mpp=1), image[:40, :60])


def test_openslide_slides_can_be_used_in_other_processes_and_threads(shared: Path) -> None:
    slide = Slide.open(shared / "data/fixtures/wsi/CMU-1-Small-Region.svs", mpp=1)
    check_everywhere(slide, slide.read(0, 0, 60, 40, 1)[0])


def check_everywhere(slide: Slide, expected: np.ndarray) -> None:
    read = methodcaller("read", 0, 0, 60, 40, 1)
    assert np.array_equal(read(slide)[0], expected)
    with ThreadPoolExecutor(8) as pool:
        assert all(np.array_equal(rgb, expected) for rgb, _ in pool.map(read, [slide] * 32))
    inherited = multiprocessing.get_context("fork").Process(
        target=lambda: os._exit(not np.array_equal(read(slide)[0], expected))
    )
    inherited.start()
    inherited.join()
    assert inherited.exitcode == 0
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        assert np.array_equal(processes.submit(read, slide).result()[0], expected)
    slide.close()
    assert np.array_equal(read(slide)[0], expected)
