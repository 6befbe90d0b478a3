"""The linear head as plain arrays: all that a stored field needs of the model that made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import FieldError

HeadKind = Literal["rate", "mean", "sum"]
OTHER = "other"
"""Last output of a `rate` head: the pooled counts of all genes outside the panel."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """From the latent field to expression: G = D W + b at every point.

    Parameters
    ----------
    kind
        `"rate"`: G is expected counts per um^2, and the last output is `"other"`. `"mean"`: G is log-normalised
        expression, averaged over a region. `"sum"`: the same, summed over it (arXiv 2503.01347v4, Eq. 9).
    genes
        Names of the M outputs.
    W
        (C, M) float32 loadings.
    b
        (M,) float32 baseline.
    units
        Units of G.

    Raises
    ------
    FieldError
        If these contradict each other.
    """

    kind: HeadKind
    genes: tuple[str, ...]
    W: NDArray[np.float32]
    b: NDArray[np.float32]
    units: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "genes", tuple(self.genes))
        object.__setattr__(self, "W", np.ascontiguousarray(self.W, np.float32))
        object.__setattr__(self, "b", np.ascontiguousarray(self.b, np.float32))
        if self.kind not in get_args(HeadKind):
            raise FieldError(f"a head is of kind {', '.join(get_args(HeadKind))}, not {self.kind!r}.")
        outputs = len(self.genes)
        if self.W.ndim != 2 or not self.W.size or self.W.shape[1] != outputs or self.b.shape != (outputs,):
            raise FieldError(f"a head with {outputs} outputs cannot have W of {self.W.shape} and b of {self.b.shape}.")
        if len(set(self.genes)) != outputs:
            raise FieldError("a head's genes must each occur once.")
        if not (np.isfinite(self.W).all() and np.isfinite(self.b).all()):
            raise FieldError("a head's W and b must be finite; the model is damaged or its training diverged.")
        if self.kind == "rate" and self.genes[-1] != OTHER:
            raise FieldError(f"the last output of a rate head must be {OTHER!r}, not {self.genes[-1]!r}.")

    @property
    def channels(self) -> int:
        """Number of latent channels, C."""
        return int(self.W.shape[0])

    @property
    def panel(self) -> tuple[str, ...]:
        """The outputs that are genes: all, but for the last one of a `rate` head."""
        return self.genes[:-1] if self.kind == "rate" else self.genes
