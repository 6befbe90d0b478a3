"""The model of PixNet: it trains, predicts, saves and loads."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pixnet.config import Config
from pixnet.digest import digest, file_digest
from pixnet.errors import DataError, ModelError, SlideError, first_line
from pixnet.field import BuildOptions, ExpressionField, LatentSource, LinearHead, PredictOptions, build_field
from pixnet.field.build.tile import TileImages
from pixnet.files import check_place, writing_beside
from pixnet.model.blocks import fitting_core, seam_error
from pixnet.model.card import UNITS, is_model, make_card, read_card
from pixnet.model.expected import expected_score
from pixnet.model.stored import latent_from
from pixnet.network.device import choose_device
from pixnet.sample.genes import join_genes
from pixnet.sample.panel import choose_panel
from pixnet.slide.pixel_size import COARSEST

if TYPE_CHECKING:
    from pixnet.network.network import Network
    from pixnet.sample import Sample
    from pixnet.slide import Slide
    from pixnet.training.fit import Progress


class PixNet:
    """A model of gene expression from H&E images.

    Parameters
    ----------
    config
        Settings of the network, the training and the genes; the preset `small` by default.

    Attributes
    ----------
    card : dict
        Description of the model: the content of `card.json`.
    metrics : list of dict
        Metrics of the training, one row per validation step.

    Examples
    --------
    >>> model = PixNet().fit(samples)                                        # doctest: +SKIP
    >>> field = model.predict(Slide.open("slide.svs"), out="slide.field")    # doctest: +SKIP
    >>> field.query(Squares.tiling(0, 0, 2000, 2000, side_um=8.0))           # doctest: +SKIP
    """

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.card: dict[str, Any] = {}
        self.metrics: list[dict[str, float | str]] = []
        self._network: Network | None = None
        self._features: Path | None = None  # folder of features that take the encoder's place

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of the genes that the model predicts; empty before it is trained."""
        return tuple(self.card.get("genes", ()))

    @property
    def network(self) -> Network:
        """The trained torch module.

        Raises
        ------
        ModelError
            If the model has not been trained.
        """
        if self._network is None:
            raise ModelError("this model has not been trained; call `fit`, or load a trained model.")
        return self._network

    def fit(
        self,
        samples: Sequence[Sample],
        *,
        work: str | Path | None = None,
        cache: str | Path | None = None,
        features: str | Path | None = None,
        device: str = "auto",
        resume: bool = False,
        overwrite: bool = False,
        estimate: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """Train on samples.

        Parameters
        ----------
        samples
            Slides with measured regions. All choices, such as genes and scales, are made from these alone.
        work
            Folder for checkpoints and metrics. By default a temporary folder, so the training cannot be resumed.
        cache
            Folder where the features of a frozen encoder are kept; several trainings may share it.
        features
            Folder of features that `pixnet features` made. They are read, and the encoder's weights are not needed.
        device
            `"auto"`, `"cpu"` or `"cuda"`.
        resume
            Whether to continue from the checkpoints in `work`.
        overwrite
            Whether to throw away an unfinished training in `work` that is not resumed.
        estimate
            Whether to train up to three more times afterwards, without some donors each, to estimate the score on new
            ones; see `expected` in the card.
        progress
            Called with the name of a stage, the work done, the total work and a short text.

        Raises
        ------
        DataError, SlideError, ModelError
            If the samples cannot be trained on, the loss does not remain finite, or `work` cannot be written, holds
            another unfinished training, or is used by another process.
        """
        from pixnet.training.fit import FitOptions, fit_network
        from pixnet.training.work import working_in

        if not samples:
            raise DataError("`fit` needs at least one sample; the manifest or the selection is empty.")
        for sample in samples:
            self._check_resolution(sample.slide)
        genes, training = self.config.genes, self.config.training
        samples = join_genes(samples)
        panel = choose_panel(
            samples, genes.names or genes.number, genes.rule, training.min_counts, measured_in=genes.measured_in
        )
        with tempfile.TemporaryDirectory(prefix="pixnet-") as temporary, working_in(Path(work or temporary)) as folder:
            options = FitOptions(
                folder,
                cache=Path(cache) if cache else None,
                features=Path(features) if features else None,
                device=choose_device(device),
                resume=resume,
                overwrite=overwrite,
                progress=progress or (lambda *_: None),
            )
            fitted = fit_network(samples, panel, self.config.network, training, options)
            self._network, self.metrics, self._features = fitted.network, fitted.metrics, options.features
            self.card = make_card(self.config, samples, panel, fitted)
            if estimate:
                self.card["expected"] = expected_score(samples, panel, self.config, options)
                self._take_linear_share(self.card["expected"].get("linear_share"))
        return self

    def predict(
        self,
        slide: Slide,
        out: str | Path,
        *,
        core: int | None = None,
        device: str = "auto",
        **options: Unpack[PredictOptions],
    ) -> ExpressionField:
        """Predict the dense expression field of a slide.

        Parameters
        ----------
        slide
            Any H&E slide; only the image is used.
        out
            Folder of the field's Zarr store.
        core
            Side of a block in pixels of the working resolution; changes speed and memory, not the field. By default
            2048, or less if the encoder's features of such a block would take more than 1 GB.
        device
            `"auto"`, `"cpu"` or `"cuda"`.
        options
            `dtype`, `tissue_mask`, `workers`, `resume`, `overwrite`, `progress`, as in `pixnet.field.PredictOptions`.

        Raises
        ------
        SlideError
            If the slide is coarser than 1.5 times the model's working resolution.
        FieldError
            If `out` exists; for other reasons see `pixnet.field.build_field`.
        """
        from pixnet.network.encoders.base import as_image

        self._check_resolution(slide)
        chosen_device = choose_device(device)
        network = self.network.for_prediction(chosen_device)
        if self._features is not None:
            build = BuildOptions(core=core or fitting_core(network), **options)
            read, key = latent_from(self._features, network, slide, self.config.training, build.tissue_mask)
            lattice = network.lattice(slide)
            source = LatentSource(lattice, network.strides[0], read, self._linear_head(), self.card, features=key)
            return build_field(slide, source, out, build)
        lattice = network.lattice(slide)
        glass = self.config.training.glass(slide)

        def latent(images: TileImages) -> NDArray[np.float32]:
            near, *far = (
                as_image(glass.whiten(rgb)).to(chosen_device) for rgb in (images.near, images.far) if rgb is not None
            )
            at = images.core.row, images.core.col
            return network.latent(near, far[0] if far else None, at).cpu().numpy()

        # The layers of a convolutional encoder say how far it sees; of a transformer the seams are measured.
        seams = partial(seam_error, network, lattice, slide, latent) if network.encoder.window else None
        source = LatentSource(lattice, network.strides[0], latent, self._linear_head(), self.card, seams)
        return build_field(slide, source, out, BuildOptions(core=core or fitting_core(network), **options))

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the model to a folder, `model.safetensors`, `card.json` and `metrics.csv`, and return its path.

        The folder appears when it is complete. The weights of a frozen encoder that others published are not written,
        since their licence may forbid it; the card holds their hash.

        Raises
        ------
        ModelError
            If the folder exists and `overwrite` is not set, or if it is not a model folder. Only that is overwritten.
        """
        from safetensors.torch import save_file

        from pixnet.training.fit import write_metrics

        path = Path(path)
        check_place(path, ModelError, what="a model folder", replaceable=is_model, overwrite=overwrite)
        state = {key: value.detach().cpu().contiguous() for key, value in self.network.state_dict().items()}
        if not self.card["encoder"]["inside"]:
            state = {key: value for key, value in state.items() if not key.startswith("encoder.")}
        with writing_beside(path, ModelError) as unfinished:
            unfinished.mkdir()
            weights = unfinished / "model.safetensors"
            save_file(state, weights)
            weights.chmod(
                unfinished.stat().st_mode & 0o666
            )  # as the umask has it; safetensors lets only the owner read
            card = {**self.card, "weights_sha256": file_digest(weights), "metrics": self.metrics}
            card["card_sha256"] = digest(card)  # an edited gene name or unit is noticed by it
            write_metrics(unfinished / "metrics.csv", self.metrics)
            (unfinished / "card.json").write_text(json.dumps(card, indent=1) + "\n")
        return path

    @classmethod
    def load(
        cls,
        path: str | Path,
        encoder_weights: str | Path | None = None,
        *,
        download: bool = False,
        features: str | Path | None = None,
    ) -> Self:
        """Load a model from a folder. Nothing in it is unpickled or executed.

        Parameters
        ----------
        path
            The folder.
        encoder_weights
            File or folder with the weights of a published encoder, which are not in the model's folder. By default they
            are looked for where they were in training, and then in the hub's cache on this computer.
        download
            Whether a published encoder that is not on this computer is fetched from the hub. A model may come from
            anybody, and names what it wants fetched.
        features
            Folder of features that `pixnet features` made: slides are predicted from them, without the encoder.

        Raises
        ------
        ModelError
            If a file is missing, was altered or has another format version, or if the weights of a published encoder
            cannot be had, or if they or the features are not those that the model was trained with.
        """
        from pixnet.network.encoders.sources import without_network

        path = Path(path)
        card = read_card(path)
        if not download:
            with without_network():
                return cls._loaded(path, card, encoder_weights, features)
        return cls._loaded(path, card, encoder_weights, features)

    @classmethod
    def _loaded(
        cls, path: Path, card: dict[str, Any], encoder_weights: str | Path | None, features: str | Path | None
    ) -> Self:
        from pixnet.features.store import stored_encoder
        from pixnet.network.encoders.weights import encoder_hash, read_safetensors
        from pixnet.network.network import Network
        from pixnet.network.shapes import check_weights

        weights = path / "model.safetensors"
        if not weights.is_file():
            raise ModelError(f"{weights}: is missing; a model folder holds model.safetensors and card.json.")
        if file_digest(weights) != card.get("weights_sha256"):
            raise ModelError(f"{weights}: is not the file that card.json was written with; copy the folder again.")
        try:
            model = cls(Config.model_validate(card["config"]))
            network_config = model.config.network
            inside, encoder = card["encoder"]["inside"], network_config.encoder
            if inside:
                # The weights are in the folder, so the file that they came from is not needed.
                encoder = encoder.model_copy(update={"weights": "random"})
            elif encoder_weights is not None:
                encoder = encoder.model_copy(update={"weights": str(encoder_weights)})
            elif encoder.weights != "pretrained" and not Path(encoder.weights).exists():
                # It was a file of another computer.
                encoder = encoder.model_copy(update={"weights": "pretrained"})
            check_weights(weights, network_config, card["outputs"], inside)
            name, expected = card["encoder"]["name"], card["encoder"]["sha256"]
            absent = stored_encoder(network_config, Path(features), expected) if features is not None else None
            network = Network(network_config.model_copy(update={"encoder": encoder}), card["outputs"], absent)
            state = read_safetensors(weights)
            for tensor, values in state.items():
                if not values.isfinite().all():
                    raise RuntimeError(f"{tensor} holds values that are not finite")
            if absent is not None:
                state = {key: value for key, value in state.items() if not key.startswith("encoder.")}
            (network if inside and absent is None else network.trained).load_state_dict(state)
        except (ValidationError, KeyError, TypeError, RuntimeError) as error:
            if "reassembly." in str(error):
                raise ModelError(
                    f"{path}: has a transformer as encoder and is of an earlier version; train the model again."
                ) from error
            raise ModelError(
                f"{path}: card and weights do not fit each other ({first_line(error)}); copy the folder again."
            ) from error
        actual = encoder_hash(network.encoder)
        if actual != expected:
            raise ModelError(
                f"{path}: was trained with encoder {name} of hash {expected[:12]}, but the encoder on this machine has "
                f"hash {actual[:12]}; fetch the same version of it."
            )
        model.metrics = card.pop("metrics", [])
        model.card, model._network = card, network.eval()
        model._features = None if features is None else Path(features)
        return model

    def _take_linear_share(self, share: float | None) -> None:
        """Use the share of the linear path that was best for left-out samples, if that is known and none was given."""
        given = self.config.training.linear_share
        if share is not None and given is None and self.network.linear is not None:
            self.network.linear.share.fill_(share)

    def _linear_head(self) -> LinearHead:
        weight, bias = (t.detach().cpu().numpy() for t in self.network.head.linear())
        kind = self.network.head.kind
        names = (*self.genes, "other") if kind == "rate" else self.genes
        return LinearHead(kind, names, weight, bias, UNITS[kind])

    def _check_resolution(self, slide: Slide) -> None:
        mpp = self.config.network.mpp
        if slide.mpp > COARSEST * mpp:
            raise SlideError(
                f"{slide.path or slide.name}: its finest resolution is {slide.mpp:.3g} um/px (from "
                f"{slide.mpp_source}), too coarse for a model working at {mpp:g} um/px (at most {COARSEST * mpp:g}). "
                "Use a finer scan, or give the right `mpp` if this one is wrong."
            )
