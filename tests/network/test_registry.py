"""The encoders of the registry: their shapes, their facts, and weights in the layouts of their publishers."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from pixnet.config import Config
from pixnet.errors import ModelError
from pixnet.network.config import EncoderConfig, NetworkConfig
from pixnet.network.encoders.make import make_encoder
from pixnet.network.encoders.registry import Definition, definitions
from pixnet.network.encoders.sources import check_hash, check_weights, locate
from pixnet.network.encoders.transformer import TransformerEncoder
from pixnet.network.encoders.weights import weights_hash
from pixnet.network.network import Network

SHAPES = {  # window, patch, channels, blocks, prefix tokens; mean of red as published
    "uni": (224, 16, 1024, 24, 1, 0.485),
    "uni2-h": (224, 14, 1536, 24, 9, 0.485),
    "h-optimus-0": (224, 14, 1536, 40, 5, 0.707223),
    "h-optimus-1": (224, 14, 1536, 40, 5, 0.707223),
    "virchow": (224, 14, 1280, 32, 1, 0.485),
    "virchow2": (224, 14, 1280, 32, 5, 0.485),
    "phikon": (224, 16, 768, 12, 1, 0.485),
    "phikon-v2": (224, 16, 1024, 24, 1, 0.485),
    "midnight-12k": (224, 14, 1536, 40, 1, 0.5),
    "conch-v1.5": (448, 16, 1024, 24, 1, 0.485),
    "gigapath": (224, 16, 1536, 40, 1, 0.485),
    "h0-mini": (224, 14, 768, 12, 5, 0.707223),
    "hibou-b": (224, 14, 768, 12, 5, 0.7068),
    "hibou-l": (224, 14, 1024, 24, 5, 0.7068),
}


@pytest.mark.parametrize("name", definitions())
def test_every_entry_has_the_shape_that_its_publisher_states(name: str) -> None:
    known = definitions()[name]
    with torch.device("meta"):
        encoder = make_encoder(EncoderConfig(name=name, weights="random", finest=4, stride=32))
    assert isinstance(encoder, TransformerEncoder)
    parameters = sum(value.numel() for value in encoder.parameters()) / 1e6
    assert parameters == pytest.approx(known.parameters, abs=0.1)
    assert known.hub.count("/") == 1
    assert known.licence
    assert known.sha256 == "" or re.fullmatch("[0-9a-f]{64}", known.sha256)
    if name in SHAPES:
        model = encoder.model
        shape = (encoder.window, encoder.patch, encoder.channels[0], len(model.blocks), model.num_prefix_tokens)
        assert (*shape, known.mean[0]) == SHAPES[name]


def test_a_name_alone_brings_resolution_and_strides() -> None:
    network = Config.from_dict({"network": {"encoder": {"name": "uni2-h"}}}).network
    assert (network.mpp, network.encoder.finest, network.encoder.stride, network.pitch_um) == (0.5, 4, 32, 2.0)
    assert network.encoder.definition == definitions()["uni2-h"]
    assert network == Config(network=NetworkConfig().with_encoder("uni2-h")).network
    paper = Config.from_dict({"preset": "paper", "network": {"encoder": {"name": "uni2-h"}}}).network
    assert (paper.mpp, paper.encoder.strides, paper.pitch_um) == (0.5, (2, 4, 8, 16, 32, 64), 1.0)
    own = Config.from_dict({"network": {"mpp": 1.0, "encoder": {"name": "uni2-h"}}}).network
    assert (own.mpp, own.encoder.strides, own.pitch_um) == (1.0, (2, 4, 8, 16), 2.0)
    own = Config.from_dict({"network": {"encoder": {"name": "uni2-h", "finest": 8}}}).network
    assert (own.mpp, own.encoder.strides) == (0.5, (8, 16, 32))
    # The default's settings, and so the keys of its runs, say nothing of definitions.
    assert "definition" not in NetworkConfig().model_dump()["encoder"]
    assert Config.model_validate(Config(network=network).model_dump(mode="json")).network == network


def small(**changes: Any) -> dict[str, Any]:
    arguments = {"img_size": 56, "patch_size": 14, "embed_dim": 48, "depth": 4, "num_heads": 3, "init_values": 1e-5}
    definition = {"architecture": "vit_small_patch14_dinov2", "arguments": arguments, "window": 56, "patch": 14}
    return {**definition, **changes}


def test_an_encoder_of_ones_own_is_defined_in_the_configuration() -> None:
    definition = small(mean=[0.7, 0.6, 0.7], std=[0.2, 0.2, 0.2], mpp=0.25)
    encoder = {"name": "mine", "weights": "random", "definition": definition}
    network = Config.from_dict({"network": {"encoder": encoder}}).network
    assert (network.mpp, network.encoder.finest, network.pitch_um) == (0.25, 8, 2.0)
    made = make_encoder(network.encoder)
    assert (made.window, made.channels, made.mean.flatten().tolist()) == (56, (48,) * 4, pytest.approx([0.7, 0.6, 0.7]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arguments": {"checkpoint_path": "x"}}, "'checkpoint_path' is not an argument that may be set"),
        ({"arguments": {"mlp_layer": "os.system"}}, "mlp_layer is 'os.system'; use one of GluMlp"),
        ({"window": 60}, "a window of 60 px cannot be cut into patches of 14 px"),
        ({"std": [0.2, 0.0, 0.2]}, "every std must be positive"),
        ({"mpp": 0}, "greater than 0"),
        ({"licences": "MIT"}, "Extra inputs are not permitted"),
        ({"architecture": "local-dir:/tmp/x"}, "String should match pattern"),
        ({"hub": "../../etc"}, "String should match pattern"),
        ({"file": "../etc/passwd"}, "String should match pattern"),
        ({"file": "/etc/passwd"}, "String should match pattern"),
        ({"window": 10**6}, "less than or equal to 1024"),
        ({"arguments": {"depth": 10**6}}, "depth is 1000000; it must be a positive number of at most 64"),
        ({"arguments": {"embed_dim": 4096, "depth": 64}}, "larger than any that is known"),
    ],
)
def test_definitions_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Definition.model_validate(small(**changes))
    encoder = {"name": "mine", "definition": small(**changes)}
    with pytest.raises(ModelError, match=r"own\.toml: "):
        Config.from_dict({"network": {"encoder": encoder}}, "own.toml")


def test_a_definition_without_a_name_is_refused() -> None:
    with pytest.raises(ModelError, match="a definition needs a name of its own"):
        Config.from_dict({"network": {"encoder": {"definition": small()}}})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_16_bits_become_those_of_32(tmp_path: Path, dtype: torch.dtype) -> None:
    definition = Definition.model_validate(small())
    model = timm.create_model("vit_small_patch14_dinov2", num_classes=0, **definition.arguments)
    save_file({name: value.to(dtype) for name, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    encoder = make_encoder(EncoderConfig(name="mine", weights=str(tmp_path), definition=definition))
    assert {value.dtype for value in encoder.state_dict().values()} == {torch.float32}
    assert len(weights_hash(encoder)) == 64


@pytest.mark.parametrize("name", ["xcit_nano_12_p16_224", "hiera_tiny_224"])
def test_transformers_of_another_kind_are_refused(name: str) -> None:
    with pytest.raises(ModelError):
        make_encoder(EncoderConfig(name=name, weights="random", finest=4))


def test_a_definition_that_timm_cannot_build_is_refused() -> None:
    for definition, message in (
        (small(architecture="vit_smal"), "timm does not know the architecture 'vit_smal'"),
        (
            small(arguments={"img_size": 112}, patch=14),
            "has windows of 112 px and patches of 14 px, but its definition",
        ),
        (small(arguments={"img_size": 56, "num_heads": 5}), "timm cannot make 'vit_small_patch14_dinov2'"),
    ):
        config = EncoderConfig(name="mine", weights="random", definition=Definition.model_validate(definition))
        with pytest.raises(ModelError, match=message):
            make_encoder(config)


def transformers_names(state: dict[str, torch.Tensor], layout: str) -> dict[str, torch.Tensor]:
    """Rename weights of timm as `transformers` has them."""
    parts = {
        "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
        "cls_token": "embeddings.cls_token",
        "reg_token": "embeddings.register_tokens",
        "attn.proj.": "attention.output.dense.",
        "blocks.": "encoder.layer.",
    }
    own = {
        "dinov2": {"ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1"},
        "vit": {"norm1.": "layernorm_before.", "norm2.": "layernorm_after.", "mlp.fc1.": "intermediate.dense.",
                "mlp.fc2.": "output.dense."},
    }  # fmt: skip
    result = {}
    for name, value in state.items():
        if ".attn.qkv." in name:
            before, kind = name.replace("blocks.", "encoder.layer.").split("attn.qkv.")
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                result[f"{before}attention.attention.{part}.{kind}"] = third.contiguous()
            continue
        for old, new in (parts | own[layout]).items():
            name = name.replace(old, new)
        result[re.sub("^norm.", "layernorm.", name)] = value
    return result


@pytest.mark.parametrize("layout", ["dinov2", "vit", "registers", "timm"])
def test_weights_in_the_layouts_of_publishers_are_those_of_timm(tmp_path: Path, layout: str) -> None:
    torch.manual_seed(1)
    architecture = {"vit": "vit_small_patch16_224", "registers": "vit_small_patch14_reg4_dinov2"}.get(
        layout, "vit_small_patch14_dinov2"
    )
    arguments = {"img_size": 56, "patch_size": 14, "embed_dim": 48, "depth": 4, "num_heads": 3}
    model = timm.create_model(architecture, num_classes=0, **arguments)
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.1)
    state = dict(model.state_dict())
    stored = {f"trunk.{name}": value for name, value in state.items()} | {"head.weight": torch.zeros(3)}
    kind = "dinov2" if layout == "registers" else layout
    if layout != "timm":
        stored = transformers_names(state, kind)
        if layout == "registers":
            # There the class token has a position, and here it does not.
            cls = torch.randn(1, 1, 48)
            stored["embeddings.cls_token"] = state["cls_token"] - cls
            stored["pos_embed"] = torch.cat([cls, state["pos_embed"]], dim=1)
        stored["embeddings.position_embeddings"] = stored.pop("pos_embed")
        stored |= {"embeddings.mask_token": torch.zeros(1, 48), "pooler.dense.weight": torch.zeros(2, 2)}
    path = tmp_path / ("pytorch_model.bin" if layout == "timm" else "model.safetensors")
    torch.save(stored, path) if layout == "timm" else save_file(stored, path)
    definition = Definition.model_validate(
        {"architecture": architecture, "arguments": arguments, "window": 56, "patch": 14, "layout": kind,
         "prefix": "trunk." if layout == "timm" else ""}
    )  # fmt: skip
    for weights in (path, tmp_path):
        encoder = make_encoder(EncoderConfig(name="mine", weights=str(weights), definition=definition))
        for name, value in state.items():
            assert torch.allclose(encoder.state_dict()[f"model.{name}"], value, atol=1e-6), name


@pytest.mark.parametrize("positions", ["timm", "plain", "offset"])
def test_positions_for_larger_windows_are_resampled(tmp_path: Path, positions: str) -> None:
    torch.manual_seed(1)
    arguments = {"img_size": 140, "patch_size": 14, "embed_dim": 48, "depth": 4, "num_heads": 3}
    model = timm.create_model("vit_small_patch14_dinov2", num_classes=0, **arguments)
    with torch.no_grad():  # a ramp along rows, which interpolation keeps
        model.pos_embed[:] = torch.cat([torch.zeros(1), torch.arange(10.0).repeat_interleave(10)])[None, :, None]
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    definition = Definition.model_validate(small(positions=positions))
    encoder = make_encoder(EncoderConfig(name="mine", weights=str(tmp_path), definition=definition))
    found = encoder.state_dict()["model.pos_embed"][0, :, 0]
    assert found.shape == (17,)
    rows = found[1:].reshape(4, 4)
    assert torch.allclose(rows, rows[:, :1], atol=1e-4)
    assert torch.allclose(rows[1:3, 0], torch.tensor([3.25, 5.75]), atol=0.2)


def test_weights_of_another_shape_or_hash_are_refused(tmp_path: Path) -> None:
    definition = Definition.model_validate(small(file="weights.safetensors", sha256="0" * 64))
    model = timm.create_model("vit_small_patch14_dinov2", num_classes=0, **definition.arguments)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"has SHA-256 .* but the published file has 000000000000"):
        check_hash(tmp_path / "weights.safetensors", definition)
    # A file that the user names may be a copy in another format, or trained further.
    make_encoder(EncoderConfig(name="mine", weights=str(tmp_path), definition=definition))
    wider = Definition.model_validate(
        small(file="weights.safetensors", arguments={**definition.arguments, "embed_dim": 96})
    )
    with pytest.raises(ModelError, match=r"weights\.safetensors: does not fit this encoder"):
        make_encoder(EncoderConfig(name="mine", weights=str(tmp_path), definition=wider))


def test_weights_are_found_in_a_snapshot_and_in_a_cache_of_the_hub(tmp_path: Path) -> None:
    definition = definitions()["uni2-h"]
    cache = tmp_path / "hub" / "models--MahmoodLab--UNI2-h" / "snapshots" / "d517a8"
    cache.mkdir(parents=True)
    (cache / "pytorch_model.bin").touch()
    for folder in (cache, cache.parents[1], cache.parents[2], tmp_path):
        assert locate("uni2-h", definition, str(folder)) == cache / "pytorch_model.bin"
    with pytest.raises(ModelError, match=r"holds no pytorch_model\.bin; `weights` of encoder 'uni' must be its file"):
        locate("uni", definitions()["uni"], str(tmp_path))
    with pytest.raises(ModelError, match="file or folder of weights of encoder 'uni2-h' not found"):
        locate("uni2-h", definition, str(tmp_path / "absent"))


@pytest.mark.parametrize("token", [False, True])
def test_weights_that_cannot_be_had_are_an_error_at_once(
    token: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_x" if token else None)
    start = time.monotonic()
    with pytest.raises(ModelError) as caught:
        check_weights(EncoderConfig(name="uni2-h"))
    assert time.monotonic() - start < 20  # the hub's own client asks for half a minute
    expected = (
        "cannot be reached. Connect to the network" if token else "is gated, and there is no token on this computer"
    )
    assert expected in str(caught.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        check_weights(EncoderConfig(name="uni2-h"))


def test_a_misspelt_name_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"'uni2h' is neither in the registry .* did you mean 'uni2-h'"):
        check_weights(EncoderConfig(name="uni2h"))
    with pytest.raises(ModelError, match="file of weights not found"):
        check_weights(EncoderConfig(weights="absent.safetensors"))


def test_a_network_on_tokens_has_a_narrow_decoder() -> None:
    """The widths of a foundation model must not reach the pyramid's fine levels."""
    config = Config.from_dict({"network": {"encoder": {"name": "h0-mini", "weights": "random"}}}).network
    network = Network(config, 5)
    assert network.pitches == (14,) * 4
    assert network.channels == (768,) * 4
    assert network.reassembly is not None
    assert network.reassembly.channels == (64,) * 4
    decoder = sum(value.numel() for value in network.decoder.parameters())
    assert decoder < 250_000
