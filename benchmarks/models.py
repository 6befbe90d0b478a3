"""An untrained model with as many genes as wanted: speed and memory do not depend on the weights."""

from __future__ import annotations

import torch

from pixnet.model import PixNet
from pixnet.network.config import PRESETS, NetworkConfig
from pixnet.network.network import Network
from pixnet.network.weights import weights_hash
from pixnet.panel import GenePanel


def untrained(genes: int, network: NetworkConfig = PRESETS["small"]) -> PixNet:
    """Make a model; the encoder has its ImageNet weights, all else is drawn at random, the same each time."""
    from pixnet.config import Config

    torch.manual_seed(0)
    model = PixNet(Config(network=network))
    model._network = Network(network, genes + 1).eval()
    panel = GenePanel(tuple(f"G{gene:05d}" for gene in range(genes)), "list")
    model.card = model._make_card([], panel, 0, weights_hash(model.network.encoder))
    return model
