from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pixnet.grid import round_up
from pixnet.network.config import EncoderConfig
from pixnet.network.encoders.make import make_encoder
from pixnet.network.encoders.receptive import receptive_radius

Awaken = Callable[[torch.nn.Module], None]


def influence(name: str, weights: str, finest: int, stride: int, awaken: Awaken) -> tuple[int, int]:
    """Return the computed radius, and the distance of the furthest pixel that changes the features of a core."""
    torch.manual_seed(0)
    encoder = make_encoder(EncoderConfig(name=name, weights=weights, finest=finest, stride=stride)).eval()  # type: ignore[arg-type]
    if weights == "random":
        awaken(encoder)
    radius = receptive_radius(encoder)
    halo, core = round_up(radius, stride) + stride, 2 * stride
    side = core + 2 * halo
    image = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))

    def features(changed: torch.Tensor) -> list[torch.Tensor]:
        with torch.inference_mode():
            levels = encoder(changed)
        cuts = [slice(halo // s, (halo + core) // s) for s in encoder.pitches]
        return [level[:, :, cut, cut].clone() for level, cut in zip(levels, cuts, strict=True)]

    plain = features(image)

    def changes(distance: int) -> bool:
        """Return whether a change of everything `distance` pixels or more from the core changes its features."""
        other = 255 - image
        inside = slice(halo - distance, halo + core + distance)
        other[:, :, inside, inside] = image[:, :, inside, inside]
        return any(not torch.equal(a, b) for a, b in zip(plain, features(other), strict=True))

    assert changes(0)
    low, high = 0, halo
    while high - low > 1:  # the furthest pixel that matters, by bisection
        middle = (low + high) // 2
        low, high = (middle, high) if changes(middle) else (low, middle)
    return radius, high


@pytest.mark.parametrize(
    ("name", "weights", "finest", "stride", "least"),
    [
        ("test_resnet", "random", 2, 16, 0.5),
        ("test_convnext2", "random", 4, 16, 0.2),
        ("tf_efficientnet_lite0", "pretrained", 2, 16, 0.5),
    ],
)
def test_the_counted_radius_bounds_what_is_seen(
    name: str, weights: str, finest: int, stride: int, least: float, awaken: Awaken
) -> None:
    radius, seen = influence(name, weights, finest, stride, awaken)
    assert seen <= radius
    assert seen >= least * radius  # the bound is useful: most of it does matter


def test_deeper_stages_see_further() -> None:
    radii = [
        receptive_radius(make_encoder(EncoderConfig(name="resnet18", weights="random", stride=stride)))  # type: ignore[arg-type]
        for stride in (4, 8, 16, 32)
    ]
    assert radii == sorted(radii)
    assert len(set(radii)) == 4
