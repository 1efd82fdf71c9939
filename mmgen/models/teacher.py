"""A network trained on real images, asked what it thinks of synthetic ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.models.modality import Modality


@dataclass(frozen=True)
class Teacher:
    """A trained classifier and the form of its input.

    Attributes:
        network: (B, C, H, W) of normalised images -> logits (B, classes), with features by ``embed``.
        modality: normalises images in raw units.
        class_names: names of the classes.
    """

    network: nn.Module
    modality: Modality
    class_names: tuple[str, ...]

    @torch.no_grad()
    def judge(self, images: Tensor, batch_size: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """Class probabilities (N, classes) and features (N, F), float32, of uint8 images (N, C, H, W)."""
        network, device = self.network.eval(), next(self.network.parameters()).device
        probabilities, features = [], []
        for part in images.split(batch_size):
            x = self.modality.normalise(part.to(device))
            probabilities.append(network(x).float().softmax(-1).cpu())
            features.append(network.embed(x).float().flatten(1).cpu())
        return torch.cat(probabilities).numpy(), torch.cat(features).numpy()
