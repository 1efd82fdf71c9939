"""The masked-autoencoder task: what one update of a :class:`CrossModalMAE` does."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.seeds import numpy_stream
from mmgen.training.batches import PairedBatches
from mmgen.training.engine import choose_attention, synchronise_parameters
from mmgen.training.gradients import LossStepper
from mmgen.training.loop import Loop, LoopConfig, Position, Task
from mmgen.training.mae_validation import masked_patch_error, mean_patch_error, tuples_around
from mmgen.training.preview import reconstruction_grid
from mmgen.training.run import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MAEConfig:
    """How a masked autoencoder learns.

    Attributes:
        batch_size: tuples of one update over all processes.
        lr, weight_decay, betas: of AdamW. The paper uses 1e-3, 0.05 and torch's default betas.
        mask_ratio: share of hidden patches, of every modality.
        whole_mask_share: share of updates in which one modality, in turn by chance, is hidden whole, so that the model
            learns to make it from the others. Not possible, and not done, with one modality or with
            ``fusion_query="other"``.
        loss_coupling: "decoupled" gives each modality's loss its own gradient and optimiser (section III-D), "joint"
            adds the losses.
        clip_norm: largest gradient norm of a loss.
        accumulate: parts into which a batch is cut to save memory; the update is the same.
    """

    batch_size: int = 16
    lr: float = 1e-3
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    mask_ratio: float = 0.75
    whole_mask_share: float = 0.1
    loss_coupling: Literal["decoupled", "joint"] = "decoupled"
    clip_norm: float | None = 1.0
    accumulate: int = 1
    plain_share: ClassVar[float] = 1.0  # of the updates, that are those of a masked autoencoder

    def task(self, model: CrossModalMAE, run: Run, *sides: Mapping[str, Samples]) -> MAETask:
        """The task that learns so; ``sides`` are training and validation samples."""
        return MAETask(model, self, run, *sides)


class MAETask(Task):
    """Owns a model and its optimisers.

    Args:
        model: already holds its initial weights; it is moved to the accelerator's device.
        config: how to learn.
        run: its engine, and the seed of all masks.
        train, validation: decoded samples for baseline, validation and previews; without ``validation`` nothing is
            validated.

    Raises:
        UserError: the batch cannot be shared out evenly.
    """

    def __init__(
        self,
        model: CrossModalMAE,
        config: MAEConfig,
        run: Run,
        train: Mapping[str, Samples] | None = None,
        validation: Mapping[str, Samples] | None = None,
    ) -> None:
        accelerator = run.accelerator
        parts = accelerator.num_processes * config.accumulate
        if config.batch_size % parts:
            raise UserError(
                f"The batch size ({config.batch_size}) must be a multiple of processes x accumulation steps ({parts})."
            )
        self.model = model.to(accelerator.device)
        self.config, self.run, self.accelerator = config, run, accelerator
        self._part_size = config.batch_size // parts
        choose_attention(model, accelerator.device, accelerator.mixed_precision)
        synchronise_parameters(model)
        names = list(model.modalities)
        self._whole_mask_share = (
            config.whole_mask_share if len(names) > 1 and model.config["fusion_query"] == "own" else 0.0
        )
        if config.loss_coupling == "decoupled":
            reach = {name: list(model.parameters_of_loss(name).values()) for name in names}
        else:
            reach = {"joint": [p for p in model.parameters() if p.requires_grad]}
        self.stepper = LossStepper(reach, config.lr, config.weight_decay, config.betas, config.clip_norm)
        self.optimizers = self.stepper.optimizers
        self.validation = {name: samples.at_most() for name, samples in (validation or {}).items()}
        self.baseline: dict[str, float] = {}
        if train and validation:
            self.baseline = {
                name: mean_patch_error(model.modalities[name], train[name], validation[name]) for name in names
            }

    def update(self, batch: Mapping[str, Tensor], position: Position) -> dict[str, Tensor]:
        """One forward pass a part, one gradient a loss, one step an optimiser."""
        inputs, ratios, each = self.arguments(batch, position)
        share = 1.0 / self.config.accumulate
        means: dict[str, Tensor] = {}
        for part in range(self.config.accumulate):
            cut = slice(part * self._part_size, (part + 1) * self._part_size)
            with self.accelerator.autocast():
                losses = self.model(_cut(inputs, cut), ratios, **{name: _cut(own, cut) for name, own in each.items()})
            for name, loss in losses.items():
                means[f"loss/{name}"] = means.get(f"loss/{name}", 0.0) + loss.detach() * share
            if self.config.loss_coupling == "joint":
                losses = {"joint": torch.stack(list(losses.values())).sum()}
            self.stepper.accumulate(losses, share)
        norms = self.stepper.step()
        return means | {f"gradient_norm/{name}": norm for name, norm in norms.items()}

    def arguments(
        self, batch: Mapping[str, Tensor], position: Position
    ) -> tuple[dict[str, Tensor], dict[str, float], dict[str, Tensor | dict[str, Tensor]]]:
        """What the model is given in an update: inputs, mask ratios, and by name what else each sample has."""
        inputs = {name: batch[name] for name in self.model.modalities}
        return inputs, self.mask_ratios(position), {"noise": self.noise(position)}

    def noise(self, position: Position) -> dict[str, Tensor]:
        """This process's share {name: (B / world, N)} of the global batch's masking noise, the same for any world."""
        size = self.config.batch_size
        cut = slice(position.rank * size // position.world, (position.rank + 1) * size // position.world)
        noise = self.model.noise(size, self.run.draws(position.update))
        return {name: values[cut] for name, values in noise.items()}

    def mask_ratios(self, position: Position) -> dict[str, float]:
        """Mask ratio of each modality in this update; the same on every process."""
        ratios = dict.fromkeys(self.model.modalities, self.config.mask_ratio)
        rng = numpy_stream(self.run.seed, position.update)
        if rng.random() < self._whole_mask_share:
            ratios[list(ratios)[rng.integers(len(ratios))]] = 1.0
        return ratios

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Masked-patch error by modality, the baseline beside it, and as score the mean of their ratios."""
        if not self.validation:
            return {}
        with self.accelerator.autocast():
            errors = masked_patch_error(model, self.validation, self.config.mask_ratio, self.run.seed)
        ratios = {name: error / max(self.baseline.get(name, 1.0), 1e-12) for name, error in errors.items()}
        measures = {f"error/{name}": error for name, error in errors.items()}
        measures |= {f"of_mean_patch/{name}": ratio for name, ratio in ratios.items()}
        return measures | {"score": float(np.mean(list(ratios.values())))}

    def describe(self) -> dict[str, Any]:
        """The fusion gates xi, layer by layer."""
        return {"xi": {name: [round(float(xi), 5) for xi in gates] for name, gates in self.model.gates().items()}}

    def preview(self, model: nn.Module) -> dict[str, np.ndarray]:
        """Original, visible part and full decode of a few validation samples."""
        if not self.validation:
            return {}
        first = next(iter(self.validation))
        rows = tuples_around(self.validation, first, self.run.seed)
        picked = np.linspace(0, len(rows[first]) - 1, min(6, len(rows[first]))).astype(int)
        batch = {name: torch.from_numpy(self.validation[name].values[index[picked]]) for name, index in rows.items()}
        batch = {name: x.to(self.accelerator.device) for name, x in batch.items()}
        return reconstruction_grid(model, batch, self.config.mask_ratio, self.run.seed)


def _cut(values: Tensor | Mapping[str, Tensor], part: slice) -> Any:
    return values[part] if isinstance(values, Tensor) else {name: x[part] for name, x in values.items()}


def train_mae(
    model: CrossModalMAE,
    splits: Mapping[str, Mapping[str, Samples]],
    config: MAEConfig,
    loop: LoopConfig,
    run: Run,
    data_fingerprints: Mapping[str, str] | None = None,
    updates: int | None = None,
    share: float = 1.0,
) -> CrossModalMAE:
    """Train a model on the modalities it has, validating on the "val" split if there is one.

    ``updates`` replaces ``loop.epochs`` by the number of epochs that comes nearest to so many updates. If absent, it is
    this share of as many as a model of all modalities in ``splits`` makes in ``loop.epochs``: a model of one modality,
    whose epochs may be shorter, is trained as long.

    Returns the weights to keep: the moving average if there is one. A run is resumed only with the same model, settings
    and ``data_fingerprints`` (by modality). See :meth:`Loop.train` for what is raised.
    """
    train = {name: splits["train"][name] for name in model.modalities}
    validation = {name: held for name, held in splits.get("val", {}).items() if name in model.modalities}
    task = config.task(model, run, train, validation)
    batches = PairedBatches(train, config.batch_size, run.seed)
    if updates is None:
        steps = PairedBatches(splits["train"], config.batch_size, run.seed).steps_per_epoch
        updates = round(share * loop.epochs * steps)
    loop = replace(loop, epochs=max(1, round(updates / batches.steps_per_epoch)))
    fingerprints = {name: (data_fingerprints or {}).get(name) for name in model.modalities}
    identity = {"model": model.config, "learning": asdict(config), "data": fingerprints}
    training = Loop(task, batches, loop, run, identity)
    trained = training.train()
    measures = task.validate(trained)
    if (reason := task.stop()) and training.has_best:
        training.use_best()
    if reason and run.accelerator.is_main_process:
        kept = "the last weights that did not are kept" if training.has_best else "no weights did not"
        logger.warning("Memorising: %s; %s. More data, or fewer --epochs, help.", reason, kept)
    for name, value in measures.items():
        if name.startswith("of_mean_patch/") and value >= 1.0 and run.accelerator.is_main_process:
            logger.warning(
                "%s: the model does not beat predicting the mean patch (%.2f of its error); train longer.",
                name.split("/")[1],
                value,
            )
    return trained.eval()
