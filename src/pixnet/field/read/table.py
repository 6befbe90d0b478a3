"""The expression of regions as a table on disk, written some rows at a time.

The layout is AnnData's (https://anndata.readthedocs.io/en/stable/fileformat-prose.html), as HDF5 (`.h5ad`) or Zarr 3
(`.zarr`), so anndata opens it in memory or backed. The table is never in memory as a whole.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pixnet.errors import FieldError
from pixnet.field.read.query import Part, check_on_slide, facts, gene_columns, gene_names, query_parts
from pixnet.field.store import FieldStore
from pixnet.files import check_place, writing_beside
from pixnet.regions import Regions

ENDINGS = (".h5ad", ".zarr")
_CHUNK_BYTES = 1 << 20
_CHUNK_GENES = 4096  # genes of a chunk, so that one gene is read without the whole table
_OBS_ROWS = 1 << 16  # rows of a chunk of `obs`
_GZIP = 1  # level 4 compresses little better and takes three times as long


def write_table(
    store: FieldStore,
    regions: Regions,
    out: Path,
    genes: Sequence[str] | None,
    *,
    names: Sequence[str] | None = None,
    expected_log: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the expression of regions as a table; see `ExpressionField.write_table`."""
    if out.suffix not in ENDINGS or out.name in ENDINGS:
        raise FieldError(f"{out}: tables are written in AnnData's formats; give a name that ends in .h5ad or .zarr.")
    if names is not None and (len(names) != len(regions) or len(set(names)) != len(names)):
        raise FieldError(
            f"`names` has {len(set(names))} different names for {len(regions)} regions; give one for each."
        )
    panel = gene_names(store, genes)
    # Everything that can be wrong is checked before anything is written.
    gene_columns(store.head, panel)
    check_on_slide(store, regions)
    check_place(out, FieldError, what="an AnnData table", replaceable=_is_table, overwrite=overwrite, source=store.path)
    report = progress or (lambda *_: None)
    with writing_beside(out, FieldError) as partial, _created(partial) as (root, check):
        table = _Table(root, len(regions), store.attributes.slide.mpp)
        table.put_fixed(panel, facts(store))
        report(0, len(regions))
        for part in query_parts(store, regions, panel, expected_log):
            table.add(part, None if names is None else names[part.rows])
            check()
            report(part.rows.stop, len(regions))


def _is_table(path: Path) -> bool:
    """Return whether a file or folder may be replaced by a table: not another Zarr store, such as an image."""
    if path.suffix != ".zarr":
        return not path.is_dir()
    if not path.is_dir():
        return False
    import zarr

    try:
        kind = zarr.open_group(path, mode="r").attrs.get("encoding-type")
    except (OSError, ValueError, KeyError, TypeError):
        kind = None
    return kind == "anndata" or not any(path.iterdir())


@contextmanager
def _created(path: Path) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Create an empty HDF5 file or Zarr group; yield it and a function that raises OSError if writing has failed."""
    if path.suffix == ".zarr":
        import zarr

        yield zarr.create_group(path, zarr_format=3), lambda: None
        return
    import h5py

    with _SteadyFile(path, "w+") as steady:
        try:
            with h5py.File(steady, "w") as file:
                yield file, steady.check
        finally:
            # If writing failed, that error came before any other.
            steady.check()


class _SteadyFile(io.FileIO):
    """A file for HDF5 that does not raise when it cannot be written, but remembers the error for `check`.

    HDF5 can crash the whole process if writing fails while it closes a file. So after the first error, this file keeps
    in memory what is written, and HDF5 can read it again from there. Call `check` often, so that this is little.
    """

    failure: OSError | None = None

    def check(self) -> None:
        """Raise the first OSError of writing, if there was one."""
        if self.failure is not None:
            raise self.failure

    def write(self, data: Any) -> int:
        position, remaining = self.tell(), memoryview(data)
        try:
            while self.failure is None and len(remaining):
                remaining = remaining[super().write(remaining) :]
        except OSError as error:
            self.failure, self._unwritten = error, []
        if self.failure is not None:
            self._unwritten.append((position, bytes(data)))
            self.seek(position + len(data))
        return len(data)

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a buffer, including those that could not be written to the disk."""
        position, count = self.tell(), super().readinto(buffer)
        if self.failure is None:
            return count
        view = memoryview(buffer)
        for start, data in self._unwritten:
            low, high = max(start, position), min(start + len(data), position + len(view))
            if low < high:
                view[low - position : high - position] = data[low - start : high - start]
        return len(view)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; the end is that of everything written, on the disk or in memory."""
        if self.failure is not None and whence == os.SEEK_END:
            end = max(start + len(data) for start, data in self._unwritten)
            return super().seek(max(end, super().seek(0, os.SEEK_END)) + position)
        return super().seek(position, whence)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size) if self.failure is None else 0
        except OSError as error:
            self.failure, self._unwritten = error, [(0, b"")]
            return 0


class _Table:
    """A table with `n_rows` rows that grows part by part in `root`, an empty group of h5py or zarr."""

    def __init__(self, root: Any, n_rows: int, mpp: float) -> None:
        self._root = root
        self._n_rows = n_rows
        self._mpp = mpp
        self._arrays: dict[str, Any] = {}
        self._waiting: list[pd.DataFrame] = []

    def put_fixed(self, genes: Sequence[str], metadata: dict[str, Any]) -> None:
        """Write everything that does not depend on the regions."""
        self._root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for name in ("layers", "obsm", "varm", "obsp", "varp"):
            self._element(name, {})
        self._element("var", pd.DataFrame(index=pd.Index(list(genes), dtype=object)))
        self._element("uns", {"pixnet": metadata})

    def add(self, part: Part, names: Sequence[str] | None) -> None:
        """Write the next rows, under the names in `obs` or others."""
        self._put("X", part.rows.start, part.values)
        for name, layer in part.layers.items():
            self._put(f"layers/{name}", part.rows.start, layer)
        # A part with thousands of genes has few rows, so `obs` is gathered into complete chunks.
        self._waiting.append(part.obs if names is None else part.obs.set_axis(list(names)))
        first = part.rows.stop - sum(map(len, self._waiting))
        if part.rows.stop - first >= _OBS_ROWS or part.rows.stop == self._n_rows:
            self._put_obs(first, pd.concat(self._waiting))
            self._waiting.clear()

    def _put_obs(self, first: int, obs: pd.DataFrame) -> None:
        if "obs" not in self._root:
            kind = {"encoding-type": "dataframe", "encoding-version": "0.2.0"}
            order = {"_index": "_index", "column-order": list(obs.columns)}
            self._root.create_group("obs").attrs.update(kind | order)
        self._put("obs/_index", first, obs.index.to_numpy(object))
        for name, column in obs.items():
            if isinstance(column.dtype, pd.CategoricalDtype):
                self._put_categorical(f"obs/{name}", first, column)
            else:
                self._put(f"obs/{name}", first, column.to_numpy())
        self._put("obsm/spatial", first, obs[["x_um", "y_um"]].to_numpy() / self._mpp)

    def _put_categorical(self, name: str, first: int, column: pd.Series[Any]) -> None:
        if name not in self._root:
            kind = {"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False}
            self._root.create_group(name).attrs.update(kind)
            self._element(f"{name}/categories", column.cat.categories.to_numpy(object))
        self._put(f"{name}/codes", first, column.cat.codes.to_numpy())

    def _put(self, name: str, first: int, values: NDArray[Any]) -> None:
        """Write rows of an array, which is created with its first rows."""
        if name not in self._arrays:
            self._arrays[name] = self._create(name, values)
        if len(values):
            self._arrays[name][first : first + len(values)] = values

    def _create(self, name: str, values: NDArray[Any]) -> Any:
        """Create an array with chunks of as many rows as are written at once, or a half, a quarter, ... of them."""
        shape = (self._n_rows, *values.shape[1:])
        texts = values.dtype == object
        columns = [min(side, _CHUNK_GENES) for side in values.shape[1:]]
        rows, row_bytes = len(values), values.itemsize * int(np.prod(columns))
        while rows > 1 and rows * row_bytes > _CHUNK_BYTES:
            rows = -(-rows // 2)
        chunks = (max(rows, 1), *(max(side, 1) for side in columns))
        options: dict[str, Any] = {"shape": shape, "chunks": chunks}
        if hasattr(self._root, "create_array"):  # a group of zarr
            array = self._root.create_array(name, dtype=str if texts else values.dtype, **options)
        else:
            import h5py

            options |= {"compression": "gzip", "compression_opts": _GZIP, "shuffle": not texts}
            if 0 in shape:
                options = {"shape": shape}
            array = self._root.create_dataset(name, dtype=h5py.string_dtype() if texts else values.dtype, **options)
        kind = "string-array" if texts else "array"
        array.attrs.update({"encoding-type": kind, "encoding-version": "0.2.0"})
        return array

    def _element(self, name: str, value: Any) -> None:
        from anndata.io import write_elem

        with warnings.catch_warnings():
            # Warnings about future defaults do not concern the user.
            warnings.simplefilter("ignore")
            write_elem(self._root, name, value)
