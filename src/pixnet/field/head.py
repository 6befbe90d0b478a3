"""The linear head as plain arrays: the only part of the model that a stored field needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pixnet.errors import FieldError

HeadKind = Literal["rate", "mean", "sum"]
OTHER = "other"
"""Name of the last output of a `rate` head: the summed counts of all genes outside the panel."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """The map from the latent field D to expression: G = D W + b at every point.

    Parameters
    ----------
    kind
        `"rate"`: G is expected counts per um^2, and the last output is `"other"`. `"mean"`: G is log-normalised
        expression, and a region has its average. `"sum"`: the same, and a region has its integral (arXiv 2503.01347v4,
        Eq. 9).
    genes
        Names of the M outputs.
    W
        Loadings, shape (C, M), float32.
    b
        Baseline, shape (M,), float32.
    units
        Units of G.

    Raises
    ------
    FieldError
        If the kind is not known, or if names and arrays do not fit each other.
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
            raise FieldError(f"the kind of a head is {', '.join(get_args(HeadKind))}, not {self.kind!r}.")
        outputs = len(self.genes)
        if self.W.ndim != 2 or not self.W.size or self.W.shape[1] != outputs or self.b.shape != (outputs,):
            raise FieldError(
                f"a head with {outputs} outputs cannot have W of shape {self.W.shape} and b of shape {self.b.shape}."
            )
        if len(set(self.genes)) != outputs:
            raise FieldError("each gene of a head must occur once.")
        if not (np.isfinite(self.W).all() and np.isfinite(self.b).all()):
            raise FieldError("W and b of a head must be finite; the model is damaged or its training diverged.")
        if self.kind == "rate" and self.genes[-1] != OTHER:
            raise FieldError(f"the last output of a rate head must be {OTHER!r}, not {self.genes[-1]!r}.")

    @property
    def channels(self) -> int:
        """Number of latent channels, C."""
        return int(self.W.shape[0])

    @property
    def panel(self) -> tuple[str, ...]:
        """Names of the outputs that are genes: all but the last one of a `rate` head."""
        return self.genes[:-1] if self.kind == "rate" else self.genes
