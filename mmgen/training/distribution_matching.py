"""Distribution matching (DM; Zhao and Bilen 2023): synthetic images whose mean features, class by class, are those of
real images in random networks.

Features of untrained networks keep what pictures look like. A set that agrees with the real one in the means of many
such networks agrees in distribution; this is the maximum mean discrepancy in the features of a random network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.classifiers import ConvNet, draw_weights
from mmgen.models.modality import Modality
from mmgen.models.seeds import torch_stream
from mmgen.names import AugmentationName
from mmgen.training.augmentation import Parameters, augment, draw
from mmgen.training.batches import LabelledBatches, labels_digest
from mmgen.training.engine import synchronise_parameters
from mmgen.training.loop import Loop, LoopConfig, Position, Task
from mmgen.training.run import Run

OptimizerName = Literal["sgd", "adam"]

# Images given to a network at once. An update with 70 synthetic and 224 real images of 64 px, width 32, took 0.42 s in
# portions of 128, 0.29 of 64, 0.23 of 32 and 0.25 of 16 on one core, 0.18, 0.16, 0.17 and 0.21 on two. Other devices
# are given as many as make an activation of 2^30 numbers, 2 to 4 GB.
_AT_ONCE, _ACTIVATION = 32, 2**30


@dataclass(frozen=True)
class DistributionConfig:
    """How synthetic images are matched; the defaults are those published for images that are matched themselves.

    Attributes:
        optimizer: "sgd", or "adam" with betas (0.9, 0.999).
        lr: learning rate.
        momentum: of SGD.
        width: channels of the random networks.
        real_per_class: real images of each class in one update.
        augmentation: strategy of the changes made alike to real and synthetic images.
    """

    optimizer: OptimizerName = "sgd"
    lr: float = 1.0
    momentum: float = 0.5
    width: int = 128
    real_per_class: int = 256
    augmentation: AugmentationName = "none"

    def __post_init__(self) -> None:
        if self.optimizer not in get_args(OptimizerName):
            raise UserError(f"The optimizer is one of {', '.join(get_args(OptimizerName))}, not {self.optimizer!r}.")
        if self.width < 1 or self.real_per_class < 1:
            raise UserError(
                "Matching needs a network's width and real images a class of at least 1, "
                f"not {self.width} and {self.real_per_class}."
            )


class DistributionTask(Task):
    """One update: in a network drawn anew, the mean features of all synthetic images approach those of real ones.

    Every process does the whole of it. A CPU is given some classes after another, which is faster, takes less memory
    and gives the same: a class's loss depends on its own images alone.

    Args:
        images: ``images()`` gives all synthetic images, normalised, (N, C, H, W); ``images.labels`` (N,) is a buffer.
            All its parameters that require gradients are trained. It is moved to the accelerator's device.
        config: how to match.
        run: its engine, and the seed of networks and augmentation.
        modality: normalises real images, and takes synthetic ones back for a preview.
    """

    def __init__(self, images: nn.Module, config: DistributionConfig, run: Run, modality: Modality) -> None:
        device = run.accelerator.device
        self.model = images.to(device)
        self.config, self.run, self.modality = config, run, modality
        sizes = images.labels.bincount().tolist()
        self.classes = len(sizes)
        network = ConvNet(modality.shape, self.classes, config.width)
        self.network = network.requires_grad_(False).to(device)
        largest = config.width * modality.shape[1] * modality.shape[2]
        self._at_once = _AT_ONCE if device.type == "cpu" else max(1, _ACTIVATION // largest)
        each = min(max(1, self._at_once // max(sizes)), self.classes)  # classes at once
        self._parts = [range(first, min(first + each, self.classes)) for first in range(0, self.classes, each)]
        self._rows = [((images.labels >= p.start) & (images.labels < p.stop)).nonzero()[:, 0] for p in self._parts]
        trained = [parameter for parameter in images.parameters() if parameter.requires_grad]
        self.optimizer: torch.optim.Optimizer
        if config.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(trained, config.lr, config.momentum)
        else:
            self.optimizer = torch.optim.Adam(trained, config.lr)
        self.optimizers = {"images": self.optimizer}

    def update(self, batch: Mapping[str, Tensor], position: Position) -> dict[str, Tensor]:
        """One step towards raw (B, C, H, W) real images and their labels."""
        draws = torch_stream(self.run.seed, position.update)
        parameters = draw(self.config.augmentation, draws)
        draw_weights(self.network, draws)
        with torch.no_grad():
            x = [self._features(self.modality.normalise(part), parameters) for part in batch["x"].split(self._at_once)]
            real = class_means(torch.cat(x), batch["label"], self.classes)
        images = self.model()
        pixels, labels = images.detach().requires_grad_(), self.model.labels
        losses = []
        for part, rows in zip(self._parts, self._rows, strict=True):
            means = class_means(self._features(pixels[rows], parameters), labels[rows], self.classes)
            loss = (means - real)[part.start : part.stop].square().sum()
            loss.backward()
            losses.append(loss.detach())
        self.optimizer.zero_grad(set_to_none=True)
        images.backward(pixels.grad)
        self.optimizer.step()
        return {"loss/match": torch.stack(losses).sum()}

    def _features(self, x: Tensor, parameters: Parameters) -> Tensor:
        with self.run.accelerator.autocast():
            features = self.network.embed(augment(x, parameters))
        return features.float()

    @torch.no_grad()
    def preview(self, model: nn.Module) -> dict[str, np.ndarray]:
        """The first images of every class, a row a class, uint8 (H, W, 3)."""
        labels = model.labels.cpu()
        shown = min(10, int(labels.bincount().min()))
        first = torch.cat([(labels == label).nonzero()[:shown, 0] for label in range(self.classes)])
        raw = self.modality.denormalise(model()[first.to(model.labels.device)])
        picture = rearrange(raw, "(k n) c h w -> (k h) (n w) c", n=shown)
        return {"images": picture.round().byte().expand(-1, -1, 3).cpu().numpy()}


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(classes, F): means of the rows (N, F) of every label (N,); zeros for a class that has none."""
    member = F.one_hot(labels, classes).to(features.dtype)  # (N, classes)
    return (member.T @ features) / member.sum(0).clamp_min(1.0)[:, None]


def match_distributions(
    images: nn.Module, train: Samples, modality: Modality, config: DistributionConfig, loop: LoopConfig, run: Run
) -> nn.Module:
    """Match synthetic images to real ones of every class.

    Args:
        images: gives the synthetic images, see :class:`DistributionTask`; trained in place.
        train: real images, uint8, of all classes; read a batch at a time.
        loop: its schedule should be "constant" without a warm-up, as published.

    Returns ``images``, in evaluation mode, on the accelerator's device, or their moving average where the loop keeps
    one. A run is resumed only with the same settings and labels; see :meth:`Loop.train` for what is raised.
    """
    task = DistributionTask(images, config, run, modality)
    # No more than there are on average, since a batch takes no more than all images.
    each = min(config.real_per_class, len(train) // task.classes)
    batches = LabelledBatches(train, each * task.classes, loop.steps, run.seed, balanced=True)
    identity = {
        "images": {name: list(value.shape) for name, value in images.state_dict().items()},
        "modality": modality.to_dict(),
        "learning": asdict(config),
        "labels": labels_digest(train),
    }
    matched = Loop(task, batches, loop, run, identity).train().eval()
    # All did the same work, but on some devices its last bits are not determined.
    synchronise_parameters(matched)
    return matched
