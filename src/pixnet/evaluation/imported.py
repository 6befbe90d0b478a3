"""Predictions that another tool made, read from a table to be scored like any method's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import DataError, first_line
from pixnet.sample.genes import without_version

if TYPE_CHECKING:
    import anndata

    from pixnet.evaluation.held_out import HeldOut

_NO_ID = ("", "nan", "None")  # what stands where a gene has no Ensembl id


class Imported:
    """A table of predictions, an `.h5ad` file.

    Rows are regions: `obs["sample"]` is the sample's id, the row's name that of the region in the sample (or
    `SAMPLE:REGION`, which needs no column). Columns are genes by name, or by Ensembl id in `var["gene_ids"]`. `X` holds
    log-normalised expression, log(1 + counts per 10,000 over all genes). More regions and genes than needed do no harm.

    Raises
    ------
    DataError
        If the file cannot be read or has no values.
    """

    def __init__(self, name: str, path: str | Path) -> None:
        from pixnet.readers.anndata.source import read_whole_h5ad

        self.name, self.path = name, Path(path)
        self._title = f"{path} (imported as {name})"
        try:
            self.table: anndata.AnnData = read_whole_h5ad(self.path)
            content = self.path.read_bytes()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self._title}: cannot be read as .h5ad ({first_line(error)}); give a table of predictions."
            ) from error
        if self.table.X is None:
            raise DataError(f"{self._title}: has no X; put the predicted log-normalised values there.")
        self.facts: dict[str, Any] = {"file": self.path.name, "sha256": hashlib.sha256(content).hexdigest()}
        self._rows = self._named_rows()

    @classmethod
    def parse(cls, text: str) -> Imported:
        """Read the table that a text of the form NAME=FILE names."""
        name, sign, path = text.partition("=")
        if not (name.strip() and sign and path.strip()):
            raise DataError(f"`imports` {text!r}: give NAME=FILE.h5ad.")
        return cls(name.strip(), path.strip())

    def values_for(self, held: HeldOut) -> NDArray[np.float32]:
        """Return the predictions for held-out regions, (n, g); NaN where a region of too few counts is missing.

        Raises
        ------
        DataError
            If a gene, a sample or a region that is scored is missing, or its value is not finite.
        """
        columns = self._columns(held)
        names = [(sample.id, str(region)) for sample in held.samples for region in sample.counts.region_names()]
        rows = np.array([self._rows.get(name, -1) for name in names])
        self._check_regions(held, names, rows)
        values = np.full((len(names), len(columns)), np.nan, np.float32)
        found = self.table[rows[rows >= 0]].X[:, columns]
        values[rows >= 0] = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
        broken = held.enough & ~np.isfinite(values).all(axis=1)
        if broken.any():
            sample, region = names[int(np.argmax(broken))]
            raise DataError(
                f"{self._title}: {broken.sum()} regions have values that are not finite, such as {region!r} of sample "
                f"{sample!r}; give a number for every gene."
            )
        return values

    def _named_rows(self) -> dict[tuple[str, str], int]:
        labels: Sequence[Any]
        if "sample" in self.table.obs:
            pairs = zip(self.table.obs["sample"].astype(str), self.table.obs_names, strict=True)
            labels = [(sample, str(name).removeprefix(f"{sample}:")) for sample, name in pairs]
        else:
            labels = [tuple(str(name).split(":", 1)) for name in self.table.obs_names]
            if any(len(label) != 2 for label in labels):
                raise DataError(
                    f"{self._title}: does not say of which sample each region is; add a column 'sample' to obs, or "
                    "name the rows SAMPLE:REGION."
                )
        rows = {label: row for row, label in enumerate(labels)}
        if len(rows) < len(labels):
            raise DataError(f"{self._title}: names {len(labels) - len(rows)} regions twice.")
        return rows

    def _columns(self, held: HeldOut) -> list[int]:
        place = {str(name): column for column, name in enumerate(self.table.var_names)}
        if "gene_ids" in self.table.var:
            ids = self.table.var["gene_ids"].astype(str)
            place |= {without_version(gene): column for column, gene in enumerate(ids) if gene not in _NO_ID}
        known = held.samples[0].counts
        id_of = {} if known.gene_ids is None else dict(zip(known.genes, known.gene_ids, strict=True))
        columns = [place.get(name, place.get(str(id_of.get(name)), -1)) for name in held.panel.names]
        missing = [name for name, column in zip(held.panel.names, columns, strict=True) if column < 0]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise DataError(
                f"{self._title}: lacks {len(missing)} of {len(columns)} genes: {', '.join(missing[:3])}{more}. Predict "
                "the genes that the protocol lists for the fold."
            )
        return columns

    def _check_regions(self, held: HeldOut, names: list[tuple[str, str]], rows: NDArray[Any]) -> None:
        present = {sample for sample, _ in self._rows}
        absent = [sample.id for sample in held.samples if sample.id not in present]
        if absent:
            raise DataError(
                f"{self._title}: has no region of sample {absent[0]!r}; it has {', '.join(sorted(present))}."
            )
        missing = np.flatnonzero((rows < 0) & held.enough)
        if len(missing):
            regions = ", ".join(f"{names[row][1]!r} of {names[row][0]!r}" for row in missing[:3])
            raise DataError(
                f"{self._title}: lacks {len(missing)} regions that are scored, such as {regions}. Name them as the "
                "samples do."
            )
