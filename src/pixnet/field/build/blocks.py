"""Computing and writing the blocks of a field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import FieldError
from pixnet.field.build.background import Background
from pixnet.field.build.inputs import LatentSource
from pixnet.field.build.scaling import NotFinite, Outgrown, Scale, first_exponents
from pixnet.field.build.tile import TileImages, read_tile
from pixnet.field.build.unfinished import Unfinished
from pixnet.field.build.writing import Block, create_arrays, open_levels, pyramid, write_block
from pixnet.field.pipeline import read_ahead, write_behind
from pixnet.field.store import Level
from pixnet.grid import Box
from pixnet.slide import Slide


class _Read(NamedTuple):
    """What was read for a block: its images, the valid share of its pixels, and the number of failed reads."""

    images: TileImages
    valid: NDArray[np.float32]
    failed: int


class BlockBuilder:
    """Computes and writes the blocks that an unfinished field lacks, with latent values stored as `dtype`.

    `core` is the side of a block in lattice pixels, a multiple of the stride, and `side` in pixels of the field.
    """

    def __init__(
        self,
        slide: Slide,
        source: LatentSource,
        core: int,
        dtype: np.dtype[Any],
        background: Background,
        unfinished: Unfinished,
    ) -> None:
        self.slide = slide
        self.source = source
        self.dtype = dtype
        self.background = background
        self.unfinished = unfinished
        self.side = core // source.finest
        self._boxes = list(source.lattice.tiles(core))
        self._parts = [self._part_with_tissue(box) for box in self._boxes]

    def run(self, workers: int, progress: Callable[[int, int], None]) -> tuple[float, ...]:
        """Compute and write all blocks, and return the factor of each channel; see `BuildOptions` and `Scale`.

        All latent values must be finite where there is data, and the slide must have some.
        """
        exponent = first_exponents(self.dtype, self.source.head)

        def create(path: Path) -> None:
            create_arrays(path, self.source.grid, self.side, self.source.head, self.dtype)

        while True:
            self.unfinished.begin(create, exponent)
            try:
                return self._run(workers, progress)
            except Outgrown as outgrown:
                # This is so rare that starting again costs less than correcting the blocks that are written.
                self.unfinished.clear()
                exponent = outgrown.exponent

    def _run(self, workers: int, progress: Callable[[int, int], None]) -> tuple[float, ...]:
        log = self.unfinished.blocks
        scale = Scale(self.dtype, self.unfinished.exponent)
        levels = open_levels(self.unfinished.store)
        done = {line.block for line in log}
        missing = [number for number in range(len(self._boxes)) if number not in done]
        with_tissue = {number for number, part in enumerate(self._parts) if part}
        count, total = len(with_tissue & done), len(with_tissue)
        progress(count, total)
        with write_behind() as write:
            for number, read in read_ahead(missing, self._read, workers):
                failed = read.failed if read else 0
                # Everything that uses torch happens here, in the network's own thread. A thread that reads or writes
                # would get OpenMP threads of its own. With more of them than processors, GNU's OpenMP lets those of the
                # network sleep at every step, which costs a quarter of its time. The blocks get no name here, so that
                # their memory is freed as soon as they are written.
                write(
                    self._write,
                    number,
                    pyramid(self._block(number, read, scale), self.side),
                    failed,
                    list(scale.exponent),
                    levels,
                )
                if read is not None:
                    count += 1
                    progress(count, total)
        if not any(line.holds_data for line in log):
            raise FieldError(
                f"{self.slide.path or self.slide.name} holds no valid pixel, so it has no field. Check the file."
            )
        return scale.factors

    def _part_with_tissue(self, box: Box) -> Box | None:
        """Return the smallest box, aligned with the stride, that holds a block's tissue; only this part is computed."""
        tissue = self.background.tissue(self.source.field_box(box))
        if not tissue.any():
            return None
        stride = self.source.lattice.stride
        step = stride // self.source.finest  # the stride in pixels of the field
        (top, bottom), (left, right) = (
            (int(indices[0]) // step * stride, (int(indices[-1]) // step + 1) * stride)
            for indices in (np.flatnonzero(tissue.any(axis=axis)) for axis in (1, 0))
        )
        return Box(box.row + top, box.col + left, bottom - top, right - left)

    def _read(self, number: int) -> _Read | None:
        """Read the part of a block with tissue, and its halo; return None if there is no tissue."""
        part = self._parts[number]
        if part is None:
            return None
        failed_before = self.slide.no_data_reads_here
        images, mask = read_tile(self.slide, self.source.lattice, part)
        place, halo, finest = self.source.field_box(part), self.source.lattice.halo, self.source.finest
        with_data = mask[halo : mask.shape[0] - halo, halo : mask.shape[1] - halo]
        squares = with_data.reshape(place.height, finest, place.width, finest)
        valid: NDArray[np.float32] = squares.mean(axis=(1, 3), dtype=np.float32) * self.background.tissue(place)
        return _Read(images, valid, self.slide.no_data_reads_here - failed_before)

    def _block(self, number: int, read: _Read | None, scale: Scale) -> Block:
        """Compute a block of level 0."""
        box, part = self._boxes[number], self._parts[number]
        place = self.source.field_box(box)
        background = self.background.share(place).astype(np.float16)
        valid = np.zeros((place.height, place.width), np.float16)
        if read is None or part is None or not read.valid.any():
            return Block(None, valid, background)
        try:
            packed = scale.pack(self._values(read))
        except NotFinite:
            mpp = self.source.lattice.mpp
            raise FieldError(
                f"{self.slide.path or self.slide.name}: the model returns values that are not finite for the block at "
                f"x = {part.col * mpp:.0f} um, y = {part.row * mpp:.0f} um. Its training may have diverged."
            ) from None
        if part == box:
            return Block(packed, read.valid.astype(np.float16), background)
        inner = self.source.field_box(part)
        window = Box(inner.row - place.row, inner.col - place.col, inner.height, inner.width).window
        latent = np.zeros((len(packed), place.height, place.width), packed.dtype)
        latent[:, *window] = packed
        valid[window] = read.valid
        return Block(latent, valid, background)

    def _values(self, read: _Read) -> NDArray[np.float32]:
        """Compute the latent values of the part of a block with tissue, zero where there is no data or no tissue."""
        values = np.require(self.source.latent(read.images), np.float32, ["C", "A", "W"])  # as torch needs them
        shape = (self.source.head.channels, *read.valid.shape)
        if values.shape != shape:
            raise ValueError(f"the latent values of a block have shape {values.shape}, but {shape} is expected")
        if not read.valid.all():
            np.copyto(values, 0, where=read.valid == 0)
        return values

    def _write(
        self, number: int, blocks: list[Block], failed: int, exponent: list[int | None], levels: list[Level]
    ) -> None:
        place = self.source.field_box(self._boxes[number])
        paths = write_block(levels, place.row, place.col, blocks)
        holds_data = blocks[0].latent is not None or bool(blocks[0].background.any())
        self.unfinished.note(number, exponent, failed, holds_data, paths)
