"""Small virtual samples and settings that train in a second, for the tests and for the processes that they start."""

from __future__ import annotations

from typing import Any

from pixnet.network.config import DecoderConfig, EncoderConfig, NetworkConfig
from pixnet.sample import Sample
from pixnet.sample.panel import GenePanel, choose_panel
from pixnet.training.config import TrainingConfig
from pixnet.virtual import VirtualTissue, spots

WIDTH, HEIGHT, SPOT = 320, 256, 30.0


def make_samples(number: int = 2) -> list[Sample]:
    """Return samples of 48 spots of 30 um."""
    regions = spots(WIDTH, HEIGHT, SPOT, 40.0)
    tissues = [VirtualTissue.generate("breast", seed, seed, WIDTH, HEIGHT) for seed in range(1, number + 1)]
    return [tissue.measure(regions, 1, counts_per_um2=2.0) for tissue in tissues]


def make_panel(samples: list[Sample]) -> GenePanel:
    return choose_panel(samples, 12)


def network_config(**options: Any) -> NetworkConfig:
    """Return the smallest network; options of the encoder by name, others as `head`, `attention`, `dropout`."""
    head = options.pop("head", "rate")
    decoder = {"attention": options.pop("attention", "channel"), "dropout": options.pop("dropout", 0.3)}
    around = options.pop("around", (48.0, 112.0))
    encoder = EncoderConfig(**{"name": "test_resnet", "weights": "random", "finest": 4, **options})
    channels = (6,) * len(encoder.strides)
    return NetworkConfig(
        encoder=encoder,
        decoder=DecoderConfig(channels=channels, dsub_steps=1, **decoder),
        surroundings_um=around,
        surroundings_zoom=2,
        head=head,
    )


def training_config(**options: Any) -> TrainingConfig:
    settings = {"steps": 6, "tiles": 4, "tile_um": 64.0, "views": 1, "min_counts": 100, "evaluate_every": 2}
    settings |= {"warmup": 2, "patience": 5, "validation": "none", "ema": 0.5}
    return TrainingConfig(**(settings | options))
