"""What a GPU makes of PixNet, in ten minutes: the same results as a CPU, the same ones twice, and how fast.

`python -m benchmarks.speed.gpu --out gpu.json` runs one check after another, as long as `--budget` seconds last, and
writes after each what was found, so a kill loses nothing. It needs no network: all weights are random. `--quick
--device cpu` is a dry run with small sizes, whose figures mean nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from pixnet import PixNet
from pixnet.config import Config
from pixnet.errors import PixNetError
from pixnet.features.store import StoredFeatures
from pixnet.field import ExpressionField
from pixnet.model.stored import Extraction, extract
from pixnet.network.heads import integrate, to_torch
from pixnet.network.network import Network
from pixnet.sample import Sample
from pixnet.slide import Slide
from pixnet.training import loop
from pixnet.virtual import VirtualTissue, spots

_FOUNDATION = ("h0-mini", "uni2-h", "h-optimus-0", "virchow2")

Found = dict[str, Any]


class Bench:
    """The checks, on one device; `quick` takes small sizes."""

    def __init__(self, device: str, quick: bool, folder: Path) -> None:
        self.device = device
        self.quick = quick
        self.folder = folder
        side = 500.0 if quick else 1200.0
        self.samples = [_sample(seed, side) for seed in (1, 2)]

    def checks(self) -> dict[str, Callable[[], Found]]:
        """Return the checks by name, the most telling first."""
        return {
            "environment": self.environment,
            "integral": self.integral,
            "training": self.training,
            "prediction": self.prediction,
            "encoders": self.encoders,
            "features": self.features,
        }

    def environment(self) -> Found:
        """Say what the figures were measured on."""
        name = torch.cuda.get_device_name() if self.device == "cuda" else "CPU"
        return {"torch": torch.__version__, "device": name, "threads": torch.get_num_threads()}

    def integral(self) -> Found:
        """Compare the integral over regions with that in double precision, and its gradient with itself."""
        tiles, side, regions, each = 32, 52, 60, 2000
        rng = np.random.default_rng(0)
        rows, cols = np.repeat(np.arange(regions), each), rng.integers(0, tiles * side**2, regions * each)
        area = sparse.csr_array((rng.random(len(rows)), (rows, cols)), shape=(regions, tiles * side**2))
        latent, coverage = torch.rand(tiles, 32, side, side), to_torch(area).to(self.device)
        exact = area @ latent.permute(0, 2, 3, 1).reshape(-1, 32).double().numpy()
        values, gradients = [], []
        for _ in range(3):
            given = latent.to(self.device).requires_grad_(True)
            value = integrate(given, coverage)
            value.square().sum().backward()
            values.append(value.detach().cpu())
            gradients.append(given.grad.cpu())  # type: ignore[union-attr]
        return {
            "largest error": float(np.abs(values[0].numpy() - exact).max() / np.abs(exact).max()),
            "the same values thrice": all(torch.equal(values[0], other) for other in values),
            "the same gradients thrice": all(torch.equal(gradients[0], other) for other in gradients),
        }

    def training(self) -> Found:
        """Train twice, once more with an interruption, and a few steps on the CPU."""
        steps = 4 if self.quick else 60
        first, seconds = self._trained("first", steps)
        second, again = self._trained("second", steps)
        found: Found = {
            "the same weights twice": _hash(first) == _hash(second),
            "seconds a step, features stored": again / steps,
            "seconds for features": seconds - again,
            "peak GiB": self._peak(),
        }
        with _checkpoint_after_each_step():
            try:
                self._trained("broken", steps, progress=_stop_at(steps // 2))
            except InterruptedError:
                resumed, _ = self._trained("broken", steps, resume=True)
                found["the same weights after an interruption"] = _hash(resumed) == _hash(first)
        few, _ = self._trained("few", 4)
        slow, _ = self._trained("cpu", 4, device="cpu")
        losses = [float(model.metrics[-1]["loss"]) for model in (few, slow)]
        return found | {"loss after 4 steps, here and on the CPU": losses}

    def prediction(self) -> Found:
        """Predict a slide here, again, in small blocks and on the CPU; then a large one, as fast as it goes."""
        model, _ = self._trained("predicting", 4)
        slide = self.samples[0].slide
        here, again, cut = (
            self._predicted(model, slide, name, core=core) for name, core in (("a", None), ("b", None), ("c", 256))
        )
        there = self._predicted(model, slide, "d", device="cpu")
        largest = np.abs(there).max()
        found: Found = {
            "the same field twice": bool(np.array_equal(here, again)),
            "largest difference to blocks of 256": float(np.abs(here - cut).max() / largest),
            "largest difference to the CPU": float(np.abs(here - there).max() / largest),
        }
        pixels, _ = slide.read_box(_whole(slide), 1.0)
        side = 800 if self.quick else 8192
        repeats = -(-side // min(pixels.shape[:2]))
        large = Slide.from_array(np.tile(pixels, (repeats, repeats, 1))[:side, :side], 1.0, "large")
        for workers in (1, 4):
            start = time.perf_counter()
            self._predicted(model, large, "large", workers=workers)
            rate = side**2 / 1e6 / (time.perf_counter() - start)
            found[f"megapixels a second, {workers} readers"] = round(rate, 2)
        return found | {"peak GiB": self._peak()}

    def encoders(self) -> Found:
        """Count the windows a second of foundation encoders in their true shape."""
        found: Found = {}
        for name in ("dinov2-s",) if self.quick else _FOUNDATION:
            encoder = Network(_encoder_config(name).network, 1).to(self.device).eval().encoder
            windows = 3 if self.quick else 8
            side = encoder.window + (windows - 1) * encoder.step  # type: ignore[attr-defined]
            image = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8, device=self.device)
            with torch.inference_mode():
                encoder(image)
                seconds = self._seconds(lambda encoder=encoder, image=image: encoder(image))
            found[name] = {"windows a second": round(windows**2 / seconds, 1), "peak GiB": self._peak()}
        return found

    def features(self) -> Found:
        """Store the features of a slide, as `pixnet features`."""
        config = _encoder_config("dinov2-s" if self.quick else "uni2-h")
        network = Network(config.network, 1).to(self.device).eval()
        pixels, _ = self.samples[0].slide.read_box(_whole(self.samples[0].slide), 1.0)
        side = 300 if self.quick else 4096
        repeats = -(-side // min(pixels.shape[:2]))
        slide = Slide.from_array(np.tile(pixels, (repeats, repeats, 1))[:side, :side], config.network.mpp, "tissue")
        training = config.training.model_copy(update={"views": 1})
        start = time.perf_counter()
        extract([Extraction(slide)], StoredFeatures(network, self.folder / "features"), training)
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in (self.folder / "features").rglob("blocks"))
        return {
            "megapixels a second": round(side**2 / 1e6 / seconds, 2),
            "bytes a pixel": round(size / side**2, 1),
            "hours for 20 x 20 mm of tissue": round(seconds * (20_000 / config.network.mpp / side) ** 2 / 3600, 2),
            "peak GiB": self._peak(),
        }

    def _trained(self, name: str, steps: int, device: str | None = None, **options: Any) -> tuple[PixNet, float]:
        training = {"steps": steps, "tiles": 4 if self.quick else 32, "views": 1, "evaluate_every": 2}
        config = {"network": {"encoder": {"weights": "random"}}, "training": training, "genes": {"number": 50}}
        start = time.perf_counter()
        model = PixNet(Config.from_dict(config))
        cache = self.folder / f"cache-{device or self.device}"
        model.fit(self.samples, work=self.folder / name, cache=cache, device=device or self.device, **options)
        return model, time.perf_counter() - start

    def _predicted(
        self, model: PixNet, slide: Slide, name: str, device: str | None = None, **options: Any
    ) -> NDArray[np.float32]:
        out = self.folder / f"{name}.field"
        options |= {"tissue_mask": False, "overwrite": True, "dtype": "float32"}
        field: ExpressionField = model.predict(slide, out, device=device or self.device, **options)
        return field.read()[0] if slide.shape[0] < 3000 else np.empty(0, np.float32)

    def _seconds(self, work: Callable[[], object], repeats: int = 3) -> float:
        self._synchronise()
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        self._synchronise()
        return (time.perf_counter() - start) / repeats

    def _synchronise(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _peak(self) -> float:
        """Return the most memory of the GPU since the last call, in GiB."""
        if self.device != "cuda":
            return 0.0
        peak = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
        return round(peak, 2)


def main() -> None:
    """Run the checks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.gpu", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that it runs")
    parser.add_argument("--budget", type=float, default=520.0, metavar="SECONDS", help="begin no check after these")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where to write what was found")
    options = parser.parse_args()
    begun, results = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.device, options.quick, Path(folder))
        for name, check in bench.checks().items():
            if time.monotonic() - begun > options.budget:
                results[name] = {"skipped": "no time was left"}
                continue
            start = time.monotonic()
            try:
                results[name] = check()
            except (PixNetError, RuntimeError, ValueError) as error:  # the other checks are worth running all the same
                results[name] = {"failed": f"{type(error).__name__}: {error}"}
            results[name]["seconds"] = round(time.monotonic() - start, 1)
            print(name, json.dumps(results[name], indent=1), flush=True)
            if options.out:
                options.out.write_text(json.dumps(results, indent=1) + "\n")


def _sample(seed: int, side_um: float) -> Sample:
    tissue = VirtualTissue.generate("breast", seed, seed, side_um, side_um)
    return tissue.measure(spots(side_um, side_um, 60.0, 80.0), seed)


def _encoder_config(name: str) -> Config:
    return Config.from_dict({"network": {"encoder": {"name": name, "weights": "random"}}})


def _whole(slide: Slide) -> Any:
    from pixnet.grid import Box

    return Box(0, 0, *slide.shape)


def _hash(model: PixNet) -> str:
    """Return a hash of all weights."""
    digest = hashlib.sha256()
    for value in model.network.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _checkpoint_after_each_step() -> Iterator[None]:
    before, loop._CHECKPOINT_SECONDS = loop._CHECKPOINT_SECONDS, -1.0
    try:
        yield
    finally:
        loop._CHECKPOINT_SECONDS = before


def _stop_at(step: int) -> Callable[[str, int, int, str], None]:
    def report(stage: str, done: int, total: int, words: str) -> None:
        if stage == "fit" and done == step:
            raise InterruptedError

    return report


if __name__ == "__main__":
    main()
