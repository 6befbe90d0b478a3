"""What every baseline can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.slide import Slide


class Baseline(Protocol):
    """A method that learns from measured samples and predicts at points of any slide.

    Attributes
    ----------
    METHOD_VERSION
        Raised by the maintainer when the same inputs and settings lead to other numbers.
    """

    METHOD_VERSION: int

    def fit(
        self,
        samples: Sequence[Sample],
        panel: GenePanel,
        min_counts: int = 500,
        seed: int = 0,
        *,
        density: bool = False,
    ) -> Self:
        """Learn from training samples, and choose all that is to be chosen by folds inside them.

        Parameters
        ----------
        samples
            Training samples.
        panel
            Genes to predict.
        min_counts
            Regions with fewer counts over all genes are left out.
        seed
            Of whatever is random.
        density
            Whether one column more is learned, like a gene and with the genes, and predicted as the last one:
            log(1 + counts over all genes per 10,000 um^2). Shares do not tell how much is there; this does.

        Raises
        ------
        DataError
            If too few regions have enough counts, or a sample lacks a gene of the panel.
        """
        ...

    def predict(self, slide: Slide, centers_um: ArrayLike) -> NDArray[np.float32]:
        """Predict at points of a slide.

        Parameters
        ----------
        slide
            Any slide.
        centers_um
            (n, 2), x and y in um.

        Returns
        -------
        array
            (n, g) float32 log-normalised values, log(1 + counts per 10,000 of the region); (n, g + 1) with the density.

        Raises
        ------
        ModelError
            Before `fit`.
        """
        ...
