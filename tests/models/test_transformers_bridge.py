from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor

from mmgen.errors import UserError
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.modality import Modality


def vit_input(modality: Modality, x: Tensor) -> Tensor:
    height, width = modality.padded
    return F.pad(modality.normalise(x), (0, width - modality.shape[2], 0, height - modality.shape[1]))


def shaken(model: CrossModalMAE) -> CrossModalMAE:
    """With other parameters than at the start: a bias or norm that is left out, or query and key exchanged, shows."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in model.streams.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("name", ["image", "audio", "breath"])
def test_it_computes_the_features_of_unmasked_input(name: str) -> None:
    model = shaken(tiny.make_model(("image", "audio", "breath")))
    x = tiny.make_inputs([name])[name]
    features = model.to_transformers(name)(vit_input(model.modalities[name], x)).last_hidden_state
    torch.testing.assert_close(features, model.encode({name: x})[name], rtol=0, atol=1e-5)


@torch.no_grad()
def test_colour_on_an_odd_grid_and_from_a_folder(tmp_path: Path) -> None:
    from transformers import AutoModel

    modality = Modality("scan", (3, 13, 33), (5, 7), (100.0,), (40.0,))
    sizes = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    model = shaken(CrossModalMAE([modality], dim=16, depth=2, heads=2, **sizes))
    x = 255 * torch.rand(2, *modality.shape)
    model.to_transformers("scan").save_pretrained(tmp_path)
    vit = AutoModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    features = vit(vit_input(modality, x)).last_hidden_state
    torch.testing.assert_close(features, model.encode({"scan": x})["scan"], rtol=0, atol=1e-5)


def test_it_is_a_copy_of_a_modality_that_is_there() -> None:
    model = tiny.make_model()
    with torch.no_grad():
        model.to_transformers("image").embeddings.cls_token.add_(1.0)
    assert model.streams["image"].cls_token.abs().max() < 0.5
    with pytest.raises(UserError, match="not 'breath'"):
        model.to_transformers("breath")
