from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.field.conftest import (
    CHANNELS,
    FINEST,
    HALO,
    MPP,
    SIZES,
    Build,
    latent,
    lattice_of,
    make_head,
    picture,
    source_of,
)

from pixnet.errors import FieldError
from pixnet.field.build.tile import TileImages, read_tile
from pixnet.grid import round_up
from pixnet.slide import Slide


def whole(slide: Slide) -> np.ndarray:
    """Return the latent map of the whole slide at once, as float32."""
    lattice = lattice_of(slide)
    box = next(lattice.tiles(round_up(max(lattice.height, lattice.width), lattice.stride)))
    return latent(read_tile(slide, lattice, box)[0])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_no_cut_into_tiles_changes_the_field(build: Build, slide: Slide, dtype: str) -> None:
    truth = whole(slide)
    first = None
    for core in (256, 512, 1024):
        field = build(core=core, dtype=dtype)
        values, valid = field.read()
        inside = valid > 0
        if dtype == "float32":
            np.testing.assert_array_equal(values[:, inside], truth[:, inside])
        else:
            np.testing.assert_allclose(values[:, inside], truth[:, inside], rtol=2**-11)
        assert not values[:, ~inside].any()
        first = values if first is None else first
        np.testing.assert_array_equal(values, first)


def test_valid_is_the_share_of_pixels_inside(build: Build, slide: Slide) -> None:
    field = build()
    height, width = field.grid.shape
    assert (height, width) == (608 // FINEST, 816 // FINEST)
    down = np.clip(602 - FINEST * np.arange(height), 0, FINEST) / FINEST
    across = np.clip(803 - FINEST * np.arange(width), 0, FINEST) / FINEST
    np.testing.assert_array_equal(field.read()[1], down[:, None] * across)


def test_a_channel_may_grow_far_beyond_its_first_tile(build: Build, tmp_path: Path) -> None:
    rgb = np.zeros((256, 1024, 3), np.uint8)
    slide = Slide.from_array(rgb, MPP)
    # Begun anew when the last block outgrows the scale of the first.
    blocks = itertools.cycle([0.0, 1e-9, 1.0, 3e20])

    def growing(images: TileImages) -> np.ndarray:
        pixels = [(side - 2 * HALO) // FINEST for side in images.near.shape[:2]]
        values = np.ones((CHANNELS, *pixels), np.float32)
        values[0] = next(blocks)
        return values

    values, _ = build(on=slide, latent=growing).read()
    steps = values[0, 0, ::64]
    # What is tiny beside the channel's largest value is kept to 2^-25 of that.
    np.testing.assert_allclose(steps, [0, 1e-9, 1, 3e20], rtol=2**-11, atol=3e20 * 2**-25)
    assert (values[1:] == 1).all()


def test_glass_before_the_tissue_is_no_reason_to_begin_anew(build: Build) -> None:
    slide = Slide.from_array(np.zeros((256, 1024, 3), np.uint8), MPP)
    steps = [1e-12, 1e-6, 1.0, 30.0]
    blocks = iter(steps)  # each is computed once

    def growing(images: TileImages) -> np.ndarray:
        pixels = [(side - 2 * HALO) // FINEST for side in images.near.shape[:2]]
        return np.full((*pixels, CHANNELS), next(blocks) * SIZES, np.float32).transpose(2, 0, 1)

    values = build(on=slide, latent=growing).read()[0][:, 0, ::64]
    np.testing.assert_allclose(values / SIZES[:, None], np.tile(steps, (CHANNELS, 1)), rtol=2**-11, atol=2**-24)


def test_tiny_and_huge_channels_keep_float16s_precision(build: Build, slide: Slide) -> None:
    field = build()
    assert field.latent.dtype == np.float16
    scale = np.array(field.attributes.scale)
    assert (np.log2(scale) % 1 == 0).all()
    assert (np.abs(np.log2(scale / SIZES)) < 4).all()


def test_skips_tiles_without_data(build: Build, tmp_path: Path) -> None:
    rgba = np.concatenate([picture(256, 768), np.full((256, 768, 1), 255, np.uint8)], axis=2)
    rgba[:, 256:512, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "middle.png")
    seen: list[int] = []
    steps: list[tuple[int, int]] = []

    def counting(images: TileImages) -> np.ndarray:
        seen.append(1)
        return latent(images)

    slide = Slide.open(tmp_path / "middle.png", mpp=MPP)
    field = build(on=slide, latent=counting, progress=lambda done, of: steps.append((done, of)))
    assert len(seen) == 2
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    # A tile that straddles the hole gives the same zeros in it as the skipped tile does.
    np.testing.assert_array_equal(build(on=slide, core=768).read()[0], field.read()[0])


def test_of_a_block_only_the_part_with_tissue_is_computed(build: Build) -> None:
    rgb = np.full((1000, 1400, 3), 243, np.uint8)
    rgb[100:400, 600:1000] = picture(300, 400)
    on, seen = Slide.from_array(rgb, MPP), []

    def watched(images: TileImages) -> np.ndarray:
        seen.append((images.near.shape[0] - 2 * HALO) * (images.near.shape[1] - 2 * HALO))
        return latent(images)

    masked = build(on=on, tissue_mask=True, core=2048, latent=watched, dtype="float32")
    plain = build(on=on, core=2048, dtype="float32")
    lattice = lattice_of(on)
    tissue = masked.read()[1] > 0
    pixels = FINEST**2 * tissue.sum()
    assert len(seen) == 1
    assert pixels <= seen[0] < 1.5 * pixels < lattice.height * lattice.width
    np.testing.assert_array_equal(masked.read()[0], np.where(tissue, plain.read()[0], 0))


def test_a_slide_without_data_is_refused(build: Build, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((64, 64, 4), np.uint8)).save(tmp_path / "clear.png")
    with pytest.raises(FieldError, match="no valid pixel"):
        build(on=Slide.open(tmp_path / "clear.png", mpp=MPP), out=tmp_path / "field.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["clear.png"]


def test_an_existing_field_is_replaced_only_when_asked(build: Build, tmp_path: Path) -> None:
    out = tmp_path / "new" / "field.zarr"
    build("rate", out=out)
    with pytest.raises(FieldError, match="exists already"):
        build("mean", out=out)
    assert build("mean", out=out, overwrite=True).head.kind == "mean"
    assert list(out.parent.iterdir()) == [out]


def test_overwriting_never_deletes_what_is_no_field(build: Build, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    for path in (tmp_path / "photos", tmp_path / "photos" / "cat.jpg"):
        with pytest.raises(FieldError, match="not an expression field"):
            build(out=path, overwrite=True)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"


def test_the_new_folder_has_the_usual_permissions(build: Build, tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    field = build(out=tmp_path / "field.zarr")
    assert field.path.stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_values_that_are_not_finite_are_refused(build: Build, tmp_path: Path, value: float, dtype: str) -> None:
    def broken(images: TileImages) -> np.ndarray:
        values = latent(images)
        values[3, -1, -1] = value
        return values

    with pytest.raises(FieldError, match="not finite for the block at x = 0 um, y = 0 um"):
        build(latent=broken, dtype=dtype, out=tmp_path / "field.zarr")


def test_values_without_data_need_not_be_finite(build: Build, holed: Slide) -> None:
    def broken(images: TileImages) -> np.ndarray:
        values = latent(images)
        values[:, :, 60:64] = np.nan  # in the hole
        return values

    usual, field = (build(on=holed, core=512, latent=made).read() for made in (latent, broken))
    assert not usual[1][:, 60:64].any()
    assert all(np.array_equal(one, other) for one, other in zip(usual, field, strict=True))


@pytest.mark.filterwarnings("error", "default::ResourceWarning")  # see test_writing.py
def test_latent_values_may_lie_in_memory_in_any_way(build: Build) -> None:
    def frozen(images: TileImages) -> np.ndarray:
        values = latent(images)
        values.flags.writeable = False
        return values

    def backwards(images: TileImages) -> np.ndarray:
        return latent(images)[..., ::-1].copy()[..., ::-1]

    usual, *others = (build(latent=made).read()[0] for made in (latent, frozen, backwards))
    assert all(np.array_equal(other, usual) for other in others)


def test_what_does_not_fit_is_refused_at_once(build: Build, slide: Slide) -> None:
    with pytest.raises(ValueError, match="latent values of a block"):
        build(latent=lambda images: latent(images)[:2])
    with pytest.raises(ValueError, match="`dtype` is 'int8'; a field is stored as float16 or float32"):
        build(dtype="int8")
    with pytest.raises(ValueError, match="`workers` is 0"):
        build(workers=0)
    with pytest.raises(ValueError, match="JSON"):
        build(card={"loss": float("nan")})


def test_attributes_say_where_the_field_comes_from(build: Build, slide: Slide) -> None:
    field = build()
    stored = json.loads((field.path / "zarr.json").read_text())["attributes"]
    facts = stored["pixnet"]
    assert facts["slide"]["fingerprint"] == slide.fingerprint()
    assert (facts["slide"]["mpp"], facts["slide"]["mpp_source"]) == (MPP, "argument")
    assert facts["card"] == {"encoder": "none", "samples": ["A", "B"]}
    image = stored["ome"]["multiscales"][0]
    assert [axis.get("unit") for axis in image["axes"]] == [None, "micrometer", "micrometer"]
    scale, translation = image["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == [1, 2, 2]
    assert translation["translation"] == [0, 1, 1]
    array = json.loads((field.path / "latent" / "0" / "zarr.json").read_text())
    assert array["dimension_names"] == ["c", "y", "x"]


def test_the_same_build_gives_the_same_bytes(build: Build) -> None:
    first, second = build().path, build().path
    assert {p.relative_to(first): p.read_bytes() for p in first.rglob("*") if p.is_file()} == {
        p.relative_to(second): p.read_bytes() for p in second.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "median"}, "the kind of a head is rate, mean, sum, not 'median'"),
        ({"W": np.ones((5, 2))}, "cannot have W"),
        ({"b": np.full(4, np.inf)}, "finite"),
        ({"genes": ("A", "A", "B", "other")}, "occur once"),
        ({"genes": ("A", "B", "C", "D")}, "last output"),
    ],
)
def test_a_head_that_contradicts_itself_is_refused(change: dict[str, object], words: str) -> None:
    head = make_head("rate")
    arguments = {name: getattr(head, name) for name in ("kind", "genes", "W", "b", "units")}
    with pytest.raises(FieldError, match=words):
        type(head)(**(arguments | change))


def test_pixels_that_do_not_divide_the_stride_are_refused(slide: Slide) -> None:
    with pytest.raises(ValueError, match="`finest` is 3; pixels of the field must divide the stride of 16"):
        source_of(slide, finest=3)
