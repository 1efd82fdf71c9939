"""The classification task: cross-entropy with label smoothing, one AdamW, for every network; and the fit of the one
classifier that needs no steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.mfcc import MFCCClassifier
from mmgen.models.modality import Modality
from mmgen.names import AugmentationName, LabelKind, NetworkName
from mmgen.training.augmentation import augment, draw
from mmgen.training.batches import LabelledBatches, labels_digest
from mmgen.training.engine import choose_attention
from mmgen.training.gradients import LossStepper
from mmgen.training.loop import Loop, LoopConfig, Position, Task
from mmgen.training.run import Run

if TYPE_CHECKING:
    from accelerate import Accelerator

# How often a training with a validation part looks at it.
VALIDATIONS = 10

# Networks from scratch: the MMAE paper's (section IV-A). For the ViT with LoRA the MedSynth paper gives 0.01 and no
# optimiser. On phantom X-rays (three labels, batch 32, 150 updates, a ViT that a masked autoencoder had trained) AdamW
# reached accuracy 0.94, 0.96 and 0.97 at 0.001, 0.003 and 0.01 and stayed at chance at 0.03; SGD reached 0.71 at 0.01
# and 0.89 at 0.1. So it is AdamW, not too near the edge.
LEARNING_RATES: dict[NetworkName, float] = {"resnet18": 1e-3, "densenet121": 1e-3, "convnet": 1e-3, "vit_lora": 3e-3}


@dataclass(frozen=True)
class ClassifierConfig:
    """How a classifier learns; decay and smoothing are the MMAE paper's (section IV-A).

    Attributes:
        updates: optimiser steps, whatever the size of the set.
        batch_size: samples a step.
        lr, weight_decay: of AdamW; see :data:`LEARNING_RATES`.
        schedule: learning-rate curve.
        label_smoothing: share of the target that is spread over all classes.
        balance: what makes up for classes of unequal size: "weights" weighs a sample's loss by the inverse size of its
            class, "sampling" draws every class equally often.
        augmentation: strategy by name, for this kind of picture.
        labels: "hard" learns from labels alone, "soft" from the probabilities of samples that have some, smoothed as
            labels are.
    """

    updates: int = 150
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.05
    schedule: Literal["cosine", "constant"] = "cosine"
    label_smoothing: float = 0.1
    balance: Literal["none", "weights", "sampling"] = "none"
    augmentation: AugmentationName = "none"
    labels: LabelKind = "hard"

    def __post_init__(self) -> None:
        if self.updates < 1 or self.batch_size < 1:
            raise UserError(f"A classifier needs updates and a batch, got {self.updates} and {self.batch_size}.")


class ClassifierTask(Task):
    """Trains what can be trained of a network.

    Args:
        model: (B, C, H, W) of normalised input -> logits; it is moved to the accelerator's device.
        modality: normalises raw samples, whatever their height and width.
        config: how to learn.
        run: its engine, and the seed of augmentation.
        train: training samples, for the sizes of their classes.
        validation: samples to select by, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        modality: Modality,
        config: ClassifierConfig,
        run: Run,
        train: Samples,
        validation: Samples | None = None,
    ) -> None:
        accelerator = run.accelerator
        self.model = model.to(accelerator.device)
        self.modality, self.config, self.run, self.validation = modality, config, run, validation
        choose_attention(model, accelerator.device, accelerator.mixed_precision)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.stepper = LossStepper({"class": trained}, config.lr, config.weight_decay, (0.9, 0.999))
        self.optimizers = self.stepper.optimizers
        weights = class_weights(train.labels, len(train.label_names)) if config.balance == "weights" else None
        self._weights = None if weights is None else weights.to(accelerator.device)

    def update(self, batch: Mapping[str, Tensor], position: Position) -> dict[str, Tensor]:
        """One step on raw (B, C, H, W) inputs and (B,) labels, or (B, classes) probabilities where the batch has
        some."""
        with self.run.accelerator.autocast():
            x = self.modality.normalise(batch["x"])
            if self.config.augmentation != "none":
                # One change a sample: on 845 dermoscopic images of 32 px (ConvNet, 400 updates, two seeds) macro AUC
                # was 0.85, with all changes at once 0.82, without any 0.815.
                x = augment(x, draw(self.config.augmentation, self.run.draws(position.update), len(x)))
            logits = self.model(x)
        target = batch.get("probabilities", batch["label"])
        loss = smoothed_loss(logits.float(), target, self.config.label_smoothing, self._weights)
        norm = self.stepper.minimise(loss)
        return {"loss/class": loss.detach(), "gradient_norm/class": norm}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Cross-entropy (natural logarithm) and recall of the validation samples, means over classes; the former is the
        score."""
        if self.validation is None:
            return {}
        probabilities = predict(model, self.modality, self.validation, self.run.accelerator)
        labels = self.validation.labels
        loss = -np.log(probabilities[np.arange(len(labels)), labels].clip(1e-12))
        right = probabilities.argmax(1) == labels
        by_class = [(loss[labels == c].mean(), right[labels == c].mean()) for c in np.unique(labels)]
        means = np.mean(by_class, axis=0)
        return {"score": float(means[0]), "balanced_accuracy": float(means[1])}


def train_classifier(
    model: nn.Module,
    modality: Modality,
    train: Samples,
    config: ClassifierConfig,
    run: Run,
    validation: Samples | None = None,
) -> nn.Module:
    """Train a classifier; with ``validation`` samples, looked at ten times, it gets the best weights, otherwise the
    last ones.

    A run is resumed only with the same settings and labels; see :meth:`Loop.train` for what is raised.

    Raises:
        UserError: with validation, a number of updates that is no multiple of ten.
    """
    train = with_labels(train, config.labels)
    looks = 1 if validation is None else VALIDATIONS
    if config.updates % looks:
        raise UserError(f"With a validation part updates must be a multiple of {looks}, got {config.updates}.")
    steps = config.updates // looks
    task = ClassifierTask(model, modality, config, run, train, validation)
    batches = LabelledBatches(train, config.batch_size, steps, run.seed, config.balance == "sampling")
    identity = {"modality": modality.to_dict(), "learning": asdict(config), "labels": labels_digest(train)}
    loop = Loop(task, batches, LoopConfig(looks, steps, config.schedule, validate_every=1), run, identity)
    loop.train()
    if validation is not None:
        loop.use_best()
    return model.eval()


def fit_mfcc(
    model: MFCCClassifier,
    modality: Modality,
    train: Samples,
    balanced: bool,
    accelerator: Accelerator,
    labels: LabelKind = "hard",
) -> MFCCClassifier:
    """Fit logistic regression to all training samples at once; see :meth:`.MFCCClassifier.fit`."""
    features = _outputs(model.to(accelerator.device).embed, modality, train, accelerator)
    model.fit(features, train.labels, balanced, with_labels(train, labels).probabilities)
    return model.eval()


def with_labels(samples: Samples, labels: LabelKind) -> Samples:
    """Samples without their soft labels, if they are to be learnt from hard ones."""
    return samples if labels == "soft" else replace(samples, probabilities=None)


def smoothed_loss(logits: Tensor, target: Tensor, smoothing: float, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy with label smoothing of logits (B, classes) and labels (B,) or probabilities (B, classes); a sample
    counts as its label's weight (classes,), or as the mean of its labels' weights.

    Unlike the weights of torch's loss, these do not cancel within a batch of one class.
    """
    losses = F.cross_entropy(logits, target, label_smoothing=smoothing, reduction="none")
    if weights is not None:
        losses = losses * (target @ weights if target.is_floating_point() else weights[target])
    return losses.mean()


def class_weights(labels: np.ndarray, classes: int) -> Tensor:
    """(classes,) inverse sizes of classes, scaled so that their mean over all samples is 1; 0 for an empty class."""
    counts = np.bincount(labels, minlength=classes)
    weights = np.divide(len(labels), (counts > 0).sum() * counts, out=np.zeros(classes), where=counts > 0)
    return torch.from_numpy(weights).float()


def predict(
    model: nn.Module, modality: Modality, samples: Samples, accelerator: Accelerator, batch_size: int = 128
) -> np.ndarray:
    """Class probabilities (N, classes) of samples in raw units."""
    return _outputs(model.eval(), modality, samples, accelerator, batch_size).float().softmax(-1).numpy()


@torch.no_grad()
def _outputs(
    function: Callable[[Tensor], Tensor],
    modality: Modality,
    samples: Samples,
    accelerator: Accelerator,
    batch_size: int = 128,
) -> Tensor:
    """(N, ...) on the CPU: what a function of normalised (B, C, H, W) gives for samples in raw units."""
    outputs = []
    for start in range(0, len(samples), batch_size):
        x = torch.from_numpy(samples.values[start : start + batch_size]).to(accelerator.device)
        with accelerator.autocast():
            outputs.append(function(modality.normalise(x)).cpu())
    return torch.cat(outputs)
