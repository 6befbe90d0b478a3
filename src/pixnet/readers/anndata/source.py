"""An AnnData in memory or in a file, read part by part, and never more than the file can hold.

Images, embeddings and graphs of a file are never read. A dense matrix becomes sparse block by block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import anndata
import h5py
import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray
from scipy import sparse

from pixnet.errors import DataError, first_line
from pixnet.readers.common import damage
from pixnet.readers.formats.hdf5 import check_sizes, open_hdf5
from pixnet.readers.formats.kinds import is_packed, kind_of_file
from pixnet.safe.budget import Budget
from pixnet.safe.zarr_store import check_zarr

_BLOCK = 1 << 28  # bytes of a dense matrix that are held at once


class TableSource(Protocol):
    """What the readers need from an AnnData. The key of a matrix is "X", "raw", or the name of its layer."""

    name: str

    def layers(self) -> list[str]:
        """Return the names of the layers."""

    def has(self, key: str) -> bool:
        """Return whether there is such a matrix."""

    def matrix(self, key: str) -> sparse.csr_matrix:
        """Return a matrix as CSR, shape (n, g), in its stored data type."""

    def genes(self, key: str) -> pd.DataFrame:
        """Return the table of the genes of a matrix, one row each."""

    def obs(self) -> pd.DataFrame:
        """Return the table of the regions, one row each."""

    def coordinates(self, key: str) -> NDArray[Any] | None:
        """Return an entry of `obsm`, shape (n, d); None if there is none."""

    def libraries(self) -> dict[str, dict[str, Any]]:
        """Return the scale factors of each library in `uns["spatial"]`, nothing for one that has none."""


@contextmanager
def open_table(table: str | Path | anndata.AnnData, name: str | None = None) -> Iterator[TableSource]:
    """Open an h5ad file, a zarr folder or an AnnData, called `name` in messages (by default its path).

    Raises `DataError` if there is no such file, or it is damaged or not an AnnData; also while it is open.
    """
    if isinstance(table, anndata.AnnData):
        yield _InMemory(table, name or "the AnnData")
        return
    path = Path(table)
    name = name or str(path)
    if path.is_file() and not _is_hdf5(path):
        kind = kind_of_file(path)
        remedy = "Unpack it first." if kind and is_packed(kind) else "Give an h5ad file or the zarr folder of a table."
        raise DataError(f"{name}: cannot be read: it is {kind or 'not an HDF5 file, or was cut off'}. {remedy}")
    try:
        root = open_zarr(path) if path.is_dir() else open_hdf5(path)
    except DataError:
        raise
    except Exception as error:  # a damaged file makes h5py and zarr raise nearly anything
        reason = first_line(error) if path.exists() else "no such file"
        raise DataError(
            f"{name}: cannot be read ({reason}). Give an h5ad file or the zarr folder of a table."
        ) from error
    try:
        stored = _Stored(root, name)
        stored.check()
        yield stored
    finally:
        if isinstance(root, h5py.File):
            root.close()


def read_whole_h5ad(path: Path) -> anndata.AnnData:
    """Read a complete h5ad file, with the checks of `open_hdf5` and of its sizes; the errors are those of both."""
    with open_hdf5(path) as file:
        check_sizes(str(path), file, Budget(path))
    return anndata.read_h5ad(path)


def open_zarr(path: Path) -> zarr.Group:
    """Open a zarr folder, once its metadata and codecs are known to be safe."""
    check_zarr(path, DataError)
    return zarr.open_group(path, mode="r")


class _InMemory:
    """A table in the caller's memory; it is neither changed nor shared."""

    def __init__(self, table: anndata.AnnData, name: str) -> None:
        self.name = name
        self._table = table

    def layers(self) -> list[str]:
        return sorted(self._table.layers)

    def has(self, key: str) -> bool:
        return self._value(key) is not None

    def matrix(self, key: str) -> sparse.csr_matrix:
        value = self._value(key)
        for load in ("to_memory", "compute"):  # backed by a file; lazy
            if hasattr(value, load):
                value = getattr(value, load)()
        if sparse.issparse(value):
            matrix: Any = value
            try:
                matrix.check_format(full_check=True)  # read from a damaged store, it may point beyond its arrays
            except ValueError as error:
                raise DataError(
                    f"{self.name}: {key} is damaged ({first_line(error)}). Read or copy it again."
                ) from error
        else:
            value = np.asarray(value)
        return _numeric(self.name, key, value, copy=True)

    def _value(self, key: str) -> Any:
        if key == "raw" and self._table.raw is not None:
            return self._table.raw.X
        return self._table.X if key == "X" else self._table.layers.get(key)

    def genes(self, key: str) -> pd.DataFrame:
        is_raw = key == "raw" and self._table.raw is not None
        return pd.DataFrame(self._table.raw.var if is_raw else self._table.var)

    def obs(self) -> pd.DataFrame:
        return pd.DataFrame(self._table.obs)

    def coordinates(self, key: str) -> NDArray[Any] | None:
        return _dense(self._table.obsm[key]) if key in self._table.obsm else None

    def libraries(self) -> dict[str, dict[str, Any]]:
        libraries = self._table.uns.get("spatial")
        known = libraries.items() if isinstance(libraries, Mapping) else ()
        return {str(name): _factors(library) for name, library in known if isinstance(library, Mapping)}


class _Stored:
    """A table in an open HDF5 or zarr file."""

    def __init__(self, root: Any, name: str) -> None:
        self.name = name
        self._root = root
        self._budget = Budget(name)
        self._frames: dict[str, pd.DataFrame] = {}

    def check(self) -> None:
        """Check whether it is an AnnData."""
        with self._reading("its contents"):
            missing = [part for part in ("obs", "var") if part not in self._root]
            other = kind_of_store(self._root)
        if other:
            raise DataError(f"{self.name}: is {other}.")
        if missing:
            raise DataError(
                f"{self.name}: is not an AnnData: {missing[0]} not found. Give an h5ad file or a table's zarr folder."
            )

    def layers(self) -> list[str]:
        with self._reading("layers"):
            return sorted(self._root["layers"]) if "layers" in self._root else []

    def has(self, key: str) -> bool:
        with self._reading(key):
            place = self._place(key)
            return place in self._root and not _is_null(self._root[place])

    def matrix(self, key: str) -> sparse.csr_matrix:
        with self._reading(key):
            element = self._root[self._place(key)]
            check_sizes(self.name, element)
            if _is_array(element):
                return self._dense(key, element)
            encoding = str(element.attrs.get("encoding-type", element.attrs.get("h5sparse_format", "")))
            sparse_type = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}.get(encoding[:3])
            if sparse_type is None:
                raise DataError(
                    f"{self.name}: {key} is stored as {encoding!r}; a table of counts is an array, csr or csc."
                )
            stated = element.attrs["shape"] if "shape" in element.attrs else element.attrs["h5sparse_shape"]
            shape = len(self.obs()), len(self.genes(key))
            if tuple(int(side) for side in stated) != shape:
                raise DataError(
                    f"{self.name}: {key} is {' x '.join(map(str, stated))}, but obs and var have {shape[0]} and "
                    f"{shape[1]} rows. They do not belong together; write the table again with anndata."
                )
            data, indices, indptr = (_native(element[part][:]) for part in ("data", "indices", "indptr"))
            matrix = sparse_type((data, indices, indptr), shape=shape)
            # scipy's own routines trust the indices; one that is too large would have them write beyond an array.
            matrix.check_format(full_check=True)
            return _numeric(self.name, key, matrix)

    def genes(self, key: str) -> pd.DataFrame:
        return self._frame("raw/var" if self._place(key) == "raw/X" else "var")

    def obs(self) -> pd.DataFrame:
        return self._frame("obs")

    def coordinates(self, key: str) -> NDArray[Any] | None:
        with self._reading(f"obsm[{key!r}]"):
            place = f"obsm/{key}"
            return _dense(self._element(place)) if place in self._root else None

    def libraries(self) -> dict[str, dict[str, Any]]:
        with self._reading("uns['spatial']"):
            if "uns/spatial" not in self._root or _is_array(self._root["uns/spatial"]):
                return {}
            names = [name for name in self._root["uns/spatial"] if not _is_array(self._root[f"uns/spatial/{name}"])]
            places = {name: f"uns/spatial/{name}/scalefactors" for name in names}
            known = {name: self._element(place) if place in self._root else {} for name, place in places.items()}
            return {name: _factors({"scalefactors": factors}) for name, factors in known.items()}

    def _place(self, key: str) -> str:
        if key == "raw" and "raw/X" in self._root:
            return "raw/X"
        return "X" if key == "X" else f"layers/{key}"

    def _frame(self, place: str) -> pd.DataFrame:
        if place not in self._frames:
            with self._reading(place):
                frame = self._element(place)
            if not isinstance(frame, pd.DataFrame):
                raise DataError(f"{self.name}: {place} is not a table. Open the file with anndata and write it again.")
            self._frames[place] = frame
        return self._frames[place]

    def _element(self, place: str) -> Any:
        element = self._root[place]
        check_sizes(self.name, element, self._budget)
        return anndata.io.read_elem(element)

    def _dense(self, key: str, element: Any) -> sparse.csr_matrix:
        rows, columns = element.shape
        step = max(1, _BLOCK // max(1, columns * element.dtype.itemsize))
        blocks = [_numeric(self.name, key, np.asarray(element[row : row + step])) for row in range(0, rows, step)]
        return sparse.csr_matrix(sparse.vstack(blocks, format="csr") if blocks else (rows, columns))

    def _reading(self, part: str) -> AbstractContextManager[None]:
        return damage(
            f"{self.name}: {part} cannot be read",
            "Open it with anndata and write it again; if anndata cannot open it either, copy it again.",
        )


def _factors(library: Mapping[str, Any]) -> dict[str, Any]:
    factors = library.get("scalefactors")
    return dict(factors) if isinstance(factors, Mapping) else {}


def kind_of_store(root: Any) -> str | None:
    """Return what an HDF5 or zarr file holds that is no AnnData, and the remedy, in words; None if it is not known."""
    if "mod" in root:
        parts = ", ".join(map(repr, list(root["mod"])[:10]))
        return f"a MuData of {parts}: write the one with the counts as an AnnData, mdata[NAME].write_h5ad(...)"
    if "row_attrs" in root and "col_attrs" in root:
        return "a loom file: read it with anndata.io.read_loom, and write it with write_h5ad"
    if "matrix" in root and "barcodes" in root["matrix"]:
        return "a matrix of 10x Genomics: give the folder of the pipeline, with the positions beside it"
    if "tables" in root and ("images" in root or "shapes" in root or "labels" in root):
        return 'a SpatialData store: give `platform="spatialdata"`'
    return None


def _is_hdf5(path: Path) -> bool:
    try:
        return bool(h5py.is_hdf5(path))
    except OSError:
        return False


def _is_null(element: Any) -> bool:
    """Return whether an element stands for nothing, as anndata writes a missing X."""
    return bool(element.attrs.get("encoding-type") == "null" or getattr(element, "shape", ()) is None)


def _is_array(element: Any) -> bool:
    return isinstance(element, h5py.Dataset | zarr.Array)


def _dense(values: Any) -> NDArray[Any]:
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def _native(stored: Any) -> NDArray[Any]:
    """Return values in a type that scipy's sparse matrices take: not half precision, nor another byte order."""
    values: NDArray[Any] = np.asarray(stored)
    wanted = np.dtype(np.float32) if values.dtype in (np.float16, np.bool_) else values.dtype.newbyteorder("=")
    return values.astype(wanted, copy=False)


def _numeric(name: str, key: str, matrix: Any, copy: bool = False) -> sparse.csr_matrix:
    if isinstance(matrix, np.ndarray):
        matrix = _native(matrix)
    elif matrix.dtype == bool:
        matrix = matrix.astype(np.float32)
    if matrix.ndim != 2 or not (np.issubdtype(matrix.dtype, np.integer) or np.issubdtype(matrix.dtype, np.floating)):
        raise DataError(f"{name}: {key} holds {matrix.dtype} of shape {matrix.shape}, not counts of regions x genes.")
    return sparse.csr_matrix(matrix, copy=copy)
