"""An untrained model with any number of genes: speed and memory do not depend on the weights."""

from __future__ import annotations

import torch

from pixnet.model import PixNet
from pixnet.model.card import make_card
from pixnet.network.config import PRESETS, NetworkConfig
from pixnet.network.network import Network
from pixnet.sample.panel import GenePanel
from pixnet.training.fit import Fitted

# With surroundings: the slower one of the two default networks.
_DEFAULT = PRESETS["small"].model_copy(update={"surroundings_um": (300.0, 600.0, 1200.0)})


def untrained(genes: int, network: NetworkConfig = _DEFAULT) -> PixNet:
    """Return a model whose encoder has its ImageNet weights, and whose other weights are random but always the same."""
    from pixnet.config import Config

    torch.manual_seed(0)
    model = PixNet(Config(network=network))
    model._network = Network(network, genes + 1).eval()
    panel = GenePanel(tuple(f"G{gene:05d}" for gene in range(genes)), "list")
    model.card = make_card(model.config, [], panel, Fitted(model.network, [], 0, {}))
    return model
