"""How a network is trained: read from TOML, written whole into the model card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from pixnet.slide import Slide
    from pixnet.slide.glass import Glass

METHOD_VERSION = 1
"""Version of the trained network. Raise it when the same samples, settings and seed lead to other numbers: runs that
are stored are then computed again, and a training that was begun before cannot be resumed."""


class TrainingConfig(BaseModel):
    """The settings of one training run.

    Attributes
    ----------
    steps
        Steps of the optimiser; at most so many where `validation` searches for a better number.
    tiles
        Tiles in a step. Each is placed around a measured region drawn at random.
    tile_um
        Side of a tile's core, in um; widened where a region would not fit.
    loss
        First term: `"squared"` error of log-normalised expression (the paper's; of the head `rate`, of its
        expectation), or `"poisson"` or `"negative-binomial"` for counts (head `rate` only).
    counts
        What the count likelihoods expect: `"share"` of the region's measured total, or `"capture"`: the integral
        times a factor learned for each sample.
    loss_weight
        Weight of the first term. 0 trains on the correlation (and the total) alone, which leaves the genes' levels to
        chance.
    pcc_weight
        Weight of the correlation term (the paper's lambda).
    depth_weight
        Weight of the squared error of the log total of a region's counts (head `rate`), which teaches where there is
        much and where little. Left out where a likelihood expects the counts themselves (`counts = "capture"`);
        otherwise 0 leaves the level of all counts to chance.
    within_samples
        Learn log-normalised values as they differ within a sample: a sample's own mean is taken off what is predicted
        and measured, as far as its regions in a batch tell it. What tells samples apart as wholes is then learned by
        none but the count likelihoods and the total.
    denoise
        Learn log-normalised values from the components of expression that stand above the counting noise, rather than
        gene by gene; counts stay as they are. See `pixnet.training.components`.
    lr, weight_decay
        Of AdamW.
    head_lr
        Learning rate of the head, as a multiple of `lr`. At the decoder's own rate the predictions' contrast grows
        slower than their correlation, and training would end with all of them too near the mean.
    warmup
        Steps over which the learning rate rises; after them it falls along a cosine.
    ema
        Decay of the running mean of the weights, which is what is validated and kept; 0 keeps the last weights.
    views
        Views of each slide: the slide as it lies, then turns and flips with a jitter of the stain. Their features are
        computed once and kept on disk while the encoder is frozen. 0: a fresh view for each tile, on the fly.
    stain_jitter
        Standard deviation of the stain's strength, relative to one.
    white_balance
        See each slide as if its glass were white, in predicting too.
    min_counts
        Regions with fewer counts in all are left out.
    validation
        `"none"`: train on everything for all `steps`. The others search for the number of steps on a part that is held
        out. `"sample"`: the training samples of a donor, or one sample where all are of one donor; `"block"`: a
        quarter of each as one spatial block; `"auto"`: `"sample"` where there are three samples or more.
    evaluate_every
        Steps between looks at the validation part, and between the rows of the training's metrics.
    patience
        Looks without gain after which a search stops.
    refit
        After a search, train anew on all regions for the chosen number of steps.
    seed
        Everything random follows from it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int = Field(400, gt=0)
    tiles: int = Field(32, gt=0)
    tile_um: float = Field(104.0, gt=0.0)
    loss: Literal["squared", "poisson", "negative-binomial"] = "squared"
    counts: Literal["share", "capture"] = "share"
    loss_weight: float = Field(1.0, ge=0.0)
    pcc_weight: float = Field(0.5, ge=0.0)
    depth_weight: float = Field(2.0, ge=0.0)
    within_samples: bool = True
    denoise: bool = True
    lr: float = Field(4e-3, gt=0.0)
    head_lr: float = Field(12.0, gt=0.0)
    weight_decay: float = Field(1e-4, ge=0.0)
    warmup: int = Field(20, ge=0)
    ema: float = Field(0.98, ge=0.0, lt=1.0)
    views: int = Field(2, ge=0)
    stain_jitter: float = Field(0.1, ge=0.0)
    white_balance: bool = True
    min_counts: int = Field(500, ge=0)
    validation: Literal["none", "auto", "sample", "block"] = "none"
    evaluate_every: int = Field(25, gt=0)
    patience: int = Field(16, gt=0)
    refit: bool = True
    seed: int = Field(0, ge=0)

    def glass(self, slide: Slide) -> Glass:
        """Give the glass that a slide is seen on: its own where that is made white, or white."""
        from pixnet.slide.glass import WHITE_GLASS, Glass

        return Glass.from_slide(slide) if self.white_balance else WHITE_GLASS
