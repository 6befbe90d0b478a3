"""The expression field of a slide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from pixnet.field.head import LinearHead
from pixnet.field.read.maps import genes_readout, lazy_map, score_readout
from pixnet.field.read.query import Part, query, query_parts
from pixnet.field.store import Attributes, FieldStore, open_store
from pixnet.grid import Box, Grid

if TYPE_CHECKING:
    import anndata
    import xarray
    import zarr

    from pixnet.regions import Regions


class ExportOptions(TypedDict, total=False):
    """Options of `ExpressionField.export`."""

    log: bool
    """For a `rate` head, whether to write log1p of counts per 10,000 instead of counts, as in `gene` and `query`."""

    level: int | None
    """For images, the finest level of the pyramid that is written; 0 by default."""

    regions: Regions | None
    """Regions for `"geojson"` and `"csv"`, and for a table beside the image of `"spatialdata"`."""

    grid_um: float | None
    """Side in um of squares that cover the slide, in place of `regions`; by default 100 um for `"geojson"` and `"csv"`.
    Squares without data are left out."""

    progress: Callable[[int, int], None] | None
    """Called with the work done and the total work."""


class ExpressionField:
    """A dense map of latent channels in um, with the linear head that turns it into genes.

    Made by `build_field` or `ExpressionField.open`. The map stays on disk, and reading it needs no model.

    Attributes
    ----------
    path, grid, head
        Folder of the field, the grid of its pixels in um from the slide's top-left corner, and the linear head.
    attributes
        Slide, model card, versions and other facts about the field.
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
            If the folder is missing, unfinished or altered, or if this pixnet does not read its version.
        """
        return cls(open_store(Path(path)))

    @property
    def gene_names(self) -> tuple[str, ...]:
        """Names of the genes, without `"other"`, the sum of all other genes of a `rate` head."""
        return self.head.panel

    @property
    def units(self) -> str:
        """Units of a gene's map."""
        return self.head.units

    @property
    def W(self) -> NDArray[np.float32]:  # noqa: N802
        """Loadings of the head, shape (C, M)."""
        return self.head.W

    @property
    def b(self) -> NDArray[np.float32]:
        """Baseline of the head, shape (M,)."""
        return self.head.b

    @property
    def card(self) -> dict[str, Any]:
        """Card of the model that made the field."""
        return self.attributes.card

    @property
    def latent(self) -> zarr.Array[Any]:
        """Stored latent values on disk, shape (C, H, W); `read` multiplies them by the scale of each channel."""
        return self._store.levels[0].latent

    @property
    def valid(self) -> zarr.Array[Any]:
        """Share of each pixel that holds data and is not background, on disk, shape (H, W), from 0 to 1."""
        return self._store.levels[0].valid

    @property
    def levels(self) -> int:
        """Number of levels of the pyramid; level 0 is the finest."""
        return len(self._store.levels)

    def valid_level(self, level: int) -> zarr.Array[Any]:
        """Return `valid` of a level of the pyramid, on disk; see `level_grid`."""
        self.level_grid(level)
        return self._store.levels[level].valid

    def level_grid(self, level: int) -> Grid:
        """Return the grid of a level's pixels, in um; each covers four pixels of the level before.

        Raises
        ------
        FieldError
            If the field has no such level.
        """
        return self._store.level_grid(level)

    def __repr__(self) -> str:
        height, width = self.grid.shape
        size = f"{width} x {height} pixels of {self.grid.pitch_um:g} um"
        genes = f"{len(self.gene_names)} genes ({self.head.kind})"
        return f"<ExpressionField of {self.attributes.slide.name!r}: {size}, {genes}>"

    def read(self, box: Box | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read the latent map D of a box of pixels.

        Parameters
        ----------
        box
            The pixels; by default the whole field, which must fit in memory.

        Returns
        -------
        latent
            Values of D, shape (C, h, w), float32; zero where there is no data.
        valid
            Share of each pixel that holds data and is not background, shape (h, w), float32.

        Raises
        ------
        FieldError
            If the bytes on disk are damaged.
        """
        stored, valid = self._store.read(Box(0, 0, *self.grid.shape) if box is None else box)
        return (stored * self._store.scale[:, None, None]).astype(np.float32), valid

    def query(
        self, regions: Regions, genes: Sequence[str] | None = None, expected_log: bool = False
    ) -> anndata.AnnData:
        """Compute the expression of regions.

        Each region gets `W (integral of D) + area * b` over its valid area, with exact areas of the covered pixels. So
        the parts of a partition add up to the whole (`rate`, `sum`) or average to it by valid area (`mean`).

        Parameters
        ----------
        regions
            n regions of any shape and size.
        genes
            Names of the genes; the whole panel by default. `"other"` of a `rate` head can be named too.
        expected_log
            Whether to compute the layer `log1p_expected` of a `rate` head. Compare this one with measured values: it is
            what `evaluate` scores.

        Returns
        -------
        AnnData
            Rows are the regions, columns the genes. `X` (float32): expected counts (`rate`), or log-normalised
            expression averaged (`mean`) or summed (`sum`) over the region. `layers["log1p"]` (`rate`): log1p of counts
            per 10,000 of the region's total; `layers["log1p_expected"]`: the mean of that over Poisson counts with the
            predicted means, which is smaller where counts are few. `obs`: `x_um`, `y_um`, `area_um2` (geometric),
            `valid_area_um2`, and of the rest of the area `background_share` and `no_data_share` (0 to 1); for squares
            also `row` and `col`, for polygons with classes also `class`. `obsm["spatial"]`: centres in full-resolution
            pixels. `uns["pixnet"]`: units, normalisation, slide, model. Where a region has no valid area, `X` is 0
            (`rate`, `sum`) or NaN (`mean`), and the layers are NaN.

        Raises
        ------
        FieldError
            If a gene is not in the field, or if no region touches the slide.

        Warns
        -----
        PixNetWarning
            If some regions have no valid area.
        """
        return query(self._store, regions, genes, expected_log)

    def query_parts(
        self, regions: Regions, genes: Sequence[str] | None = None, expected_log: bool = False
    ) -> Iterator[Part]:
        """Compute the expression of regions some at a time, for tables that do not fit in memory.

        The arguments and errors are those of `query`.

        Yields
        ------
        Part
            Successive regions: `rows` (a slice), `values` and `layers` (r, g) float32, and `obs` with r rows. Together
            they are the table that `query` returns.
        """
        return query_parts(self._store, regions, genes, expected_log)

    def write_table(
        self,
        out: str | Path,
        regions: Regions,
        genes: Sequence[str] | None = None,
        *,
        names: Sequence[str] | None = None,
        expected_log: bool = False,
        overwrite: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Write the table that `query` returns, some rows at a time, so that it need not fit in memory.

        Parameters
        ----------
        out
            File `.h5ad` or folder `.zarr` in AnnData's layout, chunked and compressed. It appears when it is complete.
        regions, genes
            As for `query`.
        names
            Names of the regions, each once; by default those of the regions, or their numbers.
        expected_log
            As for `query`.
        overwrite
            Whether a table that exists at `out` is replaced.
        progress
            Called with the number of regions written and the number of all regions.

        Raises
        ------
        FieldError
            As `query`; also if `out` has another ending, if something is at `out` that is not to be replaced, or if the
            table cannot be written, such as on a full disk.
        """
        from pixnet.field.read.table import write_table

        write_table(
            self._store,
            regions,
            Path(out),
            genes,
            names=names,
            expected_log=expected_log,
            overwrite=overwrite,
            progress=progress,
        )

    def gene(self, name: str, level: int = 0, log: bool = False) -> xarray.DataArray:
        """Return the map of one gene, read when it is computed.

        Parameters
        ----------
        name
            Name of the gene.
        level
            Level of the pyramid: 0 has the field's pitch, and each further level twice the pitch of the one before.
        log
            For a `rate` head, whether to return log1p of counts per 10,000 of each pixel's total instead of counts per
            um^2. Maps of the other heads are always log-normalised.

        Returns
        -------
        DataArray
            Map (y, x), float32, on dask; NaN where there is no data or background. The coordinates are the pixels'
            centres in um from the slide's top-left corner; `attrs` holds `units`, `pitch_um`, `level` and `slide`.

        Raises
        ------
        FieldError
            If the gene or the level is not in the field, or, when it is computed, if the bytes on disk are damaged.
        """
        return self.genes([name], level, log)[0].drop_vars("gene").rename(name)

    def genes(self, names: Sequence[str], level: int = 0, log: bool = False) -> xarray.DataArray:
        """Return the maps (gene, y, x) of several genes, each named once.

        The arguments, the maps and the errors are otherwise those of `gene`; at least one name is needed. A dask task
        reads a block of the field for up to 32 genes.
        """
        return lazy_map(self._store, genes_readout(self._store, names, log), level, "expression")

    def score(self, weights: Mapping[str, float], level: int = 0, log: bool = False) -> xarray.DataArray:
        """Return the map (y, x) of a weighted sum of genes, such as a signature; its name is `"score"`.

        The head is linear, so the weights are applied to its loadings, `W @ weights`, and the map costs as much as that
        of one gene. With `log` and a `rate` head it is the weighted sum of the genes' logarithms, which needs the value
        of each gene in a pixel. Even then each pixel is read once, and memory is needed for one map only.

        Parameters
        ----------
        weights
            Finite weight of each gene, of any sign.
        level, log
            As in `gene`, whose errors and map this shares.
        """
        return lazy_map(self._store, score_readout(self._store, weights, log), level, "score")[0].drop_vars("gene")

    def export(
        self,
        out: str | Path,
        to: str,
        genes: Sequence[str],
        *,
        overwrite: bool = False,
        **options: Unpack[ExportOptions],
    ) -> None:
        """Write maps or regions of some genes for other programs, block by block; see docs/how-to/export.md.

        Parameters
        ----------
        out
            File or folder to write, with the ending of the format.
        to
            `"ome-zarr"`, `"ome-tiff"` or `"spatialdata"`: images of the maps, NaN where there is no data or background.
            `"geojson"` or `"csv"`: regions with their values.
        genes
            Names of the genes.
        overwrite
            Whether an export that exists at `out` is replaced. A field is never replaced, nor a folder that is not a
            Zarr store.
        options
            `log`, `level`, `regions`, `grid_um` and `progress`, as in `pixnet.field.ExportOptions`.

        Raises
        ------
        FieldError
            If the format is not known or not installed, or does not fit the other arguments or the name; if the export
            would be too large; if `out` exists or cannot be written; or if a gene or the level is not in the field.
        """
        from pixnet.field.export import Request, export

        names = (genes,) if isinstance(genes, str) else tuple(genes)
        request = Request(self._store, names, **options)
        export(request, Path(out), to, overwrite=overwrite)
