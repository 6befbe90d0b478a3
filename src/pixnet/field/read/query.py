"""The expression of regions as a table with its metadata."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import FieldError, PixNetWarning
from pixnet.field.head import LinearHead
from pixnet.field.read.integral import Integrals, expression, integrate
from pixnet.field.store import FieldStore
from pixnet.regions import LabelMask, Polygons, Regions, Squares
from pixnet.safe.names import as_text

if TYPE_CHECKING:
    import anndata
    import pandas as pd

_REGIONS = 1 << 19  # regions integrated at once: 140 MB for 32 channels

X_UNITS = {
    "rate": "expected counts",
    "mean": "log-normalised expression",
    "sum": "log-normalised expression, summed over um^2",
}
_NORMALISATION = {
    "rate": "none in X; layers['log1p'] = log1p(1e4 * counts / total over all outputs); layers['log1p_expected'], if "
    "there is one, its expectation over Poisson counts",
    "mean": "log1p of counts per 10,000, as trained",
    "sum": "log1p of counts per 10,000, as trained, summed over um^2",
}


def gene_columns(head: LinearHead, genes: Sequence[str]) -> NDArray[np.int64]:
    """Return the indices (g,) of the outputs with the names `genes`; all must exist, and none may occur twice."""
    indices = {name: index for index, name in enumerate(head.genes)}
    for name in genes:
        if name not in indices:
            # Names often differ in case only: human ERBB2, mouse Erbb2.
            by_upper = {gene.upper(): gene for gene in head.panel}
            near = difflib.get_close_matches(str(name).upper(), by_upper, n=3, cutoff=0.6)
            nearest = ", ".join(by_upper[key] for key in near)
            number = len(head.panel)
            hint = (
                f"the nearest of its {number} are {nearest}"
                if near
                else f"none of its {number} genes has a similar name"
            )
            raise FieldError(f"the field has no gene {name!r}; {hint}.")
    if len(set(genes)) != len(genes):
        repeated = next(name for name in genes if list(genes).count(name) > 1)
        raise FieldError(f"the gene {repeated!r} is named twice; name each gene once.")
    return np.array([indices[name] for name in genes], np.int64)


def gene_names(store: FieldStore, genes: Sequence[str] | None) -> list[str]:
    """Return the names of the genes to read; None stands for the whole panel."""
    return list(store.head.panel if genes is None else [genes] if isinstance(genes, str) else genes)


class Part(NamedTuple):
    """The expression of r successive regions, as in the table of `ExpressionField.query`."""

    rows: slice  # of the complete table
    values: NDArray[np.float32]  # X, shape (r, g)
    layers: dict[str, NDArray[np.float32]]  # layers of a `rate` head by name, shape (r, g); none for other heads
    obs: pd.DataFrame  # position and areas of each region


def query_parts(
    store: FieldStore, regions: Regions, genes: Sequence[str] | None, expected_log: bool = False
) -> Iterator[Part]:
    """Read the expression of regions, some at a time; see `ExpressionField.query_parts`."""
    columns = gene_columns(store.head, gene_names(store, genes))
    for rows, obs, integrals in _integrated(store, regions):
        for part, values, layers in expression(store.head, integrals, columns, expected_log):
            yield Part(slice(rows.start + part.start, rows.start + part.stop), values, layers, obs.iloc[part])


def query(
    store: FieldStore, regions: Regions, genes: Sequence[str] | None, expected_log: bool = False
) -> anndata.AnnData:
    """Read the expression of regions; see `ExpressionField.query`."""
    import anndata
    import pandas as pd

    names = gene_names(store, genes)
    columns = gene_columns(store.head, names)
    values = np.empty((len(regions), len(names)), np.float32)
    layers: dict[str, NDArray[np.float32]] = {}
    frames = []
    for rows, obs, integrals in _integrated(store, regions):
        frames.append(obs)
        for part, part_values, of_part in expression(store.head, integrals, columns, expected_log):
            values[rows][part] = part_values
            for name, layer in of_part.items():
                layers.setdefault(name, np.empty_like(values))[rows][part] = layer
    obs = pd.concat(frames)
    table = anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=pd.Index(names, dtype=object)))
    table.obsm["spatial"] = obs[["x_um", "y_um"]].to_numpy() / store.attributes.slide.mpp
    table.layers.update(layers)
    table.uns["pixnet"] = facts(store)
    return table


def _integrated(store: FieldStore, regions: Regions) -> Iterator[tuple[slice, pd.DataFrame, Integrals]]:
    """Yield rows, their `obs` and their integrals, for a limited number of regions at a time.

    The 2-um squares of a slide are tens of millions.
    """
    import pandas as pd

    check_on_slide(store, regions)
    names = region_names(regions)
    classes = (
        pd.Categorical([as_text(kind) if kind else kind for kind in regions.classes])
        if isinstance(regions, Polygons) and any(regions.classes)
        else None
    )
    empty = 0
    for rows, group in _groups(regions):
        integrals = integrate(store, group)
        centers, areas = group.centers_um, group.areas_um2
        obs = pd.DataFrame(
            {
                "x_um": centers[:, 0],
                "y_um": centers[:, 1],
                "area_um2": areas,
                "valid_area_um2": integrals.area,
                "background_share": np.clip(integrals.background / areas, 0, 1),
                "no_data_share": np.clip(1 - (integrals.area + integrals.background) / areas, 0, 1),
            },
            index=names[rows] if names else [str(number) for number in range(rows.start, rows.stop)],
        )
        if isinstance(group, Squares):
            obs["row"], obs["col"] = group.rows, group.cols
        if classes is not None:
            obs["class"] = classes[rows]
        empty += int((integrals.area <= 0).sum())
        yield rows, obs, integrals
    if empty:
        value = "NaN" if store.head.kind == "mean" else "0"
        warnings.warn(
            f"{empty} of {len(regions)} regions lie outside the slide {store.attributes.slide.name!r}, where it has no "
            f"data or on its background; their values are {value} and their valid_area_um2 is 0.",
            PixNetWarning,
            stacklevel=4,
        )


def _groups(regions: Regions) -> Iterator[tuple[slice, Regions]]:
    """Yield successive groups of a limited number of regions; one empty group if there are no regions."""
    for start in range(0, max(len(regions), 1), _REGIONS):
        rows = slice(start, min(start + _REGIONS, len(regions)))
        yield rows, regions.take(np.arange(rows.start, rows.stop))


def check_on_slide(store: FieldStore, regions: Regions) -> None:
    """Check that at least one of the regions touches the slide; otherwise their unit or the slide is wrong."""
    lattice = store.attributes.lattice
    spans = []
    for _, part in _groups(regions):
        bounds = part.bounds_um
        if not len(bounds):
            return
        left, top, right, bottom = bounds.T
        if ((left < lattice.width_um) & (right > 0) & (top < lattice.height_um) & (bottom > 0)).any():
            return
        spans.append([*bounds[:, :2].min(axis=0), *bounds[:, 2:].max(axis=0)])
    left, top = np.min(spans, axis=0)[:2]
    right, bottom = np.max(spans, axis=0)[2:]
    raise FieldError(
        f"none of the {len(regions)} regions touches the slide {store.attributes.slide.name!r} of "
        f"{lattice.width_um:.0f} x {lattice.height_um:.0f} um: they are at x = {left:.0f} to "
        f"{right:.0f} um, y = {top:.0f} to {bottom:.0f} um. Check that they are of this slide, that they are counted "
        "from its top-left corner, and that they are in the unit (um or pixels) that they were taken for."
    )


def region_names(regions: Regions) -> list[str]:
    """Return a unique name of each region, or no names if regions of this kind have none.

    Where several regions share a name, a number is appended to all but the first.
    """
    if isinstance(regions, Polygons):
        names = [as_text(name) for name in regions.names]
    elif isinstance(regions, LabelMask):
        names = [str(label) for label in regions.ids]
    else:
        return []
    taken, unique_names = set(names), []
    next_number: dict[str, int] = {}
    for name in names:
        number = next_number.get(name, 0)
        unique = name
        while number and unique in taken:
            unique, number = f"{name}-{number}", number + 1
        next_number[name] = max(number, 1)
        taken.add(unique)
        unique_names.append(unique)
    return unique_names


def facts(store: FieldStore) -> dict[str, Any]:
    """Return the facts that a table needs to be understood later, as values that an h5ad file can hold."""
    attributes = store.attributes
    card: dict[str, Any] = {}
    for key, value in attributes.card.items():
        if isinstance(value, str | int | float):
            card[key] = value
        elif key != "genes" and isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            card[key] = np.array(value, dtype=object)
    return {
        "units": X_UNITS[attributes.head],
        "normalisation": _NORMALISATION[attributes.head],
        "head": attributes.head,
        "field": as_text(store.path),
        "field_units": attributes.units,
        "pitch_um": attributes.pitch_um,
        "slide": attributes.slide.name,
        "slide_fingerprint": attributes.slide.fingerprint,
        "mpp": attributes.slide.mpp,
        "mpp_source": attributes.slide.mpp_source,
        "pixnet_version": attributes.pixnet_version,
        "model": card,
    }
