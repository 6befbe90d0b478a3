"""From a slide to its expression field, block by block."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import FieldError, PixNetWarning
from pixnet.field.build.background import Background
from pixnet.field.build.scaling import NotFinite, Outgrown, Scale, first_exponents
from pixnet.field.build.tile import TileImages, read_tile
from pixnet.field.build.unfinished import Facts, Unfinished, claimed, partial_folder
from pixnet.field.build.writing import (
    Block,
    create_arrays,
    data_files,
    finish,
    open_levels,
    pyramid,
    write_block,
    write_coarser_levels,
)
from pixnet.field.field import ExpressionField
from pixnet.field.head import LinearHead
from pixnet.field.pipeline import WriteBehind, read_ahead
from pixnet.field.store import FORMAT_VERSION, Attributes, LatticeFacts, Level, SlideFacts
from pixnet.grid import Box, Lattice, round_up
from pixnet.slide import Slide
from pixnet.version import __version__

Latent = Callable[[TileImages], NDArray[np.float32]]
"""From a block's images to the latent cells of its core, (C, h, w), in an array that is the field's from then on."""


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
    tissue_mask: bool = True,
    workers: int = 1,
    seam_error: float | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ExpressionField:
    """Compute the latent field of a slide and keep it in a store.

    Memory is needed for a few blocks, whatever the size of the slide. The store grows in a folder `NAME.partial`
    beside its place and takes the place when it is complete; if the process is killed, `resume` goes on with it, and
    gives the same bytes as an unbroken run.

    Parameters
    ----------
    slide
        The slide.
    lattice
        Its lattice of pixels at the working resolution, with the network's stride and halos.
    finest
        Side of a field cell, in lattice pixels; divides the stride.
    latent
        The network without its head. Must give the same values however the blocks are cut.
    head
        The linear head, with as many channels as `latent` gives.
    out
        Folder to write.
    core
        Side of a block in lattice pixels, rounded up to a multiple of the stride. Changes speed and memory only.
    card
        The model card; anything that JSON can hold.
    dtype
        `"float16"` (with a scale per channel) or `"float32"`.
    tissue_mask
        Whether background is left out; see `pixnet.field.build.background`.
    workers
        Blocks that are read ahead, each in a thread of its own.
    seam_error
        What is known of the difference that the cut into blocks makes, as a share of the largest value; kept in the
        store.
    resume
        Go on with an unfinished field made from the same slide, model and options; begin if there is none.
    overwrite
        Whether a field that exists at `out` is replaced, and an unfinished one thrown away.
    progress
        Called at the start and after each block with the number of blocks computed, and of all that hold tissue.

    Returns
    -------
    ExpressionField
        The field, opened from its store.

    Raises
    ------
    FieldError
        If something is at `out` already or another process writes there, if the slide has no valid pixel or no tissue,
        if latent values are not finite where there is data, if an unfinished field was begun from something else, or if
        the disk is full.
    ValueError
        If `finest`, `dtype`, `workers`, the card or what `latent` gives does not fit the rest.

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
    if workers < 1:
        raise ValueError(f"at least one thread must read, not {workers}")
    card = json.loads(json.dumps(card, allow_nan=False))  # fails now rather than after the last block
    core = round_up(min(core, max(lattice.height, lattice.width)), lattice.stride)
    options = {"block": core, "number format": dtype, "tissue mask": tissue_mask}
    facts = _facts(slide, lattice, finest, head, card) | options
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    if resume and _is_finished(out, digest):
        return ExpressionField.open(out)
    with claimed(out, facts, resume=resume, overwrite=overwrite) as unfinished:
        background = Background(slide, lattice, finest, keep_all=not tissue_mask)
        builder = _Builder(slide, lattice, finest, latent, head, core, np.dtype(dtype), background, unfinished)
        scale = builder.run(workers, progress or (lambda *_: None))
        levels = open_levels(unfinished.store)
        write_coarser_levels(levels, builder.block)
        failed = sum(line["failed"] for line in unfinished.log)
        attributes = Attributes(
            pixnet_version=__version__,
            pitch_um=builder.grid.pitch_um,
            head=head.kind,
            units=head.units,
            genes=head.genes,
            scale=scale,
            lattice=_lattice_facts(lattice, finest),
            slide=_slide_facts(slide, failed),
            levels=len(levels),
            tissue_mask=tissue_mask,
            seam_error=seam_error,
            made_from=digest,
            card=card,
            files=data_files(unfinished.store),
        )
        finish(unfinished.store, attributes)
        unfinished.finish()
    if failed:
        warnings.warn(
            f"{slide.path or slide.name}: {failed} reads failed; their pixels are kept as no data in {out}.",
            PixNetWarning,
            stacklevel=2,
        )
    return ExpressionField.open(out)


class _Read(NamedTuple):
    """What was read for a block: its images, the valid share of the cells, and how many reads failed."""

    images: TileImages
    valid: NDArray[np.float32]
    failed: int


class _Builder:
    """Computes the blocks that an unfinished field still lacks."""

    def __init__(
        self,
        slide: Slide,
        lattice: Lattice,
        finest: int,
        latent: Latent,
        head: LinearHead,
        core: int,
        dtype: np.dtype[Any],
        background: Background,
        unfinished: Unfinished,
    ) -> None:
        self.slide, self.lattice, self.finest, self.latent, self.head = slide, lattice, finest, latent, head
        self.dtype, self.background, self.unfinished = dtype, background, unfinished
        self.grid = lattice.grid(finest)
        self.block = core // finest
        self.boxes = list(lattice.tiles(core))
        self.parts = [self._part_with_tissue(box) for box in self.boxes]

    def run(self, workers: int, progress: Callable[[int, int], None]) -> tuple[float, ...]:
        """Compute and write all blocks; gives the channels' factors."""
        exponent = first_exponents(self.dtype, self.head)
        while True:
            if not self.unfinished.begun:
                create_arrays(self.unfinished.store, self.grid, self.block, self.head, self.dtype)
                self.unfinished.begin()
                self._note(None, exponent)
            try:
                return self._run(workers, progress)
            except Outgrown as grown:
                # So rare that a second run is cheaper than anything that would have to mend what is written.
                self.unfinished.clear()
                exponent = grown.exponent

    def _run(self, workers: int, progress: Callable[[int, int], None]) -> tuple[float, ...]:
        log = self.unfinished.log
        scale = Scale(self.dtype, log[-1]["exponent"])
        levels = open_levels(self.unfinished.store)
        done = {line["block"] for line in log}
        missing = [number for number in range(len(self.boxes)) if number not in done]
        with_tissue = {number for number, part in enumerate(self.parts) if part}
        count, total = len(with_tissue & done), len(with_tissue)
        progress(count, total)
        with WriteBehind() as write:
            for number, read in read_ahead(missing, self._read, workers):
                # No name is given to a block: it is to be gone as soon as it is written.
                failed = read.failed if read else 0
                write(self._write, number, self._blocks(number, read, scale), failed, list(scale.exponent), levels)
                if read is not None:
                    count += 1
                    progress(count, total)
        if not any(line.get("holds_data") for line in log):
            raise FieldError(
                f"{self.slide.path or self.slide.name} holds no valid pixel, so it has no field. Check the file."
            )
        return scale.factors

    def _part_with_tissue(self, block: Box) -> Box | None:
        """Give the smallest box on the lattice's strides that holds a block's tissue; the rest is not computed."""
        row, col, height, width = self._cells(block)
        tissue = self.background.tissue(row, col, height, width)
        if not tissue.any():
            return None
        step = self.lattice.stride // self.finest  # cells
        (top, bottom), (left, right) = (
            (int(held[0]) // step * self.lattice.stride, (int(held[-1]) // step + 1) * self.lattice.stride)
            for held in (np.flatnonzero(tissue.any(axis=axis)) for axis in (1, 0))
        )
        return Box(block.row + top, block.col + left, bottom - top, right - left)

    def _read(self, number: int) -> _Read | None:
        """Read the part of a block that holds tissue, and its halo; None if there is none."""
        part = self.parts[number]
        if part is None:
            return None
        before = self.slide.no_data_reads_here
        images, mask = read_tile(self.slide, self.lattice, part)
        valid = _valid_share(mask, self.lattice.halo, self.finest) * self.background.tissue(*self._cells(part))
        return _Read(images, valid, self.slide.no_data_reads_here - before)

    def _blocks(self, number: int, read: _Read | None, scale: Scale) -> list[Block]:
        """Compute a block as it is stored, level by level.

        All that torch has a part in happens here, in the network's own thread. A thread that reads or writes would be
        given OpenMP threads of its own, and with more of them than processors GNU's OpenMP has the network's sleep at
        every step: a quarter of its time.
        """
        return pyramid(self._block(number, read, scale), self.block)

    def _block(self, number: int, read: _Read | None, scale: Scale) -> Block:
        """Compute a block of the finest level."""
        row, col, height, width = self._cells(self.boxes[number])
        background = self.background.share(row, col, height, width).astype(np.float16)
        valid = np.zeros((height, width), np.float16)
        part = self.parts[number]
        if read is None or part is None or not read.valid.any():
            return Block(None, valid, background)
        try:
            packed = scale.pack(self._values(part, read))
        except NotFinite:
            raise FieldError(
                f"{self.slide.path or self.slide.name}: the model gives values that are not finite for the block at "
                f"x = {part.col * self.lattice.mpp:.0f} um, y = {part.row * self.lattice.mpp:.0f} um. "
                "Its training may have diverged."
            ) from None
        if part == self.boxes[number]:
            return Block(packed, read.valid.astype(np.float16), background)
        first_row, first_col, n_rows, n_cols = self._cells(part)
        place = slice(first_row - row, first_row - row + n_rows), slice(first_col - col, first_col - col + n_cols)
        latent = np.zeros((len(packed), height, width), packed.dtype)
        latent[:, *place], valid[place] = packed, read.valid
        return Block(latent, valid, background)

    def _values(self, part: Box, read: _Read) -> NDArray[np.float32]:
        """Compute the latent values of a block's part with tissue, zero where there is no data or no tissue."""
        values = np.require(self.latent(read.images), np.float32, ["C", "A", "W"])  # as torch takes it
        shape = (self.head.channels, *read.valid.shape)
        if values.shape != shape:
            raise ValueError(f"the latent values of a block are {values.shape} where {shape} is expected")
        if not read.valid.all():
            np.copyto(values, 0, where=read.valid == 0)
        return values

    def _write(
        self, number: int, blocks: list[Block], failed: int, exponent: list[int | None], levels: list[Level]
    ) -> None:
        row, col, *_ = self._cells(self.boxes[number])
        write_block(levels, row, col, blocks)
        holds_data = blocks[0].latent is not None or bool(blocks[0].background.any())
        self._note(number, exponent, failed=failed, holds_data=holds_data)

    def _note(self, block: int | None, exponent: list[int | None], failed: int = 0, holds_data: bool = False) -> None:
        self.unfinished.note(
            {"block": block, "failed": failed, "holds_data": holds_data, "exponent": list(exponent)}
        )  # fmt: skip

    def _cells(self, box: Box) -> tuple[int, int, int, int]:
        """Give row, column, height and width of a block in cells."""
        return box.row // self.finest, box.col // self.finest, box.height // self.finest, box.width // self.finest


def _valid_share(mask: NDArray[np.bool_], halo: int, finest: int) -> NDArray[np.float32]:
    """Give the share of valid pixels in each cell of a block's core."""
    core = mask[halo : mask.shape[0] - halo, halo : mask.shape[1] - halo]
    height, width = core.shape[0] // finest, core.shape[1] // finest
    share: NDArray[np.float32] = core.reshape(height, finest, width, finest).mean(axis=(1, 3), dtype=np.float32)
    return share


def _is_finished(out: Path, digest: str) -> bool:
    """Whether the very field that is asked for stands at `out`."""
    if not out.is_dir():
        return False
    try:
        same = ExpressionField.open(out).attributes.made_from == digest
    except FieldError:
        return False
    folder = partial_folder(out)
    if same and folder.is_dir() and not (folder / "store").exists():
        shutil.rmtree(folder, ignore_errors=True)  # killed after the last step, while it cleaned up
    return same


def _facts(slide: Slide, lattice: Lattice, finest: int, head: LinearHead, card: dict[str, Any]) -> Facts:
    """Give what decides every byte of a field."""
    model = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for array in (head.W, head.b):
        model.update(array.tobytes())
    return {
        "slide": slide.fingerprint(),
        "pixel size": slide.mpp,
        "model": model.hexdigest(),
        "working resolution": lattice.mpp,
        "lattice": [lattice.stride, lattice.halo, lattice.zoom, lattice.far_halo, finest],
        "version of pixnet": __version__,
        "version of the format": FORMAT_VERSION,
    }


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
