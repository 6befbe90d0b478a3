"""The expression field of a slide, as a user holds it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pixnet.field.head import LinearHead
from pixnet.field.integral import PER_10K
from pixnet.field.query import gene_columns, query
from pixnet.field.store import Attributes, FieldStore, open_store
from pixnet.grid import Box, Grid

if TYPE_CHECKING:
    import anndata
    import zarr

    from pixnet.regions import Regions


class ExpressionField:
    """A dense map of latent channels in um, with the linear head that turns it into genes.

    Made by `build_field` or `ExpressionField.open`. The map stays on disk; no model is needed to read it.

    Attributes
    ----------
    path
        Folder of the store.
    grid
        Grid of the map's cells, in um from the slide's top-left corner.
    head
        The linear head.
    attributes
        What the store says of itself: slide, model card, versions.
    """

    def __init__(self, store: FieldStore) -> None:
        self._store = store
        self.path: Path = store.path
        self.grid: Grid = store.grid
        self.head: LinearHead = store.head
        self.attributes: Attributes = store.attributes

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a stored field.

        Raises
        ------
        FieldError
            If the folder is missing, unfinished, altered, or of a version that this pixnet does not read.
        """
        return cls(open_store(Path(path)))

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of the genes, without the pooled rest (`"other"`) of a `rate` head."""
        return self.head.panel

    @property
    def units(self) -> str:
        """Units of a gene's map."""
        return self.head.units

    @property
    def W(self) -> NDArray[np.float32]:  # noqa: N802
        """(C, M) loadings of the head."""
        return self.head.W

    @property
    def b(self) -> NDArray[np.float32]:
        """(M,) baseline of the head."""
        return self.head.b

    @property
    def card(self) -> dict[str, Any]:
        """Card of the model that made the field."""
        return self.attributes.card

    @property
    def latent(self) -> zarr.Array[Any]:
        """(C, H, W) array on disk, to be multiplied with the scale of each channel; `read` does so."""
        return self._store.levels[0].latent

    @property
    def valid(self) -> zarr.Array[Any]:
        """(H, W) array on disk: share of each cell that holds data and is no background, 0 to 1."""
        return self._store.levels[0].valid

    def __repr__(self) -> str:
        height, width = self.grid.shape
        size = f"{width} x {height} cells of {self.grid.pitch_um:g} um"
        return (
            f"<ExpressionField of {self.attributes.slide.name!r}: {size}, {len(self.genes)} genes ({self.head.kind})>"
        )

    def read(self, box: Box | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give the latent map D of some cells.

        Parameters
        ----------
        box
            The cells; all by default, which takes memory.

        Returns
        -------
        latent
            (C, h, w) float32, zero where there is no data.
        valid
            (h, w) float32, share of each cell that holds data.
        """
        stored, valid = self._store.read(Box(0, 0, *self.grid.shape) if box is None else box)
        return (stored * self._store.scale[:, None, None]).astype(np.float32), valid

    def query(self, regions: Regions, genes: Sequence[str] | None = None) -> anndata.AnnData:
        """Read the expression of regions off the field.

        Each region gets `W (integral of D) + area * b` over its valid area, with exact areas of the covered cells, so
        the parts of a partition add up to the whole (`rate`, `sum`) or average to it by valid area (`mean`).

        Parameters
        ----------
        regions
            n regions of any shape and size.
        genes
            Names of the genes wanted; all by default. `"other"` of a `rate` head may be asked for by name.

        Returns
        -------
        AnnData
            Rows are the regions, columns the genes. `X` (float32): expected counts (`rate`), or log-normalised
            expression averaged (`mean`) or summed (`sum`) over the region. `layers["log1p"]` (`rate`): log1p of counts
            per 10,000 of the region's total. `obs`: `x_um`, `y_um`, `area_um2` (geometric), `valid_area_um2`,
            `no_data_share` (0 to 1). `obsm["spatial"]`: centres in full-resolution pixels. `uns["pixnet"]`: units,
            normalisation, slide, model. Where a region has no valid area, `X` is 0 (`rate`, `sum`) or NaN (`mean`),
            and the layer NaN.

        Raises
        ------
        FieldError
            If a gene is not in the field, or if no region touches the slide.

        Warns
        -----
        PixNetWarning
            If some regions have no valid area.
        """
        return query(self._store, regions, genes)

    def gene(self, name: str, log: bool = False) -> NDArray[np.float32]:
        """Give the map of one gene at the field's pitch.

        Parameters
        ----------
        name
            Name of the gene.
        log
            For a `rate` head, whether to give log1p of counts per 10,000 of each cell's total in place of counts per
            um^2. The other heads' maps are log-normalised either way.

        Returns
        -------
        ndarray
            (H, W) float32 in `units`, NaN where there is no data.

        Raises
        ------
        FieldError
            If the gene is not in the field.
        """
        column = int(gene_columns(self.head, [name])[0])
        weight, baseline = self.head.W.astype(np.float64), self.head.b.astype(np.float64)
        # One product gives the gene and, for the share, the total.
        loadings = self._store.scale * np.stack([weight[:, column], weight.sum(axis=1)])
        offsets = np.array([[baseline[column]], [baseline.sum()]])
        result = np.full(self.grid.shape, np.nan, np.float32)
        for box in self._store.blocks():
            stored, valid = self._store.read(box)
            if not valid.any():
                continue
            value, total = loadings @ stored.reshape(len(stored), -1).astype(np.float64) + offsets
            if log and self.head.kind == "rate":
                share = np.divide(value, total, out=np.zeros_like(value), where=total > 0)
                value = np.log1p(PER_10K * share)
            window = slice(box.row, box.row + box.height), slice(box.col, box.col + box.width)
            result[window] = np.where(valid > 0, value.reshape(valid.shape), np.nan)
        return result
