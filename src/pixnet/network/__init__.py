"""The network: torch modules, from the image to the latent map and on to regions."""

from __future__ import annotations
