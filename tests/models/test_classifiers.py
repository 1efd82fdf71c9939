from __future__ import annotations

import copy
import sys
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mmgen.errors import UserError
from mmgen.models.classifiers import (
    POOL,
    ConvNet,
    HalvingPool,
    ViTClassifier,
    build_classifier,
    random_network,
)
from mmgen.names import ClassifierName, NetworkName
from mmgen.training.classifier import LEARNING_RATES


def small_vit(side: int = 32, channels: int = 1, patch: int = 8) -> VisionTransformer:
    torch.manual_seed(0)
    vit = VisionTransformer(side, patch, channels, num_classes=0, embed_dim=32, depth=2, num_heads=2)
    with torch.no_grad():  # far from what initial weights would give
        for parameter in vit.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return vit.eval()


def small_lora(shape: tuple[int, int, int] = (1, 32, 32), classes: int = 3) -> ViTClassifier:
    torch.manual_seed(1)
    return build_classifier("vit_lora", shape, classes, small_vit())


def disturb(model: nn.Module) -> nn.Module:
    """Change everything that can be trained; a fresh B of LoRA is zero."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 40, 72), (1, 100, 100)], ids=str)
@pytest.mark.parametrize("name", get_args(ClassifierName))
def test_any_channels_sides_and_classes(name: ClassifierName, shape: tuple[int, int, int]) -> None:
    model = build_classifier(name, shape, 5, small_vit() if name == "vit_lora" else None).eval()
    with torch.no_grad():
        logits = model(torch.randn(2, *shape))
    assert logits.shape == (2, 5) and logits.isfinite().all()


def test_every_network_has_a_learning_rate() -> None:
    assert LEARNING_RATES.keys() == set(get_args(NetworkName))


def test_what_cannot_be_built_is_said() -> None:
    for options, words in (
        (("vgg", (1, 32, 32), 2), "Unknown classifier 'vgg'"),
        (("resnet18", (1, 32, 32), 1), "at least two labels, got 1"),
        (("vit_lora", (1, 32, 32), 2), "vit_lora adapts a pretrained Vision Transformer and there is none; name one"),
        (("convnet", (1, 32, 7), 2), "at least 8 x 8, got 32 x 7"),
    ):
        with pytest.raises(UserError, match=words):
            build_classifier(*options)  # type: ignore[arg-type]


# -- ConvNet


def test_convnet_has_the_published_number_of_weights() -> None:
    assert sum(p.numel() for p in ConvNet((3, 32, 32), 10).parameters()) == 320_010


@pytest.mark.parametrize(("side", "depth"), [(32, 3), (33, 3), (64, 4), (100, 4), (128, 5), (256, 6)])
def test_convnet_ends_in_a_small_map(side: int, depth: int) -> None:
    model = ConvNet((1, side, side + 4), 2, width=4)
    assert len(model.blocks) == depth
    assert 4 <= side >> depth <= 7
    assert model.embed(torch.randn(2, 1, side, side + 4)).shape == (2, 4 * (side >> depth) * ((side + 4) >> depth))


@torch.no_grad()
def test_convnet_sees_every_sample_alone_and_normalises_each_channel() -> None:
    model = ConvNet((3, 32, 32), 4, width=8).train()
    x = torch.randn(5, 3, 32, 32)
    torch.testing.assert_close(model(x)[2:3], model(x[2:3]))
    first = model.blocks[0][1]
    z = 3.0 + 7.0 * torch.randn(2, 8, 16, 16) * torch.arange(1, 9).view(1, 8, 1, 1)
    torch.testing.assert_close(first(z), F.instance_norm(z), rtol=1e-4, atol=1e-4)
    assert all(p.requires_grad for p in first.parameters())


# -- ViT + LoRA


@torch.no_grad()
def test_at_first_the_features_are_the_backbones() -> None:
    model, x = small_lora().eval(), torch.randn(3, 1, 32, 32)
    vit = model.vit.get_base_model()
    torch.testing.assert_close(vit.forward_features(x), small_vit().forward_features(x))


def test_the_backbone_is_not_touched() -> None:
    backbone = small_vit()
    before = copy.deepcopy(backbone.state_dict())
    model = build_classifier("vit_lora", (3, 50, 30), 2, backbone)
    model(torch.randn(2, 3, 50, 30)).sum().backward()
    disturb(model)
    after = backbone.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert backbone.patch_embed.img_size == (32, 32) and all(p.requires_grad for p in backbone.parameters())


def test_only_low_rank_changes_and_the_head_learn() -> None:
    model = small_lora()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert sum("lora_A" in name for name in trained) == sum("lora_B" in name for name in trained) == 2
    assert sum("head" in name for name in trained) == 2 and len(trained) == 6
    assert sum(p.numel() for p in trained.values()) == 2 * 8 * (32 + 96) + 3 * 32 + 3
    disturb(model)(torch.randn(4, 1, 32, 32)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == (name in trained), name


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 32, 32), (1, 30, 50)], ids=str)
def test_merged_weights_give_the_same_outputs(shape: tuple[int, int, int]) -> None:
    model = disturb(small_lora(shape))
    x = torch.randn(6, *shape)
    expected = model(x)
    merged = model.merged()
    torch.testing.assert_close(merged(x), expected, rtol=1e-4, atol=1e-4)
    assert (expected - small_lora(shape).eval()(x)).abs().max() > 0.1
    assert isinstance(merged.vit, VisionTransformer) and not merged.training
    assert not any("lora" in name for name, _ in merged.named_parameters())
    assert not any(p.requires_grad for p in merged.parameters())
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0)  # a copy was merged
    assert not torch.allclose(disturb(model)(x), merged(x))


@torch.no_grad()
def test_other_sides_are_resized_to_whole_patches() -> None:
    model = small_lora((1, 30, 50)).eval()
    assert model.size == (32, 56)
    x = torch.randn(2, 1, 30, 50)
    resized = F.interpolate(x, (32, 56), mode="bilinear", antialias=True)
    torch.testing.assert_close(model(x), model.vit(resized))
    torch.testing.assert_close(model(resized), model.vit(resized))
    larger = torch.randn(2, 1, 96, 112)
    resized = F.interpolate(larger, (32, 56), mode="bilinear", antialias=True)
    torch.testing.assert_close(model(larger), model.vit(resized))


def test_without_peft_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"needs the package peft, which is not installed; run: pip install peft\."):
        small_lora()


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (2, 3)])
def test_halving_is_average_pooling(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, requires_grad=True)
    made, expected = HalvingPool()(x), torch.nn.functional.avg_pool2d(x, 2)
    torch.testing.assert_close(made, expected)
    one, other = (torch.autograd.grad(y.square().sum(), x, create_graph=True)[0] for y in (made, expected))
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(*(torch.autograd.grad(g.pow(3).sum(), x)[0] for g in (one, other)))


@pytest.mark.parametrize("name", POOL)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 48, 48), (3, 64, 64), (1, 96, 96), (3, 224, 224)])
def test_shapes(name: str, shape: tuple[int, int, int]) -> None:
    logits = random_network(name, shape, 5, 4)(torch.randn(2, *shape))
    assert logits.shape == (2, 5) and logits.isfinite().all()


@pytest.mark.parametrize("name", POOL)
def test_an_image_is_seen_alone_in_either_mode(name: str) -> None:
    network = random_network(name, (3, 32, 32), 3, 4)
    images = torch.randn(4, 3, 32, 32)
    together = network.train()(images)
    assert torch.allclose(network.eval()(images[:1]), together[:1], atol=1e-5)
    assert list(network.buffers()) == []


def test_depths_and_ways_to_halve() -> None:
    def convolutions(name: str) -> list[nn.Conv2d]:
        return [m for m in random_network(name, (3, 32, 32), 3, 4).modules() if isinstance(m, nn.Conv2d)]

    for name, layers in (("resnet10", 9), ("resnet18", 17)):  # and one linear layer
        for suffix in ("", "_pool"):
            found = convolutions(name + suffix)
            assert sum(c.kernel_size == (3, 3) for c in found) == layers
            assert (max(c.stride for c in found) == (1, 1)) == bool(suffix)
            assert max(c.out_channels for c in found) == 32
    weights = [
        sum(p.numel() for p in random_network(f"resnet18{s}", (3, 32, 32), 3, 4).parameters()) for s in ("", "_pool")
    ]
    assert weights[0] == weights[1]


def test_small_images_keep_their_side_in_the_stem() -> None:
    for side, after in ((32, 32), (64, 64), (96, 48), (224, 56)):
        network = random_network("resnet10", (3, side, side), 2, 4)
        seen = []
        first = next(m for m in network.layers if type(m).__name__ == "_ResidualBlock")
        first.register_forward_hook(lambda _, x, y, seen=seen: seen.append(x[0].shape[-1]))
        network(torch.randn(1, 3, side, side))
        assert seen == [after]


def test_gradients_reach_the_input() -> None:
    for name in POOL:
        x = torch.randn(2, 3, 32, 32, requires_grad=True)
        random_network(name, (3, 32, 32), 2, 4)(x).square().sum().backward()
        assert (x.grad != 0).float().mean() > 0.5


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="'vgg'; there are convnet"):
        random_network("vgg", (3, 32, 32), 2, 4)
