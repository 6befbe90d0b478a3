"""The network: torch modules that lead from the image to the latent map, and from it to regions."""

from __future__ import annotations
