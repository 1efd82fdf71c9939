from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from tiny_medsynth import TINY, tiny_samples

from mmgen.condensation.condenser import image_modality
from mmgen.condensation.medsynth import MedSynth
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.names import OWN_BACKBONE
from mmgen.training.run import Run

NAME = "vit_tiny_patch16_224"


def backbone(name: str = OWN_BACKBONE, weights: Path | None = None, validation: Samples | None = None, seed: int = 0):
    config = replace(TINY, backbone=name, backbone_weights=weights)
    condenser = MedSynth(config, Run(Accelerator(cpu=True), seed=seed), tiny_samples(), validation)
    condenser.pretrain()
    return condenser.backbone


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_normalised_by_their_own_statistics(channels: int) -> None:
    train = tiny_samples(channels=channels)
    modality = image_modality("image", train, 8)
    normal = modality.normalise(torch.from_numpy(train.values)).double()
    assert modality.shape == (channels, 32, 32) and modality.patch == (8, 8)
    assert normal.mean((0, 2, 3)).abs().max() < 1e-5 and (normal.std((0, 2, 3)) - 1).abs().max() < 1e-3


@pytest.mark.parametrize("validated", [False, True])
def test_an_own_backbone_is_a_vit_that_has_learnt(validated: bool) -> None:
    vit = backbone(validation=tiny_samples((2, 2), seed=1) if validated else None)
    assert isinstance(vit, timm.models.vision_transformer.VisionTransformer)
    assert vit(torch.zeros(2, 3, 32, 32)).shape == (2, TINY.own_backbone.dim)
    assert len(vit.blocks) == TINY.own_backbone.depth
    same, other = backbone(), backbone(seed=1)
    state = backbone().state_dict()
    assert all(torch.equal(state[key], value) for key, value in same.state_dict().items())
    assert not torch.equal(state["blocks.0.attn.qkv.weight"], other.state_dict()["blocks.0.attn.qkv.weight"])


def test_a_named_backbone_starts_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(3)
    file = tmp_path / "веса.safetensors"
    weights = timm.create_model(NAME, pretrained=False).state_dict()
    save_file(weights, file)
    for vit in (backbone(NAME, file), backbone(f"{NAME}@{file}")):
        assert torch.equal(vit.state_dict()["blocks.3.mlp.fc1.weight"], weights["blocks.3.mlp.fc1.weight"])


def test_weights_that_cannot_be_had_are_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    other = tmp_path / "other.safetensors"
    save_file({"head.weight": torch.zeros(2, 2)}, other)
    for name, weights, words in (
        (NAME, None, f"'{NAME}' cannot be had from the hub"),
        (NAME, tmp_path / "missing.pth", "There is no file .*missing.pth"),
        (f"{NAME}@{tmp_path / 'missing.pth'}", None, "There is no file .*missing.pth of weights; correct --backbone"),
        (NAME, other, "not those of"),
        ("no_such_vit", other, "no_such_vit"),
        ("resnet18", other, "no plain Vision Transformer"),
        (OWN_BACKBONE, other, "belongs to a model; name it too"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            backbone(name, weights)
        assert "\n" not in str(caught.value)
