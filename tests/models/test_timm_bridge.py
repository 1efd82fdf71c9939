from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import tiny
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from mmgen.errors import UserError
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.modality import Modality
from mmgen.models.timm_bridge import fit_vit, load_stream, load_vit


@pytest.fixture(scope="module")
def vit() -> VisionTransformer:
    """ViT-Ti/16 as timm makes it, with positions and class token that are not their small initial values."""
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=5).eval()
    with torch.no_grad():
        vit.pos_embed.normal_()
        vit.cls_token.normal_()
    return vit


def timm_input(modality: Modality, x: Tensor) -> Tensor:
    height, width = modality.padded
    return F.pad(modality.normalise(x), (0, width - modality.shape[2], 0, height - modality.shape[1]))


def like_vit(modality: Modality) -> CrossModalMAE:
    """A model whose encoder has the sizes of ViT-Ti."""
    sizes = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    return CrossModalMAE([modality], dim=192, depth=12, heads=3, **sizes).eval()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", ["image", "audio", "breath"])
def test_to_timm_computes_the_features_of_unmasked_input(name, fused):
    model = tiny.make_model(("image", "audio", "breath")).eval()
    vit = model.to_timm(name).eval()
    for part in (model, vit):
        for module in part.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = fused
    x = tiny.make_inputs([name])[name]
    with torch.no_grad():
        expected = model.encode({name: x})[name]
        features = vit.forward_features(timm_input(model.modalities[name], x))
        torch.testing.assert_close(features, expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(vit(timm_input(model.modalities[name], x)), expected[:, 0], rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("sides", "patch"), [((15, 35), (5, 7)), ((21, 9), (7, 3)), ((13, 33), (5, 7))], ids=str)
def test_the_encoder_of_one_modality_alone_on_odd_grids(channels, sides, patch):
    modality = Modality("scan", (channels, *sides), patch, (100.0,), (40.0,))
    sizes = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    model = CrossModalMAE([modality], dim=16, depth=2, heads=2, **sizes).eval()
    for parameter in model.streams.parameters():  # a bias or norm that is left out would show
        parameter.add_(0.1 * torch.randn_like(parameter))
    x = 255 * torch.rand(4, channels, *sides)
    vit, expected = model.to_timm("scan").eval(), model.encode({"scan": x}, mask_ratio=0.0)["scan"]
    assert vit.patch_embed.grid_size == modality.grid == (3, 5 if sides != (21, 9) else 3)
    torch.testing.assert_close(vit.forward_features(timm_input(modality, x)), expected, rtol=0, atol=1e-5)
    # In the order of the patches: were two exchanged, features would not be.
    assert (expected[:, 1] - expected[:, 2]).abs().max() > 0.1


def test_to_timm_is_a_copy_that_takes_a_classifier():
    model = tiny.make_model()
    vit = model.to_timm("image")
    vit.reset_classifier(3)
    assert vit(torch.randn(2, 1, 16, 16)).shape == (2, 3)
    before = model.streams["image"].embed.bias.clone()
    with torch.no_grad():
        vit.patch_embed.proj.bias.add_(1.0)
    assert torch.equal(model.streams["image"].embed.bias, before)


@pytest.mark.parametrize("name", ["image", "audio", "breath"])
def test_round_trip_through_timm(name):
    model, fresh = tiny.make_model([name]).eval(), tiny.make_model([name], seed=1).eval()
    load_stream(fresh.streams[name], fresh.modalities[name], model.to_timm(name).state_dict())
    x = tiny.make_inputs([name])
    assert torch.equal(fresh.encode(x)[name], model.encode(x)[name])


@torch.no_grad()
def test_colour_input_of_the_same_grid(vit):
    modality = Modality("photo", (3, 224, 224), (16, 16), (0.5,), (0.5,))
    model = like_vit(modality)
    load_stream(model.streams["photo"], modality, vit.state_dict())
    x = torch.rand(1, 3, 224, 224)
    expected = vit.forward_features((x - 0.5) / 0.5)
    torch.testing.assert_close(model.encode({"photo": x})["photo"], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_grey_input_is_embedded_as_the_same_grey_in_colour(vit):
    modality = Modality("xray", (1, 224, 224), (16, 16))
    model = like_vit(modality)
    load_stream(model.streams["xray"], modality, vit.state_dict())
    x = torch.rand(1, 1, 224, 224)
    expected = vit.forward_features(x.expand(-1, 3, -1, -1))
    torch.testing.assert_close(model.encode({"xray": x})["xray"], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("shape", "patch"), [((3, 64, 96), (16, 16)), ((3, 48, 48), (8, 8)), ((3, 32, 40), (8, 4))])
def test_another_grid_and_patch_are_resampled_as_timm_does(vit, shape, patch):
    modality = Modality("scan", shape, patch)
    model = like_vit(modality)
    load_stream(model.streams["scan"], modality, vit.state_dict())
    resized = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0).eval()
    resized.load_state_dict({key: value for key, value in vit.state_dict().items() if not key.startswith("head.")})
    resized.set_input_size(img_size=shape[1:], patch_size=patch)
    x = torch.rand(2, *shape)
    expected = resized.forward_features(x)
    torch.testing.assert_close(model.encode({"scan": x})["scan"], expected, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_weights_without_a_place_for_the_class_token():
    modality = Modality("xray", (1, 32, 32), (16, 16))
    vit = VisionTransformer(
        img_size=32, in_chans=1, embed_dim=192, depth=12, num_heads=3, num_classes=0, no_embed_class=True
    ).eval()
    torch.nn.init.normal_(vit.pos_embed)
    model = like_vit(modality)
    load_stream(model.streams["xray"], modality, vit.state_dict())
    x = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(model.encode({"xray": x})["xray"], vit.forward_features(x), rtol=1e-4, atol=1e-4)


def test_other_weights_are_refused(vit):
    stream, modality = tiny.make_model(["image"]).streams["image"], tiny.IMAGE
    with pytest.raises(UserError, match="not a Vision Transformer's"):
        load_stream(stream, modality, {"conv1.weight": torch.zeros(3)})
    with pytest.raises(UserError, match=r"width 192 and depth 12, the model 16 and 2; .*preset"):
        load_stream(stream, modality, vit.state_dict())
    scaled = VisionTransformer(img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2, init_values=0.1)
    with pytest.raises(UserError, match="another kind of Vision Transformer"):
        load_stream(stream, modality, scaled.state_dict())
    odd = VisionTransformer(img_size=(8, 12), patch_size=4, embed_dim=16, depth=2, num_heads=2)
    with pytest.raises(UserError, match="positions for 7 tokens"):
        load_stream(stream, modality, odd.state_dict())


# -- ViTs to classify with


@torch.no_grad()
@pytest.mark.parametrize("sides", [(224, 224), (64, 96), (48, 80)], ids=str)
def test_fitting_resamples_positions_and_sums_the_colour_embedding(vit, sides):
    grey = fit_vit(copy.deepcopy(vit), (1, *sides))
    colour = copy.deepcopy(vit)
    colour.set_input_size(img_size=sides)
    x = torch.rand(1, 1, *sides)
    torch.testing.assert_close(
        grey.forward_features(x), colour.forward_features(x.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
def test_fitting_to_more_channels_keeps_what_grey_gives(vit):
    five = fit_vit(copy.deepcopy(vit), (5, 32, 32))
    three = fit_vit(copy.deepcopy(vit), (3, 32, 32))
    x = torch.rand(1, 1, 32, 32)
    expected = three.forward_features(x.expand(-1, 3, -1, -1))
    torch.testing.assert_close(five.forward_features(x.expand(-1, 5, -1, -1)), expected, rtol=1e-4, atol=1e-4)


def test_sides_are_rounded_up_to_whole_patches(vit):
    fitted = fit_vit(copy.deepcopy(vit), (3, 100, 17))
    assert fitted.patch_embed.img_size == (112, 32) and fitted.pos_embed.shape[1] == 1 + 7 * 2
    assert fitted(torch.rand(2, 3, 112, 32)).shape == (2, 5)


NAME = "test_vit"  # timm's smallest: 64 wide, 160 px


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return timm.create_model(NAME, pretrained=False, num_classes=7).state_dict()


def written(folder: Path, suffix: str, state: Any) -> Path:
    path = folder / f"веса 1{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_vit_from_a_file(tmp_path, suffix, weights):
    state = weights if suffix == ".safetensors" else {"model": weights}
    loaded = load_vit(NAME, written(tmp_path, suffix, state)).state_dict()
    assert loaded and all(torch.equal(loaded[key], weights[key]) for key in loaded)
    assert {key for key in weights if key not in loaded} == {"head.weight", "head.bias"}


def test_positions_of_another_size_are_resampled(tmp_path, weights):
    other = timm.create_model(NAME, pretrained=False, img_size=(64, 64))
    loaded = load_vit(NAME, written(tmp_path, ".pt", other.state_dict()))
    assert loaded.pos_embed.shape == weights["pos_embed"].shape
    assert torch.equal(loaded.norm.weight, other.norm.weight)


def one_sentence(error: pytest.ExceptionInfo[UserError]) -> bool:
    return "\n" not in str(error.value) and str(error.value).endswith(".")


def test_files_that_do_not_serve_are_named(tmp_path, weights):
    lacking = {key: value for key, value in weights.items() if key != "norm.bias"}
    wider = {**weights, "blocks.0.attn.qkv.weight": torch.zeros(3, 3)}
    for state, words in (
        (lacking, r"веса 1\.pt are not those of test_vit, \['norm.bias'\] do not fit; name the model"),
        (wider, "not those of test_vit, .*qkv"),
        ({"conv1.weight": torch.zeros(3)}, "not those of test_vit"),
        (torch.zeros(3), "cannot be read"),
        ({"model": weights, "class": CrossModalMAE}, "cannot be read"),  # a class: only unpickling could make it
    ):
        with pytest.raises(UserError, match=words) as error:
            load_vit(NAME, written(tmp_path, ".pt", state))
        assert "1.pt" in str(error.value) and one_sentence(error)
    with pytest.raises(UserError, match=r"there is no.pt cannot be read"):
        load_vit(NAME, tmp_path / "there is no.pt")
    with pytest.raises(UserError, match="'resnet18' is no plain Vision Transformer") as error:
        load_vit("resnet18", written(tmp_path, ".pt", weights))
    assert one_sentence(error)


def test_the_hub_is_asked_for_a_name_alone_and_its_absence_is_said(monkeypatch, tmp_path, weights):
    path, asked, create = written(tmp_path, ".pt", weights), [], timm.create_model

    def offline(name: str, pretrained: bool, **options: Any) -> Any:
        asked.append((name, pretrained))
        if pretrained:
            raise OSError("no hub in tests\nand more of that")
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    load_vit(NAME, path)
    assert asked == [(NAME, False)]
    with pytest.raises(UserError, match=r"'test_vit' cannot be had .*no hub in tests.*give the file's path") as error:
        load_vit(NAME)
    assert one_sentence(error) and asked[1:] == [(NAME, False), (NAME, True)]
    with pytest.raises(UserError, match="neither a file nor a timm model 'vit_hug'") as error:
        load_vit("vit_hug")
    assert one_sentence(error) and len(asked) == 3
