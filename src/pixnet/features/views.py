"""Augmented views of a slide: on white glass, turned or flipped, with a slightly stronger or weaker stain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.grid import Box, Lattice
from pixnet.slide.glass import WHITE_GLASS, Glass

if TYPE_CHECKING:
    from pixnet.regions import Regions
    from pixnet.slide import Slide

# Optical densities of haematoxylin, eosin and the residual (Ruifrok and Johnston 2001, table 2 and its complement).
_STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
_STAINS /= np.linalg.norm(_STAINS, axis=1, keepdims=True)


@dataclass(frozen=True)
class Symmetry:
    """One of the eight symmetries of the square: a transposition, then flips of rows and of columns."""

    transpose: bool = False
    flip_rows: bool = False
    flip_cols: bool = False

    @classmethod
    def from_index(cls, index: int) -> Symmetry:
        """Return symmetry 0 (none) to 7."""
        return cls(bool(index & 1), bool(index & 2), bool(index & 4))

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array with its first two axes turned."""
        if self.transpose:
            array = array.swapaxes(0, 1)
        if self.flip_rows:
            array = array[::-1]
        if self.flip_cols:
            array = array[:, ::-1]
        return array

    def box(self, box: Box, height: int, width: int) -> Box:
        """Return where a box of a (height, width) array is in the turned array."""
        if self.transpose:
            box = Box(box.col, box.row, box.width, box.height)
            height, width = width, height
        return self._flip(box, height, width)

    def original(self, box: Box, height: int, width: int) -> Box:
        """Return the box of the (height, width) array that a box of the turned array shows; the inverse of `box`."""
        if self.transpose:
            height, width = width, height
        box = self._flip(box, height, width)
        return Box(box.col, box.row, box.width, box.height) if self.transpose else box

    def _flip(self, box: Box, height: int, width: int) -> Box:
        row = height - box.row - box.height if self.flip_rows else box.row
        col = width - box.col - box.width if self.flip_cols else box.col
        return Box(row, col, box.height, box.width)


@dataclass(eq=False)
class View:
    """A slide with the colour of its glass removed, turned by a symmetry and with its stain changed.

    All boxes count the pixels of the lattice, in the frame of the view.
    """

    slide: Slide
    lattice: Lattice
    symmetry: Symmetry = Symmetry()  # how the slide is turned
    stain: tuple[float, ...] = ()  # factors on haematoxylin, eosin and the residual; empty: left as they are
    glass: Glass = WHITE_GLASS  # colour that the image is divided by before the stain is changed
    # Returns how many pixels of the image hold data, for each latent pixel of a box, once features are stored with it.
    stored_valid: Callable[[Box], NDArray[np.uint8]] | None = field(default=None, init=False)

    def redrawn(self, rng: np.random.Generator, jitter: float) -> View:
        """Draw a random view of the same slide; `jitter` is the SD of the logarithm of the stain's factors."""
        symmetry = Symmetry.from_index(int(rng.integers(8)))
        return replace(self, symmetry=symmetry, stain=tuple(float(f) for f in np.exp(rng.normal(0.0, jitter, 3))))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the lattice in the frame of the view."""
        height, width = self.lattice.height, self.lattice.width
        return (width, height) if self.symmetry.transpose else (height, width)

    def read(self, box: Box, zoom: int = 1) -> NDArray[np.uint8]:
        """Read the image of a box, shape (h, w, 3).

        The box counts pixels of the lattice, or of a lattice `zoom` times coarser.
        """
        return self.read_valid(box, zoom)[0]

    def read_valid(self, box: Box, zoom: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Read the image of a box, as `read`, and which of its pixels (h, w) hold data."""
        original = self.symmetry.original(box, self.lattice.height // zoom, self.lattice.width // zoom)
        rgb, mask = self.slide.read_box(original, self.lattice.mpp * zoom)
        rgb = self.glass.whiten(rgb)
        if self.stain:
            rgb = jitter_stain(rgb, self.stain)
        return np.ascontiguousarray(self.symmetry.apply(rgb)), self.symmetry.apply(mask)

    def place(self, box: Box) -> Box:
        """Return a box of the slide's lattice in the frame of the view."""
        return self.symmetry.box(box, self.lattice.height, self.lattice.width)

    def placed(self, boxes: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
        """Return boxes of the slide's lattice in the frame of the view, (k, 4) each.

        A box is its first row, first column, last row and last column.
        """
        if self.symmetry.transpose:
            boxes = boxes[:, [1, 0, 3, 2]]
        height, width = self.shape
        rows, cols = boxes[:, [0, 2]], boxes[:, [1, 3]]
        if self.symmetry.flip_rows:
            rows = height - rows[:, ::-1]
        if self.symmetry.flip_cols:
            cols = width - cols[:, ::-1]
        return np.stack([rows, cols], axis=2).reshape(-1, 4)

    def valid(self, want: Box, finest: int) -> NDArray[np.uint8]:
        """Return how many image pixels hold data in each pixel of a box of latent pixels, `finest` of them wide."""
        if self.stored_valid:
            return self.stored_valid(want)
        box = Box(*(finest * side for side in (want.row, want.col, want.height, want.width)))
        original = self.symmetry.original(box, self.lattice.height, self.lattice.width)
        _, mask = self.slide.read_box(original, self.lattice.mpp)
        return count_valid(self.symmetry.apply(mask), finest)

    def coverage(self, regions: Regions, want: Box, finest: int) -> sparse.csr_array:
        """Return the valid area, (regions, latent pixels) in um^2, of regions in each pixel of a box of latent pixels.

        `want` is in the frame of the view, and a latent pixel is `finest` image pixels wide.
        """
        grid = self.lattice.grid(finest)
        original = self.symmetry.original(want, grid.height, grid.width)
        area = regions.coverage(grid.crop(original.row, original.col, original.height, original.width))
        # Column k of the turned tile is pixel order[k] of the tile as it is on the slide.
        pixels = np.arange(original.height * original.width).reshape(original.height, original.width)
        order = self.symmetry.apply(pixels).ravel()
        count = self.valid(want, finest)
        if not (count == finest**2).all():
            share = np.empty(original.height * original.width)
            share[order] = count.ravel() / finest**2
            area = sparse.csr_array(area @ sparse.diags_array(share))
        return sparse.csr_array(area[:, order])


def count_valid(mask: NDArray[np.bool_], finest: int) -> NDArray[np.uint8]:
    """Return how many pixels of a mask (h, w) are set in each square of `finest` x `finest` of them."""
    height, width = (side // finest for side in mask.shape)
    counts: NDArray[np.uint8] = mask.reshape(height, finest, width, finest).sum(axis=(1, 3), dtype=np.uint8)
    return counts


def jitter_stain(rgb: NDArray[np.uint8], factors: tuple[float, ...]) -> NDArray[np.uint8]:
    """Multiply the amounts of haematoxylin, eosin and residual in an image (h, w, 3), by the Beer-Lambert law."""
    density = -np.log((np.arange(256, dtype=np.float32) + 1.0) / 256.0)[rgb]
    change = (np.linalg.inv(_STAINS) @ np.diag(factors) @ _STAINS).astype(np.float32)
    values = np.rint(np.exp(-(density @ change)) * 256.0 - 1.0)
    return np.asarray(np.clip(values, 0, 255), np.uint8)
