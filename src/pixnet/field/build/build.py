"""Building the expression field of a slide."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path

import numpy as np

from pixnet.digest import digest
from pixnet.errors import FieldError, PixNetWarning
from pixnet.field.build.background import Background
from pixnet.field.build.blocks import BlockBuilder
from pixnet.field.build.inputs import BuildOptions, LatentSource
from pixnet.field.build.unfinished import Facts, claimed, partial_folder
from pixnet.field.build.writing import array_digests, data_files, finish, open_levels, write_coarser_levels
from pixnet.field.field import ExpressionField
from pixnet.field.store import FORMAT_VERSION, Attributes, LatticeFacts, SlideFacts
from pixnet.grid import round_up
from pixnet.safe.names import as_text
from pixnet.slide import Slide
from pixnet.version import __version__


def build_field(
    slide: Slide, source: LatentSource, out: str | Path, options: BuildOptions | None = None
) -> ExpressionField:
    """Compute the latent field of a slide and store it.

    Memory is needed for a few blocks only, whatever the size of the slide. The field grows in a folder `NAME.partial`
    beside its place, and is renamed when it is complete. If the process is killed, `BuildOptions.resume` continues it,
    and writes the same bytes as an unbroken run.

    Parameters
    ----------
    slide, source
        The slide, and the network and head that are applied to it.
    out
        Folder to write.
    options
        How to build it; `BuildOptions()` by default.

    Raises
    ------
    FieldError
        If something is at `out` already or another process writes there, if the slide has no valid pixel or no tissue,
        if latent values are not finite where there is data, if an unfinished field was begun from something else, or if
        the disk is full.
    ValueError
        If the shape of the latent values is wrong.

    Warns
    -----
    PixNetWarning
        If parts of the slide could not be read; they are stored as no data.
    """
    out, options = Path(out), options or BuildOptions()
    lattice, head = source.lattice, source.head
    core = round_up(min(options.core, max(lattice.height, lattice.width)), lattice.stride)
    facts = _facts(slide, source)
    facts |= {"block": core, "number format": options.dtype, "tissue mask": options.tissue_mask}
    made_from = digest(facts)
    if options.resume and _is_finished(out, made_from):
        return ExpressionField.open(out)
    with claimed(out, facts, resume=options.resume, overwrite=options.overwrite) as unfinished:
        background = Background(slide, lattice, source.finest, keep_all=not options.tissue_mask)
        builder = BlockBuilder(slide, source, core, np.dtype(options.dtype), background, unfinished)
        seam_error = source.seam_error() if source.seam_error else None
        scale = builder.run(options.workers, options.progress or (lambda *_: None))
        levels = open_levels(unfinished.store)
        write_coarser_levels(levels, builder.side)
        failed = sum(line.failed for line in unfinished.blocks)
        attributes = Attributes(
            pixnet_version=__version__,
            pitch_um=source.grid.pitch_um,
            head=head.kind,
            units=head.units,
            genes=head.genes,
            scale=scale,
            lattice=LatticeFacts(
                width_um=lattice.width_um,
                height_um=lattice.height_um,
                mpp=lattice.mpp,
                stride=lattice.stride,
                halo=lattice.halo,
                finest=source.finest,
            ),
            slide=SlideFacts(
                name=slide.name,
                file=as_text(slide.path.name) if slide.path is not None else None,
                fingerprint=slide.fingerprint(),
                mpp=slide.mpp,
                mpp_source=slide.mpp_source,
                height_px=slide.shape[0],
                width_px=slide.shape[1],
                no_data_reads=failed,
                bounds_px=slide.bounds_px,
            ),
            levels=len(levels),
            tissue_mask=options.tissue_mask,
            seam_error=seam_error,
            made_from=made_from,
            card=source.card,
            files=data_files(unfinished.store),
            arrays=array_digests(unfinished.store),
        )
        finish(unfinished.store, attributes)
        unfinished.finish()
    if failed:
        warnings.warn(
            f"{slide.path or slide.name}: {failed} reads failed; their pixels have no data in {out}.",
            PixNetWarning,
            stacklevel=2,
        )
    return ExpressionField.open(out)


def _is_finished(out: Path, made_from: str) -> bool:
    """Return whether the field at `out` is complete and was made from the same facts."""
    if not out.is_dir():
        return False
    try:
        same = ExpressionField.open(out).attributes.made_from == made_from
    except FieldError:
        return False
    folder = partial_folder(out)
    if same and folder.is_dir() and not (folder / "store").exists():
        # The process was killed after it renamed the store.
        shutil.rmtree(folder, ignore_errors=True)
    return same


def _facts(slide: Slide, source: LatentSource) -> Facts:
    """Return the facts that decide every byte of a field, but for the options."""
    lattice = source.lattice
    model = hashlib.sha256(json.dumps(source.card, sort_keys=True).encode())
    for array in (source.head.W, source.head.b):
        model.update(array.tobytes())
    facts = {
        "slide": slide.fingerprint(),
        "pixel size": slide.mpp,
        "model": model.hexdigest(),
        "working resolution": lattice.mpp,
        "lattice": [lattice.stride, lattice.halo, lattice.zoom, lattice.far_halo, source.finest],
        "version of pixnet": __version__,
        "version of the format": FORMAT_VERSION,
    }
    # Stored features are rounded to 16 bits, so a field is made from them alone or without them.
    return facts if source.features is None else {**facts, "stored features": source.features}
