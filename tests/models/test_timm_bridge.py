from __future__ import annotations

import pytest
import timm
import tiny
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from mmgen.errors import UserError
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.modality import Modality
from mmgen.models.timm_bridge import load_stream


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
