"""Features of slides in a folder, as a network needs them.

The folder has one folder for each encoder, named by a hash of all that its maps depend on, and in it one for each view
of a slide. Their `encoder.json` and `view.json` say what they hold. A training fills such a folder as it needs; `pixnet
features` fills one that trainings and predictions elsewhere read without the encoder's weights.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from pixnet.digest import digest
from pixnet.errors import ModelError
from pixnet.features.blocks import Area, BlockFile, Level
from pixnet.features.encoding import Compute, Encoding, cut, parts
from pixnet.features.views import Symmetry, View
from pixnet.files import write_whole
from pixnet.grid import Box
from pixnet.network.crop import Crop
from pixnet.network.encoders.absent import AbsentEncoder
from pixnet.network.encoders.make import make_encoder
from pixnet.network.encoders.weights import encoder_hash
from pixnet.network.reassembly import token_box

if TYPE_CHECKING:
    from pixnet.network.config import NetworkConfig
    from pixnet.network.encoders.base import Encoder
    from pixnet.network.network import Network

FEATURES_VERSION = 2
"""Version of the stored features. Raise it when the same slide, encoder and settings lead to other features: stored
ones are then computed again."""
_BLOCK = 4  # pixels of the deepest map along a block


class PreparedView(NamedTuple):
    """The name of a view's folder of features, the seconds that computing them took, and whether that was now.

    The seconds are None if not known; they may come from another training.
    """

    key: str
    seconds: float | None
    made: bool


@dataclass(frozen=True, eq=False)
class _Stored:
    """A file of blocks, the margin of each of its levels around latent pixels, and what computes it."""

    file: BlockFile
    margins: Sequence[int]
    compute: Callable[[Encoding], Compute]
    zoom: int


class StoredFeatures:
    """The features of views that a network reads, stored as float16.

    Parameters
    ----------
    network
        Its encoder, lattice and margins decide what is stored.
    folder
        The folder, which several trainings, and processes, may share.
    read_only
        Whether features that are not in the folder raise ModelError, in place of being computed.
    """

    def __init__(self, network: Network, folder: Path, read_only: bool = False) -> None:
        self.network = network
        self.read_only = read_only
        facts = encoder_facts(network.encoder, network.config) | {"sha256": encoder_hash(network.encoder)}
        self._facts = facts
        self.folder = folder / digest(facts)[:16]
        self.side = math.lcm(_BLOCK * network.pitches[-1], network.strides[0])
        self._margins = _margins(network)
        self._views: dict[View, list[_Stored]] = {}

    @cached_property
    def _encoding(self) -> Encoding:
        return Encoding(self.network)

    def prepare(
        self,
        view: View,
        boxes: NDArray[np.integer[Any]],
        *,
        beyond: int = 0,
        wait: bool = True,
        progress: Progress | None = None,
    ) -> PreparedView:
        """Open the features of a view, and compute those that are not stored yet.

        Parameters
        ----------
        view
            The view.
        boxes
            First row, first column, last row, last column in image pixels, shape (k, 4): the latent map will be asked
            for inside them.
        beyond
            Image pixels around the boxes that every level needs, if the decoder needs less; see `LinearPath.margin`.
        wait
            Whether to wait where another process computes the same view.
        progress
            Called with the parts done and their number.

        Raises
        ------
        ModelError
            If stored features are damaged, or cannot be written, or if some are missing and may not be computed.
        filelock.Timeout
            Without `wait`, if another process computes the view.
        """
        facts = self._view_facts(view)
        key = digest(facts)[:32]
        folder = self.folder / key
        stored = self._open(folder)
        needed = [Area.around(boxes, [max(margin, beyond) for margin in of.margins], self.side) for of in stored]
        made = _lack(stored, needed)
        if made and self.read_only:
            raise ModelError(self._why_missing(view, facts))
        if made:
            try:
                # The system releases the lock when the process ends.
                folder.mkdir(parents=True, exist_ok=True)
                with FileLock(folder / "lock", timeout=-1 if wait else 0):
                    made = self._compute(view, facts, folder, stored, needed, progress or (lambda *_: None))
            except Timeout:
                raise
            except OSError as error:
                raise ModelError(
                    f"{folder}: features cannot be written ({error.strerror or error}). Those that were computed are "
                    "kept: mend this and run it again."
                ) from error
        self._views[view] = stored
        view.stored_valid = lambda want: self._valid(view, want)
        return PreparedView(key, _read_json(folder / "view.json").get("seconds"), made)

    def crops(self, views: Sequence[View], wants: Sequence[Box]) -> list[Crop]:
        """Return the encoder's maps for a batch of tiles, each on the pixels that the decoder needs."""
        boxes = [self.network.map_boxes(want) for want in wants]
        tiles = [self._read(view, needed) for view, needed in zip(views, boxes, strict=True)]
        device = self.network.head.scale.device
        crops = []
        for of_level, of_boxes in zip(zip(*tiles, strict=True), zip(*boxes, strict=True), strict=True):
            feature = torch.from_numpy(np.stack(of_level)).to(device).float().permute(0, 3, 1, 2)
            crops.append(Crop(feature, [box.row for box in of_boxes], [box.col for box in of_boxes]))
        return crops

    def levels(self, view: View, box: Box) -> list[Tensor]:
        """Return the encoder's maps, (1, C, h, w) each, of a box of pixels of the deepest map."""
        pitches, device = self.network.pitches, self.network.head.scale.device
        maps = self._views[view][0].file.read(
            {level: box_on_pitch(box, pitches[-1], pitch) for level, pitch in enumerate(pitches)}
        )
        return [torch.from_numpy(level).to(device).float().permute(2, 0, 1)[None] for level in maps]

    def maps(self, view: View, box: Box) -> tuple[list[Crop], Crop | None]:
        """Return the maps that a prediction of a box of latent pixels needs; see `Network.decode_in_parts`."""
        network, path = self.network, self.network.linear
        if not (path and path.share):
            return self.crops([view], [box]), None
        wide = token_box(box, network.pitches[-1], network.strides[0]).grown(path.squares.radius)
        return self.crops([view], [box]), Crop(path.logits(self.levels(view, wide)), [wide.row], [wide.col])

    def _read(self, view: View, boxes: Sequence[Box]) -> list[NDArray[Any]]:
        maps, *around = self._views[view]
        found = maps.file.read(dict(enumerate(boxes)))
        for stored in around:
            found[-1] = np.concatenate([found[-1], *stored.file.read({0: boxes[-1]})], axis=2)
        return found

    def _valid(self, view: View, want: Box) -> NDArray[np.uint8]:
        (count,) = self._views[view][0].file.read({len(self.network.pitches): want})
        return count[:, :, 0]

    def _open(self, folder: Path) -> list[_Stored]:
        network, side, margins = self.network, self.side, self._margins
        channels = zip(network.encoder.channels, network.pitches, strict=True)
        levels = [Level(side // pitch, count, "float16") for count, pitch in channels]
        levels.append(Level(side // network.strides[0], 1, "uint8"))
        stored = [_Stored(BlockFile(folder, levels), (*margins, 0), lambda encoding: encoding.maps, 1)]
        if network.far_halo:
            around = digest([network.surroundings.widths, network.zoom])[:8]
            level = Level(side // network.pitches[-1], network.channels[-1] - network.encoder.channels[-1], "float16")
            file = BlockFile(folder / f"surroundings-{around}", [level])
            stored.append(_Stored(file, margins[-1:], lambda encoding: encoding.surroundings, network.zoom))
        return stored

    def _compute(
        self,
        view: View,
        facts: dict[str, Any],
        folder: Path,
        stored: Sequence[_Stored],
        needed: Sequence[Area],
        progress: Progress,
    ) -> bool:
        """Compute what is missing, and return whether that was anything: another process may have been faster."""
        start, before = time.monotonic(), _read_json(folder / "view.json").get("seconds", 0.0)
        with FileLock(self.folder / "lock"):
            write_whole(self.folder / "encoder.json", json.dumps(self._facts, indent=1))
        about = {"slide": view.slide.name, "made_from": facts}
        write_whole(folder / "view.json", json.dumps({**about, "seconds": before}, indent=1))
        step, work = self.network.stride, []
        for of, area in zip(stored, needed, strict=True):
            of.file.folder.mkdir(parents=True, exist_ok=True)
            of.file.reload()
            work += [(of, part) for part in parts(area, area.without(of.file.area), self.side, step, of.zoom)]
        for done, (of, part) in enumerate(work):
            progress(done, len(work))
            of.file.append(cut(of.compute(self._encoding)(view, part.core), part.needed))
            seconds = before + time.monotonic() - start
            write_whole(folder / "view.json", json.dumps({**about, "seconds": seconds}, indent=1))
        progress(len(work), len(work))
        for of in stored:
            of.file.reload()
        return bool(work)

    def _view_facts(self, view: View) -> dict[str, Any]:
        slide = view.slide
        return {
            "slide": slide.fingerprint(),
            "pixel size": [slide.mpp, view.lattice.mpp],
            # A turned view begins where the lattice of the slide ends.
            "extent": None if view.symmetry == Symmetry() else list(view.shape),
            "turn and flips": list(astuple(view.symmetry)),
            "stain": list(view.stain),
            "colour of the glass": list(view.glass.rgb),
        }

    def _why_missing(self, view: View, facts: dict[str, Any]) -> str:
        """Say why the features of a view are not in the folder, and what to do."""
        slide, again = view.slide, "run `pixnet features` on it with the settings of this model"
        known = [_read_json(path) for path in sorted(self.folder.glob("*/view.json"))]
        known = [of for of in known if {"slide", "made_from"} <= of.keys() and facts.keys() <= of["made_from"].keys()]
        place, name = self.folder.parent, slide.path or slide.name
        if any(of["made_from"] == facts for of in known):
            return (
                f"{place}: the features of {name} do not cover all that is needed of it: its regions, tiles, tissue or "
                f"surroundings reach further, or the computation was interrupted; {again} again."
            )
        same = [of["made_from"] for of in known if of["made_from"]["slide"] == facts["slide"]]
        if not same:
            if slide.name in {of["slide"] for of in known}:
                return f"{place}: holds features of another slide named {slide.name}, or {name} has changed; {again}."
            names = ", ".join(sorted({of["slide"] for of in known})) or "none"
            return f"{place}: holds no features of {name} (slides with this encoder: {names}); {again}."
        closest = min(same, key=lambda of: sum(of[key] != facts[key] for key in facts))
        differing = [key for key in facts if closest[key] != facts[key]]
        if set(differing) <= {"extent", "turn and flips", "stain"}:
            views = len({digest(of) for of in same})
            return f"{place}: holds {views} views of {name}, and this one is not among them; {again}, with more views."
        what = differing[0]
        return f"{place}: holds features of {name} with another {what} ({closest[what]}, now {facts[what]}); {again}."


Progress = Callable[[int, int], None]
"""Called with the parts done and the number of parts."""


def encoder_facts(encoder: Encoder, config: NetworkConfig) -> dict[str, Any]:
    """Return what the maps of an encoder depend on, besides its weights."""
    definition = config.encoder.definition
    return {
        "encoder": config.encoder.name,
        "definition": definition.construction if definition else None,
        "um per pixel": config.mpp,
        "levels": [list(encoder.pitches), list(encoder.channels), list(getattr(encoder, "blocks", ()))],
        "normalisation": [encoder.mean.flatten().tolist(), encoder.std.flatten().tolist()],
        "window": encoder.window,
        "finest": config.encoder.finest,
        "version": FEATURES_VERSION,
    }


def stored_encoder(config: NetworkConfig, folder: Path, sha256: str | None = None) -> AbsentEncoder:
    """Return the encoder of a configuration without its weights, for a network that reads its features from a folder.

    `sha256` is the hash of the weights that it must have, if known.

    Raises
    ------
    ModelError
        If the folder holds no features of this encoder at this resolution, or of several versions of it.
    """
    encoder = make_encoder(config.encoder, with_weights=False)
    facts = encoder_facts(encoder, config)
    known = [_read_json(path) for path in sorted(folder.glob("*/encoder.json"))]
    known = [of for of in known if "sha256" in of]
    if not known:
        raise ModelError(f"{folder}: holds no features; `pixnet features` makes them.")
    same = [of["sha256"] for of in known if {key: of.get(key) for key in facts} == facts]
    if not same:
        closest = min(known, key=lambda of: sum(of.get(key) != facts[key] for key in facts))
        what = next(key for key in facts if closest.get(key) != facts[key])
        raise ModelError(
            f"{folder}: holds features of encoder {closest.get('encoder')} with another {what} ({closest.get(what)}, "
            f"but here {facts[what]}); run `pixnet features` with the settings of this model."
        )
    if sha256 is not None and sha256 not in same:
        raise ModelError(
            f"{folder}: holds features of encoder {config.encoder.name} with weights of hash {same[0][:12]}, but the "
            f"model was trained with {sha256[:12]}; make them with the same weights."
        )
    if sha256 is None and len(same) > 1:
        hashes = " and ".join(name[:12] for name in same)
        raise ModelError(
            f"{folder}: holds features of encoder {config.encoder.name} with weights of hash {hashes}; keep one of "
            "them."
        )
    return AbsentEncoder(encoder, sha256 or same[0])


def box_on_pitch(box: Box, pitch: int, finer: int) -> Box:
    """Return a box of pixels of one pitch in pixels of a finer one that divides it."""
    return Box(*(side * pitch // finer for side in (box.row, box.col, box.height, box.width)))


def _lack(stored: Sequence[_Stored], needed: Sequence[Area]) -> bool:
    """Return whether some of the blocks are not stored."""
    return any(area.without(of.file.area).chosen.any() for of, area in zip(stored, needed, strict=True))


def _margins(network: Network) -> tuple[int, ...]:
    """Return how many image pixels beyond latent pixels each level's map is read, wherever a tile is cut."""
    finest = network.strides[0]
    period = math.lcm(network.strides[-1], network.encoder.phase) // finest
    margins = [0] * len(network.pitches)
    for start in range(period):
        for side in range(1, period + 1):
            boxes = network.map_boxes(Box(start, start, side, side))
            for level, (box, pitch) in enumerate(zip(boxes, network.pitches, strict=True)):
                before = start * finest - box.row * pitch
                after = (box.row + box.height) * pitch - (start + side) * finest
                margins[level] = max(margins[level], before, after)
    return tuple(margins)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); delete its folder, so that it is made again.") from error
    return facts
