"""Classifiers that measure what a data set is good for; log-mels are one-channel images."""

from __future__ import annotations

from typing import Literal, get_args

import timm
from torch import nn

from mmgen.errors import UserError

ClassifierName = Literal["resnet18"]


def build_classifier(name: ClassifierName, channels: int, classes: int) -> nn.Module:
    """An untrained network (B, channels, H, W) -> logits (B, classes).

    Raises:
        UserError: unknown name.
    """
    if name not in get_args(ClassifierName):
        raise UserError(f"Unknown classifier {name!r}; there are {get_args(ClassifierName)}.")
    return timm.create_model(name, pretrained=False, in_chans=channels, num_classes=classes)
