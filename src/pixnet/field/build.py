"""From a slide to its expression field, tile by tile."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pixnet
from pixnet.errors import FieldError, PixNetWarning
from pixnet.field.field import ExpressionField
from pixnet.field.head import LinearHead
from pixnet.field.scaling import LatentWriter
from pixnet.field.store import Attributes, LatticeFacts, SlideFacts, create_arrays, data_files, finish
from pixnet.grid import Box, Lattice, round_up
from pixnet.slide import Slide

Latent = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From a tile's core and halo, (H, W, 3) RGB, to the latent cells of its core, (C, h, w)."""


def build_field(
    slide: Slide,
    lattice: Lattice,
    finest: int,
    latent: Latent,
    head: LinearHead,
    out: Path,
    *,
    core: int = 2048,
    card: dict[str, Any],
    dtype: str = "float16",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ExpressionField:
    """Compute the latent field of a slide and keep it in a store.

    Memory is needed for one tile, whatever the size of the slide. The store appears at `out` once it is complete;
    until then it grows in a hidden folder beside it.

    Parameters
    ----------
    slide
        The slide.
    lattice
        Its lattice of pixels at the working resolution, with the network's stride and halo.
    finest
        Side of a field cell, in lattice pixels; divides the stride.
    latent
        The network without its head. Must give the same values however the tiles are cut.
    head
        The linear head, with as many channels as `latent` gives.
    out
        Folder to write.
    core
        Side of a tile in lattice pixels, rounded up to a multiple of the stride. Changes speed and memory only.
    card
        The model card; anything that JSON can hold.
    dtype
        `"float16"` (with a scale per channel) or `"float32"`.
    overwrite
        Whether a field that exists at `out` is replaced.
    progress
        Called after each tile with the number of tiles done and of all tiles.

    Returns
    -------
    ExpressionField
        The field, opened from its store.

    Raises
    ------
    FieldError
        If something is at `out` already, if the slide has no valid pixel, or if the latent values are not finite.
    ValueError
        If `finest`, `dtype`, the card or what `latent` gives does not fit the rest.

    Warns
    -----
    PixNetWarning
        If parts of the slide could not be read and are kept as no data.
    """
    out = Path(out)
    if finest <= 0 or lattice.stride % finest:
        raise ValueError(f"cells of {finest} pixels do not divide the stride of {lattice.stride}")
    if dtype not in ("float16", "float32"):
        raise ValueError(f"a field is stored in float16 or float32, not {dtype!r}")
    card = json.loads(json.dumps(card, allow_nan=False))  # fails now rather than after the last tile
    grid = lattice.grid(finest)
    failed_before = slide.no_data_reads
    with _replacing(out, overwrite) as path:
        latent_array, valid_array = create_arrays(path, grid.shape, head, np.dtype(dtype))
        writer = LatentWriter(latent_array)
        tiles = list(lattice.tiles(round_up(core, lattice.stride)))
        empty = True
        for done, box in enumerate(tiles, start=1):
            rgb, mask = slide.read_box(box.grown(lattice.halo), lattice.mpp)
            valid = _valid_share(mask, lattice.halo, finest)
            if valid.any():
                row, col = box.row // finest, box.col // finest
                values = _checked(latent(rgb), (head.channels, *valid.shape), slide, box, lattice)
                # Cells without data are zero wherever they lie, as those of a skipped tile are.
                writer.write(row, col, np.where(valid > 0, values, np.float32(0)))
                valid_array[row : row + valid.shape[0], col : col + valid.shape[1]] = valid.astype(np.float16)
                empty = False
            if progress is not None:
                progress(done, len(tiles))
        if empty:
            raise FieldError(f"{slide.path or slide.name} holds no valid pixel, so it has no field. Check the file.")
        failed = slide.no_data_reads - failed_before
        attributes = Attributes(
            pixnet_version=pixnet.__version__,
            pitch_um=grid.pitch_um,
            head=head.kind,
            units=head.units,
            genes=head.genes,
            scale=writer.scale,
            lattice=_lattice_facts(lattice, finest),
            slide=_slide_facts(slide, failed),
            card=card,
            files=data_files(path),
        )
        finish(path, attributes)
    if failed:
        warnings.warn(
            f"{slide.path or slide.name}: {failed} reads failed; their pixels are kept as no data in {out}.",
            PixNetWarning,
            stacklevel=2,
        )
    return ExpressionField.open(out)


def _valid_share(mask: NDArray[np.bool_], halo: int, finest: int) -> NDArray[np.float32]:
    """Give the share of valid pixels in each cell of a tile's core."""
    core = mask[halo : mask.shape[0] - halo, halo : mask.shape[1] - halo]
    height, width = core.shape[0] // finest, core.shape[1] // finest
    share: NDArray[np.float32] = core.reshape(height, finest, width, finest).mean(axis=(1, 3), dtype=np.float32)
    return share


def _checked(
    values: NDArray[np.float32], shape: tuple[int, ...], slide: Slide, box: Box, lattice: Lattice
) -> NDArray[np.float32]:
    values = np.asarray(values, np.float32)
    if values.shape != shape:
        raise ValueError(f"the latent values of a tile are {values.shape} where {shape} is expected")
    if not np.isfinite(values).all():
        raise FieldError(
            f"{slide.path or slide.name}: the model gives values that are not finite for the tile at "
            f"x = {box.col * lattice.mpp:.0f} um, y = {box.row * lattice.mpp:.0f} um. Its training may have diverged."
        )
    return values


def _lattice_facts(lattice: Lattice, finest: int) -> LatticeFacts:
    return LatticeFacts(
        width_um=lattice.width_um,
        height_um=lattice.height_um,
        mpp=lattice.mpp,
        stride=lattice.stride,
        halo=lattice.halo,
        finest=finest,
    )


def _slide_facts(slide: Slide, failed: int) -> SlideFacts:
    return SlideFacts(
        name=slide.name,
        file=slide.path.name if slide.path is not None else None,
        fingerprint=slide.fingerprint(),
        mpp=slide.mpp,
        mpp_source=slide.mpp_source,
        height_px=slide.shape[0],
        width_px=slide.shape[1],
        no_data_reads=failed,
    )


@contextmanager
def _replacing(out: Path, overwrite: bool) -> Iterator[Path]:
    """Give a fresh path beside `out` to write a store to; it takes the place of `out` if nothing fails."""
    if out.exists() or out.is_symlink():
        if not overwrite:
            raise FieldError(f"{out} exists already. Give another place, or ask to overwrite it.")
        # To overwrite means a field, not whatever folder a slip of the hand names.
        if not out.is_dir() or (any(out.iterdir()) and not (out / "zarr.json").is_file()):
            raise FieldError(f"{out} is not an expression field, so it is not overwritten. Give another place.")
    out.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        # A folder inside, because mkdtemp's own is closed to the group whatever the umask says.
        path, old = workplace / "new", workplace / "old"
        yield path
        if out.exists():
            out.rename(old)
        try:
            path.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
