"""The denoising task: what one update of a :class:`DenoisingMAE` does, and what is watched meanwhile."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.data.samples import Samples
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.denoising_steps import NOISIEST
from mmgen.models.seeds import mixed_seed, numpy_stream
from mmgen.names import AugmentationName
from mmgen.training.augmentation import augment, draw, told
from mmgen.training.batches import LABEL
from mmgen.training.loop import Position
from mmgen.training.mae import MAEConfig, MAETask
from mmgen.training.memorisation import Memorisation, watch
from mmgen.training.preview import samples_grid
from mmgen.training.run import Run

_SEEN = (0.1, 0.25, 0.5)  # hidden shares of the modalities that another is made from


@dataclass(frozen=True)
class DenoisingConfig(MAEConfig):
    """How a denoising masked autoencoder learns, beside what every masked autoencoder is told.

    Attributes:
        plain_share: share of updates that are those of a masked autoencoder: time 0, at ``mask_ratio``; 1: all are.
        alone_share: share of the other updates in which all modalities are hidden whole; in the rest one is, and most
            of the others is seen.
        time_mean, time_deviation: times are sigmoid(N(mean, deviation)): over all of them, for what is coarsest in a
            picture is settled where a twentieth of it is left in the noise, and what is finest where a twentieth of the
            noise is left.
        label_dropout: share of samples whose label is not told; half of them in updates of a masked autoencoder.
        augmentation: strategy by modality, told to the network; none where a modality is not named.
        augmentation_strength: largest share of the strategy's ranges; that of a sample lies between 0 and this.
    """

    weight_decay: float = 0.05
    plain_share: float = 0.2
    alone_share: float = 0.75
    time_mean: float = -0.4
    time_deviation: float = 1.8
    label_dropout: float = 0.1
    augmentation: Mapping[str, AugmentationName] = field(default_factory=dict)
    augmentation_strength: float = 0.75

    def task(self, model: DenoisingMAE, run: Run, *sides: Mapping[str, Samples]) -> DenoisingTask:
        """The task that learns so; ``sides`` are training and validation samples."""
        return DenoisingTask(model, self, run, *sides)


class DenoisingTask(MAETask):
    """Owns a denoising model and its optimisers; arguments as of :class:`MAETask`."""

    model: DenoisingMAE
    config: DenoisingConfig

    def __init__(
        self,
        model: DenoisingMAE,
        config: DenoisingConfig,
        run: Run,
        train: Mapping[str, Samples] | None = None,
        validation: Mapping[str, Samples] | None = None,
    ) -> None:
        super().__init__(model, config, run, train, validation)
        self.train = dict(train or {})
        self.memorised: Memorisation | None = None
        self._updates = 0

    def arguments(
        self, batch: Mapping[str, Tensor], position: Position
    ) -> tuple[dict[str, Tensor], dict[str, float], dict[str, Tensor | dict[str, Tensor]]]:
        """Changed inputs; hidden shares; masks, labels, times, noise and changes of this process's samples."""
        self._updates, size, names = position.update + 1, self.config.batch_size, list(self.model.modalities)
        share = slice(position.rank * size // position.world, (position.rank + 1) * size // position.world)
        draws, plain = self.run.draws(position.update), self._is_plain(position)
        masks = {name: noise[share] for name, noise in self.model.noise(size, draws).items()}
        dropped = torch.rand(size, generator=draws) < (0.5 if plain else self.config.label_dropout)
        labels = batch[LABEL].masked_fill(dropped[share].to(batch[LABEL].device), self.model.no_label)
        inputs, times, changes = {}, {}, {}
        for name in names:
            logits = self.config.time_mean + self.config.time_deviation * torch.randn(size, generator=draws)
            # The first step starts from noise alone, and the second at the noisiest time.
            drawn = logits.sigmoid().masked_fill(logits < NOISIEST, 0.0)
            times[name] = (torch.zeros(size) if plain else drawn)[share]
            inputs[name], changes[name] = self._changed(name, batch[name], draws, share)
        # The same for any number of processes, and where they are needed: on a GPU drawing them on the CPU takes longer
        # than learning from them.
        stream = torch.Generator(self.accelerator.device).manual_seed(mixed_seed(self.run.seed, position.update))
        gaussian = {
            name: torch.randn(size, *self.model.valid(name).shape, generator=stream, device=stream.device)[share]
            for name in names
        }
        each = {"noise": masks, "labels": labels, "times": times, "gaussian": gaussian, "augmentation": changes}
        return inputs, self.mask_ratios(position), each

    def _changed(self, name: str, x: Tensor, draws: torch.Generator, share: slice) -> tuple[Tensor, Tensor]:
        """Samples (B / world, C, H, W) changed at random, in raw units, and what they are told of it."""
        strategy, modality = self.config.augmentation.get(name, "none"), self.model.modalities[name]
        size = self.config.batch_size
        strength = (1.5 * torch.rand(size, generator=draws) - 0.5).clamp_min(0.0) * self.config.augmentation_strength
        parameters = draw(strategy, draws, size, strength, compose=True, hide=False)
        parameters = parameters.part(share)
        # What is set apart stays the lowest value, however loud a sample is made.
        changed = augment(self.model.normalised(name, x), parameters, outside="border")
        return modality.denormalise(changed), told(parameters)

    def _is_plain(self, position: Position) -> bool:
        return bool(numpy_stream(self.run.seed, position.update, 1).random() < self.config.plain_share)

    def mask_ratios(self, position: Position) -> dict[str, float]:
        """Hidden share of each modality in this update; the same on every process."""
        if self._is_plain(position):
            return super().mask_ratios(position)
        ratios, rng = dict.fromkeys(self.model.modalities, 1.0), numpy_stream(self.run.seed, position.update, 2)
        if len(ratios) > 1 and rng.random() >= self.config.alone_share:
            made, seen = rng.integers(len(ratios)), float(rng.choice(_SEEN))
            ratios = {name: 1.0 if place == made else seen for place, name in enumerate(ratios)}
        return ratios

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Those of a masked autoencoder, and whether training records are remembered. The score is lower the longer the
        training, and infinite once they are: the last good weights are the best."""
        measures = super().validate(model)
        if not measures:
            return {}
        self.memorised = watch(model, self.train, self.validation, self.run.seed)
        measures |= self.memorised.measures() | {"memorised": float(bool(self.memorised.reason))}
        return measures | {"score": math.inf if self.memorised.reason else -float(self._updates)}

    def stop(self) -> str:
        """Why training should end: it remembers its records."""
        return self.memorised.reason if self.memorised else ""

    def preview(self, model: nn.Module) -> dict[str, np.ndarray]:
        """Reconstructions; samples from nothing; samples of each modality from the others."""
        shown = super().preview(model)
        return shown | samples_grid(model, self.validation, self.run.seed) if shown else {}
