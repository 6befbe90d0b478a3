"""What a field is built from, and how."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from pixnet.field.build.tile import TileImages
from pixnet.field.head import LinearHead
from pixnet.grid import Box, Grid, Lattice

Latent = Callable[[TileImages], NDArray[np.float32]]
"""Computes the latent values of a tile's core, shape (C, h, w), from its images. The caller may change the array."""


@dataclass(frozen=True, eq=False)
class LatentSource:
    """A network that computes the latent field of a slide, and its linear head.

    Parameters
    ----------
    lattice
        The slide's lattice of pixels at the working resolution, with the network's stride and halos.
    finest
        Side of a pixel of the field, in lattice pixels; divides the stride.
    latent
        The network without its head. Its values must not depend on how the slide is cut into blocks.
    head
        The linear head, with as many channels as `latent` returns.
    card
        The model card, as JSON values.
    seam_error
        Measures the difference that the cut into blocks makes, as a share of the largest value; stored with the field.
    features
        Name of the stored features that `latent` reads; None if it uses the images.

    Raises
    ------
    ValueError
        If `finest` does not divide the stride, or if the card cannot be written as JSON.
    """

    lattice: Lattice
    finest: int
    latent: Latent
    head: LinearHead
    card: dict[str, Any]
    seam_error: Callable[[], float] | None = None
    features: str | None = None

    def __post_init__(self) -> None:
        if self.finest <= 0 or self.lattice.stride % self.finest:
            raise ValueError(
                f"`finest` is {self.finest}; pixels of the field must divide the stride of {self.lattice.stride}"
            )
        # Checks the card now, not after the last block.
        object.__setattr__(self, "card", json.loads(json.dumps(self.card, allow_nan=False)))

    @property
    def grid(self) -> Grid:
        """Grid of the field's pixels, in um."""
        return self.lattice.grid(self.finest)

    def field_box(self, box: Box) -> Box:
        """Return the pixels of the field that a box of lattice pixels consists of."""
        return Box(*(side // self.finest for side in (box.row, box.col, box.height, box.width)))


class PredictOptions(TypedDict, total=False):
    """Options of `PixNet.predict`."""

    dtype: str
    """Type of the stored latent field: `"float16"` with a scale per channel (the default), or `"float32"`."""

    tissue_mask: bool
    """Whether background (bare glass, found in a thumbnail of the slide) is left out; by default it is."""

    workers: int
    """Number of blocks that are read ahead, each in a thread of its own; 1 by default."""

    resume: bool
    """Whether to continue an unfinished field of the same slide, model and options, if there is one."""

    overwrite: bool
    """Whether to replace a field that exists in this place, and to discard an unfinished one."""

    progress: Callable[[int, int], None] | None
    """Called at the start and after each block with the numbers of blocks computed and of all blocks with tissue."""


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """The values of `PredictOptions`, checked, and `core`, which is rounded up to a multiple of the stride.

    Raises
    ------
    ValueError
        If `dtype` is neither float16 nor float32, or if `workers` is not positive.
    """

    core: int = 2048
    dtype: str = "float16"
    tissue_mask: bool = True
    workers: int = 1
    resume: bool = False
    overwrite: bool = False
    progress: Callable[[int, int], None] | None = None

    def __post_init__(self) -> None:
        if self.dtype not in ("float16", "float32"):
            raise ValueError(f"`dtype` is {self.dtype!r}; a field is stored as float16 or float32")
        if self.workers < 1:
            raise ValueError(f"`workers` is {self.workers}; at least one thread must read")
