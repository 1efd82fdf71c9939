"""The classification task: cross-entropy with label smoothing, one AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgen.data.pairing import ModalDecouplingSampler
from mmgen.training.gradients import LossStepper
from mmgen.training.loop import Position

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class ClassifierConfig:
    """How a classifier learns; learning rate, decay and smoothing are the MMAE paper's (section IV-A)."""

    lr: float = 1e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.1


class LabelledBatches:
    """Batches of ``x`` (N, C, H, W) and ``label`` (N,): ``updates`` of them are one epoch of the loop, whatever N is.

    No sample is seen again before all have been seen. One process trains a classifier, so every batch is a whole one.
    """

    def __init__(self, x: Tensor, labels: np.ndarray, batch_size: int, updates: int, seed: int) -> None:
        self.x, self.labels = x, torch.from_numpy(labels)
        self.batch_size = min(batch_size, len(labels))
        self._sampler = ModalDecouplingSampler({"x": np.zeros(len(labels), dtype=np.int64)}, self.batch_size, seed)
        self.steps_per_epoch = updates

    def batch(self, position: Position) -> dict[str, Tensor]:
        """The batch of an update."""
        index = self._sampler.batch(*divmod(position.update, self._sampler.steps_per_epoch))["x"]
        return {"x": self.x[index], "label": self.labels[index]}


class ClassifierTask:
    """Trains a network on normalised inputs."""

    def __init__(self, model: nn.Module, config: ClassifierConfig, accelerator: Accelerator) -> None:
        self.model = model.to(accelerator.device)
        self.config, self.accelerator = config, accelerator
        self.stepper = LossStepper({"class": list(model.parameters())}, config.lr, config.weight_decay, (0.9, 0.999))
        self.optimizers = self.stepper.optimizers

    def update(self, batch: Mapping[str, Tensor], position: Position) -> dict[str, Tensor]:
        """One step on (B, C, H, W) inputs and (B,) labels."""
        with self.accelerator.autocast():
            logits = self.model(batch["x"])
        loss = F.cross_entropy(logits.float(), batch["label"], label_smoothing=self.config.label_smoothing)
        self.stepper.accumulate({"class": loss})
        norms = self.stepper.step()
        return {"loss/class": loss.detach(), "gradient_norm/class": norms["class"]}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Nothing is selected: classifiers that measure a data set train for a fixed number of updates."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Nothing beyond the loss."""
        return {}

    def preview(self, model: nn.Module) -> dict[str, np.ndarray]:
        """No pictures."""
        return {}


@torch.no_grad()
def predict(model: nn.Module, x: Tensor, accelerator: Accelerator, batch_size: int = 128) -> np.ndarray:
    """Class probabilities (N, classes) of normalised inputs (N, C, H, W)."""
    model.eval()
    outputs = []
    for part in x.split(batch_size):
        with accelerator.autocast():
            outputs.append(model(part.to(accelerator.device)).float().softmax(-1).cpu())
    return torch.cat(outputs).numpy()
