"""Features of whole slides: computed for trainings and predictions elsewhere, and read in a prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import Timeout
from numpy.typing import NDArray

from pixnet.digest import digest
from pixnet.features.store import StoredFeatures
from pixnet.field.build.background import Background
from pixnet.grid import Box, round_up
from pixnet.training.features import boxes_around, draw_views, plain_view, tile_reach

if TYPE_CHECKING:
    from pixnet.field.build.inputs import Latent
    from pixnet.field.build.tile import TileImages
    from pixnet.network.network import Network
    from pixnet.regions import Regions
    from pixnet.slide import Slide
    from pixnet.training.config import TrainingConfig
    from pixnet.training.fit import Progress


@dataclass(frozen=True)
class Extraction:
    """A slide whose features are to be stored, and its measured regions if a model will be trained on them."""

    slide: Slide
    regions: Regions | None = None


def extract(
    slides: Sequence[Extraction],
    features: StoredFeatures,
    config: TrainingConfig,
    tissue_mask: bool = True,
    progress: Progress = lambda *_: None,
) -> int:
    """Store the features of slides that trainings and predictions with a configuration will need.

    The first view of a slide is stored on all of its tissue, which a prediction needs. Its other `config.views` are
    stored around its regions, or on the tissue if it has none. What exists is not computed again, so an interrupted run
    is continued by running it again. A slide that another process is at is left for the end.

    Returns
    -------
    int
        Number of views that were computed, or completed, by this process.

    Raises
    ------
    ModelError, SlideError, FieldError
        If features cannot be written, or a slide cannot be read or has no tissue.
    """
    network = features.network
    reach = tile_reach([of.regions for of in slides if of.regions is not None], network, config)
    total = len(slides) * config.views
    made: dict[tuple[int, int], bool] = {}  # whether this process computed some of a view, by slide and view
    waiting = [(number, False) for number in range(len(slides))]
    while waiting:
        number, wait = waiting.pop(0)
        slide, regions = slides[number].slide, slides[number].regions
        for index, view in enumerate(draw_views(slide, network, config)):
            done = len(made)
            progress("features", done, total, slide.name)
            parts, linear = [], 0
            if index == 0 or regions is None:
                # A slide without regions may get some later, whose tiles reach beyond the tissue.
                beyond = reach if regions is None and config.views > 1 else 0
                tissue = tissue_boxes(slide, features, tissue_mask)
                parts.append(view.placed(tissue) + np.array([-1, -1, 1, 1]) * beyond)
                linear = _beyond(network)
            if regions is not None:
                parts.append(boxes_around(regions, view, reach))
            report = partial(_report, progress, done, total, slide)
            try:
                prepared = features.prepare(view, np.concatenate(parts), beyond=linear, wait=wait, progress=report)
            except Timeout:
                waiting.append((number, True))
                break
            made[number, index] = prepared.made or made.get((number, index), False)
        slide.close()
    progress("features", total, total, "")
    return sum(made.values())


def _report(progress: Progress, done: int, total: int, slide: Slide, part: int, parts: int) -> None:
    progress("features", done, total, f"{slide.name}, part {part} of {parts}")


def _beyond(network: Network) -> int:
    """Return the image pixels around a latent pixel that the linear path sees, which a trained network may use."""
    return network.linear.margin(network.strides[0]) if network.linear else 0


def tissue_boxes(slide: Slide, features: StoredFeatures, tissue_mask: bool) -> NDArray[np.integer[Any]]:
    """Return boxes that hold the tissue of a slide, one in each block with some, in image pixels, shape (k, 4).

    Each is first row, first column, last row, last column. Without `tissue_mask`, everything is tissue.
    """
    network = features.network
    lattice, finest = network.lattice(slide), network.strides[0]
    background = Background(slide, lattice, finest, keep_all=not tissue_mask)
    step = math.lcm(features.side, network.stride)
    side, width = features.side // finest, lattice.width // finest
    blocks = -(-width // side)
    boxes = []
    for top in range(0, lattice.height, step):
        height = min(step, lattice.height - top) // finest
        strip = np.zeros((round_up(height, side), blocks * side), bool)
        strip[:height, :width] = background.tissue(Box(top // finest, 0, height, width))
        cut = strip.reshape(-1, side, blocks, side)
        # (rows of blocks, side, blocks) and (rows of blocks, blocks, side)
        rows, cols = (np.logical_or.reduce(cut, axis=axis) for axis in (3, 1))
        for down, across in np.argwhere(np.logical_or.reduce(cols, axis=2)):
            y, x = np.flatnonzero(rows[down, :, across]), np.flatnonzero(cols[down, across])
            first_row, first_col = top // finest + down * side, across * side
            boxes.append((first_row + y[0], first_col + x[0], first_row + y[-1] + 1, first_col + x[-1] + 1))
    return finest * np.array(boxes)


def latent_from(
    folder: Path, network: Network, slide: Slide, config: TrainingConfig, tissue_mask: bool
) -> tuple[Latent, str]:
    """Return a function that computes latent values from stored features, and the name of these.

    ModelError is raised if the folder does not hold the features of all of the slide's tissue.
    """
    features = StoredFeatures(network, folder, read_only=True)
    view = plain_view(slide, network, config)
    path = network.linear
    beyond = _beyond(network) if path and path.share else 0
    prepared = features.prepare(view, tissue_boxes(slide, features, tissue_mask), beyond=beyond)

    @torch.inference_mode()
    def latent(images: TileImages) -> NDArray[np.float32]:
        core, finest = images.core, network.strides[0]
        want = Box(*(side // finest for side in (core.row, core.col, core.height, core.width)))
        values: NDArray[np.float32] = (
            network.decode_in_parts(want, lambda box: features.maps(view, box))[0].cpu().numpy()
        )
        return values

    return latent, digest([features.folder.name, prepared.key])
