"""A slide as training sees it: on white glass, turned or flipped, its stain a little stronger or weaker."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pixnet.grid import Box, Lattice
from pixnet.slide.glass import WHITE_GLASS, Glass

if TYPE_CHECKING:
    from pixnet.regions import Regions
    from pixnet.sample import Sample

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
    def number(cls, index: int) -> Symmetry:
        """Give symmetry 0 (none) to 7."""
        return cls(bool(index & 1), bool(index & 2), bool(index & 4))

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn the first two axes of an array."""
        if self.transpose:
            array = array.swapaxes(0, 1)
        if self.flip_rows:
            array = array[::-1]
        if self.flip_cols:
            array = array[:, ::-1]
        return array

    def box(self, box: Box, height: int, width: int) -> Box:
        """Say where a box of a (height, width) array comes to lie in the turned array."""
        row, col, h, w = box.row, box.col, box.height, box.width
        if self.transpose:
            row, col, h, w, height, width = col, row, w, h, width, height
        return Box(height - row - h if self.flip_rows else row, width - col - w if self.flip_cols else col, h, w)

    def original(self, box: Box, height: int, width: int) -> Box:
        """Say which box of the (height, width) array a box of the turned array shows; undoes `box`."""
        if self.transpose:
            height, width = width, height
        row = height - box.row - box.height if self.flip_rows else box.row
        col = width - box.col - box.width if self.flip_cols else box.col
        return Box(col, row, box.width, box.height) if self.transpose else Box(row, col, box.height, box.width)


@dataclass(frozen=True, eq=False)
class View:
    """A sample's lattice seen through the colour of its glass, a symmetry and a jitter of its stain.

    Parameters
    ----------
    sample
        The sample.
    lattice
        Its lattice; all boxes count pixels of it, in the frame of the view.
    symmetry
        How the slide is turned.
    stain
        Factors on haematoxylin, eosin and the residual; empty: the image as it is.
    glass
        Colour that is divided by, before the stain is jittered.
    """

    sample: Sample
    lattice: Lattice
    symmetry: Symmetry = Symmetry()
    stain: tuple[float, ...] = ()
    glass: Glass = WHITE_GLASS

    def redrawn(self, rng: np.random.Generator, jitter: float) -> View:
        """Draw a view of the same slide at random, with `jitter` as the standard deviation of the stain's factors."""
        symmetry = Symmetry.number(int(rng.integers(8)))
        return replace(self, symmetry=symmetry, stain=tuple(float(f) for f in np.exp(rng.normal(0.0, jitter, 3))))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the lattice in the frame of the view."""
        height, width = self.lattice.height, self.lattice.width
        return (width, height) if self.symmetry.transpose else (height, width)

    def read(self, box: Box, zoom: int = 1) -> NDArray[np.uint8]:
        """Read the pixels of a box, (h, w, 3), which counts pixels of the lattice or of one `zoom` times coarser."""
        original = self.symmetry.original(box, self.lattice.height // zoom, self.lattice.width // zoom)
        rgb, _ = self.sample.slide.read_box(original, self.lattice.mpp * zoom)
        rgb = self.glass.whiten(rgb)
        if self.stain:
            rgb = jitter_stain(rgb, self.stain)
        return np.ascontiguousarray(self.symmetry.apply(rgb))

    def place(self, box: Box) -> Box:
        """Bring a box of the slide's lattice to the frame of the view."""
        return self.symmetry.box(box, self.lattice.height, self.lattice.width)

    def coverage(self, regions: Regions, want: Box, finest: int) -> sparse.csr_array:
        """Give the valid area of regions on the wanted cells.

        Parameters
        ----------
        regions
            The regions, in um on the slide.
        want
            Cells of `finest` pixels, in the frame of the view.
        finest
            Pixels along a cell.

        Returns
        -------
        csr_array
            (regions, cells), um^2.
        """
        grid = self.lattice.grid(finest)
        original = self.symmetry.original(want, grid.height, grid.width)
        area = regions.coverage(grid.crop(original.row, original.col, original.height, original.width))
        pixels = Box(*(finest * side for side in (original.row, original.col, original.height, original.width)))
        _, mask = self.sample.slide.read_box(pixels, self.lattice.mpp)
        # Column k of the turned tile is cell order[k] of the tile as it lies on the slide.
        cells = np.arange(original.height * original.width).reshape(original.height, original.width)
        order = self.symmetry.apply(cells).ravel()
        if not mask.all():
            valid = mask.reshape(original.height, finest, original.width, finest).mean(axis=(1, 3))
            area = sparse.csr_array(area @ sparse.diags_array(valid.ravel()))
        return sparse.csr_array(area[:, order])


def jitter_stain(rgb: NDArray[np.uint8], factors: tuple[float, ...]) -> NDArray[np.uint8]:
    """Multiply the amounts of haematoxylin, eosin and residual in an image, by Beer and Lambert's law.

    Parameters
    ----------
    rgb
        (h, w, 3) uint8.
    factors
        Factors on the three amounts.
    """
    density = -np.log((np.arange(256, dtype=np.float32) + 1.0) / 256.0)[rgb]
    change = (np.linalg.inv(_STAINS) @ np.diag(factors) @ _STAINS).astype(np.float32)
    values = np.rint(np.exp(-(density @ change)) * 256.0 - 1.0)
    return np.asarray(np.clip(values, 0, 255), np.uint8)
