"""Settings of a training: read from TOML, written in full into the model card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

if TYPE_CHECKING:
    from pixnet.slide import Slide
    from pixnet.slide.glass import Glass

METHOD_VERSION = 1
"""Version of the training. Raise it when the same samples, settings and seed lead to other numbers: stored runs are
then computed again, and a training that began before cannot be resumed."""


class TrainingConfig(BaseModel):
    """The settings of one training; docs/reference/settings.md lists all of them.

    Attributes
    ----------
    steps
        Steps of the optimiser; with a validation part, the most that the search for the best number tries.
    tiles, tile_um
        Tiles in a step, each around a measured region drawn at random, and the side of a tile's core in um; widened
        where a region would not fit.
    loss
        First term: `"squared"` error of log-normalised expression (as in the paper; for the head `rate`, of its
        expectation), or `"poisson"` or `"negative-binomial"` for counts (head `rate` only).
    counts
        Expected counts of the count likelihoods: `"share"` of the region's measured total, or `"capture"`, the integral
        times a factor learned for each sample.
    loss_weight, pcc_weight
        Weights of the first term and of the correlation term (the paper's lambda). Training on the correlation (and the
        total) alone leaves the level of each gene to chance.
    depth_weight
        Weight of the squared error of the log total of a region's counts (head `rate`), which teaches where there is
        much expression and where little. Not used where a likelihood predicts the counts themselves (`counts =
        "capture"`); otherwise 0 leaves the level of all counts to chance.
    within_samples
        Learn how log-normalised values differ within a sample: the mean of each sample is subtracted from predicted and
        measured values, as far as its regions in a batch determine it. Differences between whole samples are then
        learned from the count likelihoods and the total only.
    denoise
        Learn log-normalised values from the components of expression that rise above the counting noise, rather than
        gene by gene; counts stay as they are. See `pixnet.training.components`.
    linear_share
        Share of the linear path (head `rate`) in the programs' shares. By default the best for the samples that are
        left out where a score on new samples is estimated, otherwise 0.
    head_lr
        Learning rate of the head, as a multiple of `lr`. At the decoder's own rate the predictions' contrast grows
        slower than their correlation, and at the end of training all of them would be too near the mean.
    warmup
        Steps over which the learning rate rises; after them it falls along a cosine.
    ema
        Decay of the running mean of the weights, which validation scores and the model keeps; 0 keeps the last weights.
    views
        Views of each slide: the slide as it is, then turns and flips with a jitter of the stain. While the encoder is
        frozen their features are computed once and cached on disk. 0: a new view for each tile, computed when needed.
    stain_jitter
        Standard deviation of the stain's strength, relative to one.
    min_counts
        Regions with fewer counts over all genes are left out.
    validation
        `"none"`: train on everything for all `steps`. The others search for the number of steps on a part that is held
        out, see `pixnet.training.targets.split`.
    evaluate_every, patience
        Steps from one validation, or row of metrics, to the next, and validations without a gain after which a search
        stops.
    refit
        After a search, train again on all regions for the chosen number of steps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    # The bounds lie far beyond what trains: a slip of the pen must not ask for any amount of memory or time.
    steps: int = Field(400, gt=0, le=10_000_000)
    tiles: int = Field(32, gt=0, le=4096)
    tile_um: float = Field(104.0, gt=0.0, le=10_000.0)
    loss: Literal["squared", "poisson", "negative-binomial"] = "squared"
    counts: Literal["share", "capture"] = "share"
    loss_weight: float = Field(1.0, ge=0.0, le=1e4)
    pcc_weight: float = Field(0.5, ge=0.0, le=1e4)
    depth_weight: float = Field(2.0, ge=0.0, le=1e4)
    within_samples: bool = True
    denoise: bool = True
    linear_share: float | None = Field(None, ge=0.0, le=1.0)
    lr: float = Field(4e-3, gt=0.0, le=10.0)
    head_lr: float = Field(12.0, gt=0.0, le=1e4)
    weight_decay: float = Field(1e-4, ge=0.0, le=100.0)
    warmup: int = Field(20, ge=0, le=10_000_000)
    ema: float = Field(0.98, ge=0.0, lt=1.0)
    views: int = Field(2, ge=0, le=1000)
    stain_jitter: float = Field(0.1, ge=0.0, le=10.0)
    white_balance: bool = True
    min_counts: int = Field(500, ge=0, lt=2**53)
    validation: Literal["none", "auto", "sample", "block"] = "none"
    evaluate_every: int = Field(25, gt=0, le=10_000_000)
    patience: int = Field(16, gt=0, le=10_000_000)
    refit: bool = True
    seed: int = Field(0, ge=0, lt=2**32)

    @model_serializer(mode="wrap")
    def _without_open_choice(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Keys of runs are made of what is set.
        values: dict[str, Any] = handler(self)
        return values if self.linear_share is not None else {k: v for k, v in values.items() if k != "linear_share"}

    def glass(self, slide: Slide) -> Glass:
        """Return the colour of a slide's glass that is corrected to white; white itself without `white_balance`."""
        from pixnet.slide.glass import WHITE_GLASS, Glass

        return Glass.from_slide(slide) if self.white_balance else WHITE_GLASS
