"""A frozen Vision Transformer that is tuned by low-rank changes (LoRA) of its attention, through peft."""

from __future__ import annotations

import copy

import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mmgen.errors import UserError
from mmgen.models.timm_bridge import fit_vit


class ViTClassifier(nn.Module):
    """A ViT, with or without LoRA, that takes inputs of any size: they are resized (antialiased) to its own.

    Args:
        vit: (B, C, H', W') -> logits (B, classes).
        size: (H', W').
    """

    def __init__(self, vit: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.vit, self.size = vit, size

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, classes)."""
        if tuple(x.shape[-2:]) != self.size:
            x = F.interpolate(x, self.size, mode="bilinear", antialias=True)
        return self.vit(x)

    def merged(self) -> ViTClassifier:
        """A copy with LoRA's changes added to the weights: a plain timm ViT, all of it frozen, as fast as before."""
        vit = copy.deepcopy(self.vit).merge_and_unload()
        return ViTClassifier(vit.requires_grad_(False), self.size).train(self.training)


def add_lora(
    backbone: VisionTransformer, shape: tuple[int, int, int], classes: int, rank: int = 8, alpha: float = 16.0
) -> ViTClassifier:
    """A classifier on a copy of a pretrained ViT; only the low-rank changes and the new head can be trained.

    The changes are those of every block's query, key and value, which timm keeps in one matrix. At first they are zero.

    Args:
        backbone: channels and positions are fitted to the input, see :func:`mmgen.models.timm_bridge.fit_vit`.
        shape: (C, H, W) of one input.
        classes: logits.
        rank, alpha: a change is alpha / rank * B A with B (3D, rank) and A (rank, D).

    Raises:
        UserError: peft is missing.
    """
    try:
        import peft
    except ImportError as error:
        raise UserError("vit_lora needs the package peft, which is not installed; run: pip install peft.") from error
    vit = fit_vit(copy.deepcopy(backbone), shape)
    vit.reset_classifier(classes)
    size = vit.patch_embed.img_size
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=["qkv"], modules_to_save=["head"])
    return ViTClassifier(peft.get_peft_model(vit, config), size)
