"""The card of a model: a JSON file beside its weights that describes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pixnet.digest import digest
from pixnet.errors import ModelError, first_line
from pixnet.model.facts import card_problem
from pixnet.safe.documents import parse_json, read_bytes
from pixnet.version import __version__

if TYPE_CHECKING:
    from pixnet.config import Config
    from pixnet.network.config import EncoderConfig
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.training.fit import Fitted

FORMAT_VERSION = 6
UNITS = {
    "rate": "counts per um^2",
    "mean": "log1p of counts per 10,000",
    "sum": "log1p of counts per 10,000, summed as in the paper's Eq. 9, per um^2",
}


def make_card(config: Config, samples: Sequence[Sample], panel: GenePanel, fitted: Fitted) -> dict[str, Any]:
    """Return the card of a model that was trained with a configuration on samples, to predict the genes of a panel."""
    from pixnet.network.encoders.absent import AbsentEncoder
    from pixnet.network.encoders.weights import encoder_hash

    # The configuration of the network has all choices that were left to the samples.
    config = config.model_copy(update={"network": fitted.network.config})
    network = config.network
    return {
        "format_version": FORMAT_VERSION,
        "pixnet_version": __version__,
        "genes": list(panel.names),
        "gene_rule": panel.rule,
        "outputs": int(fitted.network.head.scale.shape[0]),
        "head": network.head,
        "units": UNITS[network.head],
        "normalisation": "log1p of counts per 10,000 over all genes",
        "mpp": network.mpp,
        "pitch_um": network.pitch_um,
        "encoder": {
            "name": network.encoder.name,
            "sha256": encoder_hash(fitted.network.encoder),
            "inside": encoder_inside(network.encoder) and not isinstance(fitted.network.encoder, AbsentEncoder),
            "mean": fitted.network.encoder.mean.flatten().tolist(),
            "std": fitted.network.encoder.std.flatten().tolist(),
            "window": fitted.network.encoder.window,
        },
        "samples": [{**_describe(sample), "components": fitted.components.get(sample.id)} for sample in samples],
        "expected": None,
        "steps": fitted.steps,
        "seed": config.training.seed,
        "config": config.model_dump(mode="json"),
    }


def encoder_inside(encoder: EncoderConfig) -> bool:
    """Return whether the encoder's weights are saved with the model; a published encoder's licence may forbid it."""
    published = encoder.name.startswith("hf-hub:") or (encoder.definition is not None and encoder.definition.hub)
    return encoder.trainable or encoder.weights == "random" or not published


def _describe(sample: Sample) -> dict[str, Any]:
    from pixnet.slide.stain import StainProfile

    bounds = sample.regions.bounds_um
    stain = StainProfile.from_slide(sample.slide)
    sample.slide.close()  # the decoded images of many samples would take up memory
    return {
        "id": sample.id,
        "donor": sample.donor,
        "platform": sample.platform,
        "regions": len(sample.regions),
        "region_size_um": float(np.median(bounds[:, 2] - bounds[:, 0])),
        "median_counts": float(np.median(sample.depth)),
        "mpp": sample.slide.mpp,
        "mpp_source": sample.slide.mpp_source,
        "slide_sha256": sample.slide.fingerprint(),
        "stain": None if stain is None else stain.to_json(),
    }


def read_card(path: str | Path) -> dict[str, Any]:
    """Read the card in a model folder, without the weights; it must be unaltered and of this format version."""
    path = Path(path) / "card.json"
    try:
        card = parse_json(read_bytes(path, ModelError))
    except FileNotFoundError as error:
        raise ModelError(f"{path}: is missing; a model folder holds model.safetensors and card.json.") from error
    except ValueError as error:
        raise ModelError(f"{path}: cannot be read as JSON ({first_line(error)}); copy the folder again.") from error
    version = card.get("format_version") if isinstance(card, dict) else None
    if version is None:
        raise ModelError(f"{path}: is not a model card: it has no format_version; copy the folder again.")
    if version != FORMAT_VERSION:
        older = isinstance(version, int) and version < FORMAT_VERSION
        advice = "train the model again" if older else "update pixnet"
        raise ModelError(f"{path}: has format version {version}, but this pixnet reads {FORMAT_VERSION}; {advice}.")
    if card.pop("card_sha256", None) != digest(card):
        raise ModelError(f"{path}: was changed after it was written; copy the folder again.")
    if problem := card_problem(card):
        raise ModelError(f"{path}: is not a card that PixNet writes ({problem}); copy the folder again.")
    return dict(card)


def is_model(path: Path) -> bool:
    """Return whether a path is a model folder."""
    return (path / "card.json").is_file()
