"""The output of a network must not depend on how a slide is cut into tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pixnet.field.build.tile import read_tile
from pixnet.grid import Box
from pixnet.network.config import PRESETS
from pixnet.network.network import Network
from pixnet.slide import Slide

TileSides = Callable[[Network, int], tuple[int, int]]
Latents = Iterator[tuple[Box, NDArray[np.float32]]]


def latents(network: Network, slide: Slide, core: int, chosen: list[int]) -> Latents:
    """Yield the latent maps of some tiles of a slide with their boxes in field pixels, computed as in prediction."""
    lattice = network.lattice(slide)
    tiles, finest = list(lattice.tiles(core)), network.strides[0]
    for number in chosen:
        box = tiles[number]
        images, _ = read_tile(slide, lattice, box)
        near, far = (None if rgb is None else torch.from_numpy(rgb).permute(2, 0, 1) for rgb in images[:2])
        field_box = Box(*(side // finest for side in (box.row, box.col, box.height, box.width)))
        yield field_box, network.latent(near, far, (box.row, box.col)).numpy()


def seam(network: Network, slide: Slide, large: int, small: dict[int, list[int]]) -> float:
    """Return the largest difference of small tiles from the large one around them, relative to its largest value."""
    ((_, whole),) = latents(network, slide, large, [0])
    worst = 0.0
    for core, chosen in small.items():
        for box, part in latents(network, slide, core, chosen):
            same = whole[:, box.row : box.row + box.height, box.col : box.col + box.width]
            assert part.shape == same.shape
            worst = max(worst, float(np.abs(part - same).max()))
    assert np.abs(whole).max() > 0
    assert (whole.std(axis=(1, 2)) > 1e-3 * np.abs(whole).max()).any()
    return worst / float(np.abs(whole).max())


@pytest.fixture(scope="module")
def slide(wavy: Callable[..., NDArray[np.uint8]]) -> Slide:
    return Slide.from_array(wavy(1024, 1024), 1.0, name="waves")


def test_the_default_has_no_seams(slide: Slide, settle: Callable[[Network], Network]) -> None:
    torch.manual_seed(0)
    network = settle(Network(PRESETS["small"].model_copy(update={"surroundings_um": (300.0, 600.0, 1200.0)}), 5))
    assert network.strides[0] * network.config.mpp == network.config.pitch_um
    assert seam(network, slide, 512, {256: [5]}) <= 1e-4


def test_stride_32_has_no_seams(slide: Slide, make_network: Callable[..., Network]) -> None:
    network = make_network("tf_efficientnet_lite0", weights="pretrained", stride=32, finest=4, width=4)
    assert seam(network, slide, 512, {256: [5]}) <= 1e-4


def test_tiles_of_all_sizes_give_one_map(slide: Slide, make_network: Callable[..., Network]) -> None:
    """Every tile of 256 and 512 px against the complete slide in one tile."""
    network = make_network(around=(150.0, 300.0, 600.0), zoom=4)
    assert seam(network, slide, 1024, {512: list(range(4)), 256: list(range(16))}) <= 1e-4


@pytest.mark.parametrize("attention", ["channel", "local"])
@pytest.mark.parametrize("head", ["rate", "mean"])
def test_small_networks_have_no_seams(
    slide: Slide, make_network: Callable[..., Network], attention: str, head: str
) -> None:
    network = make_network(attention=attention, head=head)
    assert seam(network, slide, 512, {256: [0, 5], 128: [9, 18], network.stride: [327]}) <= 1e-4


def test_a_wide_margin_of_the_decoder_has_no_seams(slide: Slide, make_network: Callable[..., Network]) -> None:
    network = make_network(attention="local", zoom=4)
    assert seam(network, slide, 512, {256: [0], network.stride: [18, 102]}) <= 1e-4


def test_a_convnext_has_no_seams(slide: Slide, make_network: Callable[..., Network]) -> None:
    network = make_network("test_convnext2", finest=4)
    assert seam(network, slide, 512, {256: [5]}) <= 1e-4


@pytest.mark.parametrize("around", [(), (64.0,)])
def test_a_vit_has_no_seams(
    make_network: Callable[..., Network], wavy: Callable[..., NDArray[np.uint8]], around: tuple[float, ...]
) -> None:
    network = make_network("test_vit", finest=8, around=around)
    side = 2 * network.stride
    slide = Slide.from_array(wavy(side, side), 1.0)
    assert seam(network, slide, 2 * network.stride, {network.stride: [0, 3]}) <= 1e-4


def test_a_halo_too_small_shows(
    slide: Slide, make_network: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above must be able to fail."""
    network = make_network("test_convnext2", finest=4, around=())
    monkeypatch.setattr(network, "encoder_halo", 0)
    assert seam(network, slide, 512, {256: [5]}) > 1e-4


def test_no_pixel_beyond_the_halos_matters_and_some_within_do(
    make_network: Callable[..., Network], wavy: Callable[..., NDArray[np.uint8]], tile_sides: TileSides
) -> None:
    network = make_network()
    core, spare = 2 * network.stride, network.stride
    sides = (side + 2 * spare for side in tile_sides(network, core))
    near, far = (torch.from_numpy(wavy(side, side)).permute(2, 0, 1)[None] for side in sides)
    want = Box(network.halo + spare, network.halo + spare, core, core)

    def changed(image: torch.Tensor, side: int, distance: int) -> torch.Tensor:
        """Return the image with everything changed that is further than a distance from its middle part."""
        first = (image.shape[-1] - side) // 2 - distance
        inside = slice(first, first + side + 2 * distance)
        other = 255 - image
        other[:, :, inside, inside] = image[:, :, inside, inside]
        return other

    def change(near_distance: int, far_distance: int) -> float:
        others = changed(near, core, near_distance), changed(far, core // network.zoom, far_distance)
        with torch.inference_mode():
            return float((network(*others, want) - network(near, far, want)).abs().max())

    halo, far_halo = network.halo, network.far_halo
    assert change(halo, far_halo) == 0.0
    assert change(network.decoder_margin // 2, far_halo) > 0.0
    assert change(halo, far_halo // 2) > 0.0
    assert change(0, far_halo) > 1e-3


def test_the_latent_map_of_a_core_has_its_pixels(make_network: Callable[..., Network], tile_sides: TileSides) -> None:
    for finest in (2, 4):
        network = make_network(finest=finest, width=6)
        core = 2 * network.stride
        heights, widths = tile_sides(network, core), tile_sides(network, core + network.stride)
        images = [torch.zeros(3, h, w, dtype=torch.uint8) for h, w in zip(heights, widths, strict=True)]
        latent = network.latent(*images)
        assert latent.shape == (6, core // finest, (core + network.stride) // finest)
        assert latent.dtype == torch.float32
        assert not latent.requires_grad


def test_the_paper_preset_maps_every_pixel(wavy: Callable[..., NDArray[np.uint8]], tile_sides: TileSides) -> None:
    torch.manual_seed(0)
    network = Network(PRESETS["paper"].model_copy(update={"surroundings_um": (300.0, 600.0, 1200.0)}), 5).eval()
    assert network.strides == (1, 2, 4, 8, 16, 32)
    images = (torch.from_numpy(wavy(side, side)).permute(2, 0, 1) for side in tile_sides(network, network.stride))
    latent = network.latent(*images)
    assert latent.shape == (64, network.stride, network.stride)
    assert latent.isfinite().all()
    assert float(latent.std(dim=(1, 2)).max()) > 0.0


def test_halo_and_strides_fit_each_other(make_network: Callable[..., Network]) -> None:
    for options in ({}, {"around": ()}, {"stride": 32}, {"name": "test_vit", "finest": 8}):
        network = make_network(settled=False, **options)
        assert network.halo % network.stride == 0
        assert all(network.stride % stride == 0 for stride in network.strides)
        assert network.stride % network.encoder.phase == 0
        assert network.halo >= network.margin + network.encoder_halo
        assert bool(network.far_halo) == bool(network.surroundings.widths)
        if network.far_halo:
            assert network.zoom * network.far_halo >= network.halo
            assert network.far_halo % network.pitches[-1] == network.far_halo % network.encoder.phase == 0


def test_a_white_slide_gives_one_value_everywhere(make_network: Callable[..., Network]) -> None:
    network = make_network()
    slide = Slide.from_array(np.full((200, 200, 3), 255, np.uint8), 1.0)
    ((_, latent),) = latents(network, slide, 256, [0])
    period = network.stride // network.strides[0]
    assert np.allclose(
        latent, np.tile(latent[:, :period, :period], (1, *(s // period for s in latent.shape[1:]))), atol=1e-4
    )


def test_training_and_prediction_give_the_same_map(
    make_network: Callable[..., Network], wavy: Callable[..., NDArray[np.uint8]], tile_sides: TileSides
) -> None:
    """Tiles of a batch and single tiles must not differ, nor memory formats."""
    network = make_network()
    network.linear.share.zero_()  # type: ignore[union-attr]  # training has the decoder alone
    near, far = (
        torch.stack([torch.from_numpy(wavy(side, side, seed)).permute(2, 0, 1) for seed in (1, 2)])
        for side in tile_sides(network, 2 * network.stride)
    )
    core = Box(network.halo, network.halo, 2 * network.stride, 2 * network.stride)
    finest = network.strides[0]
    want = Box(*(value // finest for value in (core.row, core.col, core.height, core.width)))
    with torch.inference_mode():
        single = torch.cat([network(near[i, None].contiguous(), far[i, None].contiguous(), core) for i in range(2)])
        from pixnet.network.crop import Crop

        boxes = network.level_boxes(want)
        crops = [
            Crop(level[:, :, b.row : b.row + b.height, b.col : b.col + b.width], [b.row] * 2, [b.col] * 2)
            for level, b in zip(network.pyramid(near, far), boxes, strict=True)
        ]
        both = network.decode(crops, [want, want])
    assert torch.allclose(single, both, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(single[0], single[1], atol=1e-2)


def test_few_windows_are_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a slide of 4096 x 4096 px at most 4.5 times as many windows as would cover it without overlap."""
    from pixnet.config import Config
    from pixnet.model.blocks import fitting_core

    arguments = {"img_size": 224, "patch_size": 14, "embed_dim": 48, "depth": 4, "num_heads": 3}
    definition = {"architecture": "vit_small_patch14_dinov2", "arguments": arguments}
    encoder = {"name": "small", "weights": "random", "definition": definition}
    network = Network(Config.from_dict({"network": {"encoder": encoder}}).network, 5).eval()
    windows = 0

    def counted(batch: torch.Tensor) -> list[torch.Tensor]:
        nonlocal windows
        windows += len(batch)
        return [torch.zeros(len(batch), 1, 16, 16)] * 4

    monkeypatch.setattr(network.encoder, "_encoded", counted)
    slide = Slide.from_array(np.full((4096, 4096, 3), 200, np.uint8), 0.5)
    lattice = network.lattice(slide)
    for tile in lattice.tiles(fitting_core(network)):
        near, _ = read_tile(slide, lattice, tile)
        with torch.inference_mode():
            network.pyramid(torch.from_numpy(near.near).permute(2, 0, 1)[None], None, [(tile.row, tile.col)])
    assert windows / (4096 / 224) ** 2 <= 4.5
