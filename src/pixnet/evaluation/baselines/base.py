"""What the baselines share: the interface, the training regions, folds inside them, and features on one scale."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixnet.errors import DataError, ModelError
from pixnet.expression import correlation, normalise
from pixnet.sample.panel import panel_counts
from pixnet.sample.sample import enough_counts, held_out_parts

if TYPE_CHECKING:
    from pixnet.regions import Regions
    from pixnet.sample import Sample
    from pixnet.sample.panel import GenePanel
    from pixnet.slide import Slide

_Scalar = TypeVar("_Scalar", bound=np.generic)
_Choice = TypeVar("_Choice", bound=Hashable)

Mask = NDArray[np.bool_]


class Baseline(ABC):
    """A method that learns from measured samples and predicts at points of any slide.

    A subclass states the class attributes below and implements `_fit` and `_predict`. Whatever it learns or chooses
    must come from the training samples alone; `inner_scores` scores choices by folds inside them. Settings, such as the
    resolution of the crops `um_per_px`, and what `fit` chose are public attributes (see `choices`); what has not been
    chosen yet is None or NaN.

    Attributes
    ----------
    name : str
        The method's name on the command line.
    METHOD_VERSION : int
        Raised by the maintainer when the same inputs and settings lead to other numbers.
    random : bool
        Whether the seed changes the predictions.
    least_regions : int
        Number of training regions that the method needs.
    validation_scores : dict
        After `fit`, PCC@M inside training by choice, if the method has something to choose.
    """

    name: ClassVar[str]
    METHOD_VERSION: ClassVar[int]
    random: ClassVar[bool]
    least_regions: ClassVar[int] = 8  # fewer cannot be split to choose anything by
    _fitted = False

    def fit(
        self,
        samples: Sequence[Sample],
        panel: GenePanel,
        min_counts: int = 500,
        seed: int = 0,
        *,
        density: bool = False,
    ) -> Self:
        """Learn from training samples, and make every choice by folds inside them.

        Parameters
        ----------
        samples
            Training samples.
        panel
            Genes to predict.
        min_counts
            Regions with fewer counts over all genes are left out.
        seed
            Seed of a random method. The same seed and number of threads give the same predictions.
        density
            Whether to learn one more column together with the genes, and predict it as the last one:
            log(1 + counts over all genes per 10,000 um^2). Genes are shares, which do not show how much is there.

        Raises
        ------
        DataError
            If fewer than `least_regions` regions have enough counts, or a sample lacks a gene of the panel.
        """
        rows = training_rows(samples, panel, min_counts, density)
        if len(rows.owner) < self.least_regions:
            raise DataError(
                f"{len(rows.owner)} regions of {len(samples)} training samples have {min_counts} counts or more; "
                f"{self.name} needs at least {self.least_regions}. Add samples, or lower min_counts."
            )
        self._fit(rows, seed)
        self._fitted = True
        return self

    def predict(self, slide: Slide, centers_um: ArrayLike) -> NDArray[np.float32]:
        """Predict at points of a slide.

        Parameters
        ----------
        slide
            Any slide.
        centers_um
            x and y of the points in um, shape (n, 2).

        Returns
        -------
        array
            Log-normalised values log(1 + counts per 10,000 of the region), shape (n, g), float32; (n, g + 1) after a
            fit with `density`.

        Raises
        ------
        ModelError
            If `fit` was not called before.
        DataError
            If the points are not finite numbers of shape (n, 2).
        """
        self._check_fitted()
        return np.asarray(self._predict(slide, as_points(centers_um)), np.float32)

    def choices(self) -> dict[str, Any]:
        """Return the settings and, after `fit`, what was chosen: the numbers and words among the public attributes."""
        public = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        plain = {name: value for name, value in public.items() if isinstance(value, bool | int | float | str)}
        return {name: value for name, value in plain.items() if not isinstance(value, float) or math.isfinite(value)}

    def _check_fitted(self) -> None:
        if not self._fitted:
            raise ModelError(f"{type(self).__name__}: call fit before predict.")

    @abstractmethod
    def _fit(self, rows: TrainingRows, seed: int) -> None:
        """Learn from the training regions."""

    @abstractmethod
    def _predict(self, slide: Slide, centers_um: NDArray[np.float64]) -> NDArray[np.floating]:
        """Predict the values (n, g) at points (n, 2)."""


@dataclass(frozen=True)
class TrainingRows:
    """Training regions with enough counts, one row a region, sample after sample.

    Attributes
    ----------
    slides, regions, donors
        Slide, regions with enough counts, and donor of each sample.
    values
        Log-normalised values, shape (n, g); (n, g + 1) with the density.
    owner
        Index of the sample of each region, shape (n,).
    """

    slides: list[Slide]
    regions: list[Regions]
    values: NDArray[np.float64]
    owner: NDArray[np.int64]
    donors: list[str | None]

    @property
    def centers_um(self) -> NDArray[np.float64]:
        """Centres of the regions in um, each in the frame of its own slide, shape (n, 2)."""
        return np.concatenate([regions.centers_um for regions in self.regions])

    def described(self, describe: Callable[[Slide, NDArray[np.float64]], NDArray[_Scalar]]) -> NDArray[_Scalar]:
        """Describe every region by what the slide shows around its centre, shape (n, ...).

        `describe` returns an array (k, ...) for a slide and points (k, 2).
        """
        tables = []
        for slide, regions in zip(self.slides, self.regions, strict=True):
            tables.append(describe(slide, regions.centers_um))
            slide.close()  # an untiled image stays decoded in memory otherwise, one for each sample
        return np.concatenate(tables)


def training_rows(samples: Sequence[Sample], panel: GenePanel, min_counts: int, density: bool = False) -> TrainingRows:
    """Gather the regions with at least `min_counts` counts; parameters and errors are those of `Baseline.fit`."""
    values, regions = [np.empty((0, len(panel) + density))], []
    for sample in samples:
        enough = enough_counts(sample, min_counts)
        total = sample.depth[enough]
        regions.append(sample.regions.take(enough))
        columns = [normalise(panel_counts(sample, panel)[enough], total)]
        if density:
            columns.append(normalise(total[:, None], regions[-1].areas_um2))
        values.append(np.hstack(columns).astype(np.float64))
    owner = np.repeat(np.arange(len(samples)), [len(table) for table in regions])
    slides = [sample.slide for sample in samples]
    return TrainingRows(slides, regions, np.concatenate(values), owner, [sample.donor for sample in samples])


def as_points(centers_um: ArrayLike) -> NDArray[np.float64]:
    """Return points as an array (n, 2); raise `DataError` if they are not finite numbers of that shape."""
    points = np.asarray(centers_um, np.float64)
    shaped = points.ndim == 2 and points.shape[1] == 2
    if not shaped or not np.isfinite(points).all():
        problem = "NaN or infinity" if shaped else f"shape {points.shape}"
        raise DataError(f"centers_um must be finite numbers in um of shape (n, 2); got {problem}.")
    return points


def inner_folds(rows: TrainingRows) -> NDArray[np.int64]:
    """Return the fold inside training that each region belongs to, shape (n,); see `held_out_parts`."""
    return held_out_parts(rows.donors, rows.owner, rows.centers_um)


def inner_scores(
    rows: TrainingRows, choices: Iterable[_Choice], predictions: Callable[[Mask], Iterable[NDArray[np.floating]]]
) -> dict[_Choice, float]:
    """Return the mean correlation over genes (PCC@M) of each choice on regions that were left out, averaged over folds.

    `predictions` is called with the regions that are left out, shape (n,). It fits to the others, and yields for each
    of the choices in turn the values that it predicts for the regions left out, shape (k, g).
    """
    fold = inner_folds(rows)
    parts = np.unique(fold)
    total = np.zeros(1)
    for part in parts:
        left_out = fold == part
        observed = rows.values[left_out]
        total = total + np.array([correlation(observed, p).mean() / len(parts) for p in predictions(left_out)])
    return dict(zip(choices, total.tolist(), strict=True))


def best(scores: Mapping[_Choice, float]) -> _Choice:
    """Return the choice with the highest score; the first of several equal ones."""
    return max(scores, key=lambda choice: scores[choice])


class Standardiser:
    """Subtracts the training mean of each feature (n, f) and divides by its deviation; a constant feature becomes zero.

    `groups` are sizes of groups of features, in order. Each group is given the same weight: its squares sum to one on
    average. By default every feature has variance one.
    """

    def __init__(self, features: NDArray[np.floating], groups: Sequence[int] | None = None) -> None:
        x = features.astype(np.float64)
        self._mean = x.mean(axis=0)
        spread = x.std(axis=0)
        # A feature that hardly differs from its mean varies by float32 rounding alone; standardised, it would be noise.
        usable = spread > 1e-5 * np.abs(self._mean)
        weight = 1.0 if groups is None else np.sqrt(np.repeat(groups, groups))
        self._scale = np.divide(1.0, spread * weight, out=np.zeros_like(spread), where=usable)

    def __call__(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return features (n, f) on that scale."""
        result: NDArray[np.float64] = (features - self._mean) * self._scale
        return result
