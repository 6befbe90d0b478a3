"""The expression field of a slide, as a user holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pixnet.field.head import LinearHead
from pixnet.field.read.maps import checked_grid, genes_readout, lazy_map, score_readout
from pixnet.field.read.query import Part, query, query_parts
from pixnet.field.store import Attributes, FieldStore, open_store
from pixnet.grid import Box, Grid

if TYPE_CHECKING:
    import anndata
    import xarray
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
    def gene_names(self) -> tuple[str, ...]:
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

    @property
    def levels(self) -> int:
        """Number of levels of the pyramid; level 0 is the finest."""
        return len(self._store.levels)

    def level_grid(self, level: int) -> Grid:
        """Give the grid of a level's cells, in um; each is four cells of the level before.

        Raises
        ------
        FieldError
            If there is no such level.
        """
        return checked_grid(self._store, level)

    def __repr__(self) -> str:
        height, width = self.grid.shape
        size = f"{width} x {height} cells of {self.grid.pitch_um:g} um"
        genes = f"{len(self.gene_names)} genes ({self.head.kind})"
        return f"<ExpressionField of {self.attributes.slide.name!r}: {size}, {genes}>"

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
            per 10,000 of the region's total. `obs`: `x_um`, `y_um`, `area_um2` (geometric), `valid_area_um2`, and of
            the rest of the area `background_share` and `no_data_share` (0 to 1); for squares `row` and `col`, for
            polygons that have one their `class`. `obsm["spatial"]`: centres in full-resolution pixels.
            `uns["pixnet"]`: units, normalisation, slide, model. Where a region has no valid area, `X` is 0 (`rate`,
            `sum`) or NaN (`mean`), and the layer NaN.

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

    def query_parts(self, regions: Regions, genes: Sequence[str] | None = None) -> Iterator[Part]:
        """Read the expression of regions, some at a time, for tables that do not fit in memory.

        Parameters
        ----------
        regions, genes
            As for `query`.

        Yields
        ------
        Part
            Successive regions: `rows` (a slice), `values` and `log1p` (r, g) float32, `obs` with r rows; together the
            table that `query` gives.

        Raises
        ------
        FieldError
            As `query`.
        """
        return query_parts(self._store, regions, genes)

    def write_table(
        self,
        out: str | Path,
        regions: Regions,
        genes: Sequence[str] | None = None,
        *,
        names: Sequence[str] | None = None,
        overwrite: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Write the expression of regions as a table, some rows at a time: memory does not grow with it.

        Parameters
        ----------
        out
            File `.h5ad` or folder `.zarr`, in AnnData's layout, chunked and compressed. It is written beside its
            place and moved there when it is complete.
        regions, genes
            As for `query`; what is written is what that gives.
        names
            Names of the regions, each once; by default those they have, or their numbers.
        overwrite
            Whether to replace a table that is there.
        progress
            Told how many regions are done, and how many there are.

        Raises
        ------
        FieldError
            As `query`; if `out` ends in neither, if something is there that is not to be replaced, or if it cannot be
            written, such as on a full disk.
        """
        from pixnet.field.read.table import write_table

        options: dict[str, Any] = {"names": names, "overwrite": overwrite, "progress": progress}
        write_table(self._store, regions, Path(out), genes, **options)

    def gene(self, name: str, level: int = 0, log: bool = False) -> xarray.DataArray:
        """Give the map of one gene, read when it is computed.

        Parameters
        ----------
        name
            Name of the gene.
        level
            Level of the pyramid: 0 has the field's pitch, each further one twice the pitch of the one before.
        log
            For a `rate` head, whether to give log1p of counts per 10,000 of each cell's total in place of counts per
            um^2. The other heads' maps are log-normalised either way.

        Returns
        -------
        DataArray
            (y, x) float32 on dask, NaN where there is no data or background. The coordinates are the cells' centres in
            um from the slide's top-left corner; `attrs` holds `units`, `pitch_um`, `level` and `slide`.

        Raises
        ------
        FieldError
            If the gene or the level is not in the field; when it is computed, if the store turns out to be damaged.
        """
        found = self.genes([name], level, log)[0].drop_vars("gene")
        return found.rename(name)

    def genes(self, names: Sequence[str], level: int = 0, log: bool = False) -> xarray.DataArray:
        """Give the maps of several genes, read when they are computed.

        Parameters
        ----------
        names
            Names of the genes, each once.
        level, log
            As in `gene`.

        Returns
        -------
        DataArray
            (gene, y, x) float32 on dask, as that of `gene`. A task reads a block of the store for up to 32 genes.

        Raises
        ------
        FieldError
            As `gene`, or if no gene is named.
        """
        return lazy_map(self._store, genes_readout(self._store, names, log), level, "expression")

    def score(self, weights: Mapping[str, float], level: int = 0, log: bool = False) -> xarray.DataArray:
        """Give the map of a weighted sum of genes, such as a signature, read when it is computed.

        The head is linear, so the weights are applied to its loadings, `W @ weights`, and the map costs what that of
        one gene does. With `log` and a `rate` head it is the weighted sum of the genes' logarithms, which needs each
        gene's value in a cell; but still no more reading, and memory for one map.

        Parameters
        ----------
        weights
            Weight of each gene, of any sign.
        level, log
            As in `gene`.

        Returns
        -------
        DataArray
            (y, x) float32 on dask, as that of `gene`; its name is `"score"`.

        Raises
        ------
        FieldError
            As `genes`, or if a weight is not finite.
        """
        found = lazy_map(self._store, score_readout(self._store, weights, log), level, "score")
        return found[0].drop_vars("gene")

    def export(
        self,
        out: str | Path,
        to: str,
        genes: Sequence[str],
        *,
        log: bool = False,
        level: int | None = None,
        regions: Regions | None = None,
        grid_um: float | None = None,
        overwrite: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Write maps or regions of some genes for other programs, block by block; docs/reading-a-field.md tells more.

        Parameters
        ----------
        out
            File or folder to write; its name ends as the format demands.
        to
            `"ome-zarr"`, `"ome-tiff"` or `"spatialdata"`: images of the maps, NaN where there is no data or background.
            `"geojson"` or `"csv"`: regions with their values.
        genes
            Names of the genes.
        log
            For a `rate` head, log1p of counts per 10,000 in place of counts, as in `gene` and `query`.
        level
            For images, the finest level of the pyramid that is written; 0 by default.
        regions
            For `"geojson"`, `"csv"` and as a table beside the image of `"spatialdata"`: the regions.
        grid_um
            In their place: squares this wide that cover the slide. By default 100 um for `"geojson"` and `"csv"`; those
            without data are left out.
        overwrite
            Whether what is at `out` is replaced; never a field, nor a folder that is no Zarr store.
        progress
            Called with the work done and the work in all.

        Raises
        ------
        FieldError
            If the format is not known or not installed, does not fit the other arguments or the name, would be too
            large, or if `out` exists or cannot be written, or if the gene or level is not in the field.
        """
        from pixnet.field.export import export

        export(
            self,
            out,
            to,
            genes,
            log=log,
            level=level,
            regions=regions,
            grid_um=grid_um,
            overwrite=overwrite,
            progress=progress,
        )
