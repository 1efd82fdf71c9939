from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from interrupting import interrupted
from tiny import same_weights
from tiny_medsynth import tiny_samples
from torch import Tensor, nn

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.classifiers import ConvNet
from mmgen.models.modality import Modality
from mmgen.models.seeds import mixed_seed
from mmgen.training import distribution_matching as module
from mmgen.training.augmentation import augment, draw
from mmgen.training.batches import LabelledBatches
from mmgen.training.distribution_matching import (
    DistributionConfig,
    DistributionTask,
    class_means,
    draw_weights,
    match_distributions,
)
from mmgen.training.loop import LoopConfig, Position
from mmgen.training.run import Run

TRAIN = tiny_samples((10, 14, 8))
MODALITY = Modality("image", (3, 32, 32), (1, 1), (120.0,), (60.0,), value_range=(0.0, 255.0))
CONFIG = DistributionConfig(lr=20.0, width=8, real_per_class=4, augmentation="lesion")
LOOP = LoopConfig(2, 3, "constant", warmup=0.0, log_every=1)


class Made(nn.Module):
    """Pixels that are learnt, of classes in no order, and a parameter that is not."""

    def __init__(self, each: int = 3, classes: int = 3) -> None:
        super().__init__()
        chance = torch.Generator().manual_seed(1)
        self.images = nn.Parameter(torch.randn(each * classes, 3, 32, 32, generator=chance))
        self.offset = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.register_buffer("labels", torch.randperm(each * classes, generator=chance) % classes)

    def forward(self) -> Tensor:
        return self.images + self.offset


def batch_of(update: int, samples: Samples = TRAIN) -> tuple[dict[str, Tensor], Position]:
    position = Position(0, update, update)
    return LabelledBatches(samples, 12, 9, 0, balanced=True).batch(position), position


def looped_loss(pixels: Tensor, labels: Tensor, batch: dict[str, Tensor], update: int) -> Tensor:
    """The loss of one update, written class by class and image by image."""
    chance = torch.Generator().manual_seed(mixed_seed(3, update))
    parameters = draw(CONFIG.augmentation, chance)
    network = ConvNet((3, 32, 32), 3, CONFIG.width)
    draw_weights(network, chance)

    def mean(images: Tensor) -> Tensor:
        return torch.stack([network.embed(augment(image[None], parameters))[0] for image in images]).mean(0)

    losses = []
    for label in range(3):
        real = mean(MODALITY.normalise(batch["x"][batch["label"] == label]))
        losses.append(((mean(pixels[labels == label]) - real) ** 2).sum())
    return torch.stack(losses).sum()


# -- one update


@pytest.mark.parametrize("at_once", [1, 5, 64])  # a class at a time, some, and all
def test_an_update_is_the_gradient_of_a_loop_over_classes(
    accelerator: Accelerator, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    made = Made()
    task = DistributionTask(made, CONFIG, Run(accelerator, seed=3), MODALITY)
    before = made.images.detach().clone().requires_grad_()
    for update in range(3):
        batch, position = batch_of(update)
        loss = looped_loss(before, made.labels, batch, update)
        (gradient,) = torch.autograd.grad(loss, before)
        torch.testing.assert_close(task.update(batch, position)["loss/match"], loss.detach())
        torch.testing.assert_close(made.images.grad, gradient, rtol=1e-3, atol=1e-5)
        before = made.images.detach().clone().requires_grad_()
    assert gradient.abs().amax((1, 2, 3)).min() > 0  # every image is learnt
    assert made.offset.grad is None and made.offset == 0


def test_the_gradient_reaches_images_through_every_change(accelerator: Accelerator) -> None:
    made = Made()
    task = DistributionTask(made, CONFIG, Run(accelerator, seed=3), MODALITY)
    kinds = set()
    for update in range(25):
        parameters = draw("lesion", torch.Generator().manual_seed(mixed_seed(3, update)))
        kinds.add((bool(parameters.hole[:, 2:].any()), bool(parameters.shift.any()), bool(parameters.brightness.any())))
        task.update(*batch_of(update))
        assert made.images.grad.abs().amax((1, 2, 3)).min() > 0
    assert len(kinds) == 4  # cut out, shifted, coloured, and turned or scaled


def test_real_and_synthetic_images_are_changed_alike(accelerator: Accelerator) -> None:
    """Synthetic images that are the real ones differ from them in no network and under no change."""
    samples = TRAIN.select(np.concatenate([np.flatnonzero(TRAIN.labels == c)[:4] for c in range(3)]))
    made = Made(each=4)
    made.images.data = MODALITY.normalise(torch.from_numpy(samples.values))
    made.labels = torch.from_numpy(samples.labels)
    task = DistributionTask(made, replace(CONFIG, lr=1e-9), Run(accelerator, seed=3), MODALITY)
    batch = {"x": torch.from_numpy(samples.values), "label": torch.from_numpy(samples.labels)}
    own = [float(task.update(batch, Position(0, u, u))["loss/match"]) for u in range(4)]
    other = {"x": batch["x"].flip(2), "label": batch["label"]}
    assert max(own) < 1e-6 < min(float(task.update(other, Position(0, u, u))["loss/match"]) for u in range(4))


def test_every_update_has_a_network_of_its_own_that_is_drawn_as_torch_does() -> None:
    network, fresh = ConvNet((3, 32, 32), 3, 64), ConvNet((3, 32, 32), 3, 64)
    draw_weights(network, torch.Generator().manual_seed(0))
    first = {key: value.clone() for key, value in network.state_dict().items()}
    for key, value in fresh.blocks.state_dict().items():
        ours = first[f"blocks.{key}"]
        assert torch.equal(ours, value) == (".1." in key)  # norms begin alike
        if ours.numel() > 1000:
            torch.testing.assert_close(ours.std(), value.std(), rtol=0.05, atol=0)
            torch.testing.assert_close(ours.abs().max(), value.abs().max(), rtol=0.01, atol=0)
    draw_weights(network, torch.Generator().manual_seed(1))
    assert not torch.equal(network.blocks[0][0].weight, first["blocks.0.0.weight"])
    draw_weights(network, torch.Generator().manual_seed(0))
    assert same_weights(network.state_dict(), first)


def test_means_by_class() -> None:
    features, labels = torch.arange(12.0).reshape(6, 2), torch.tensor([2, 0, 2, 0, 2, 0])
    means = class_means(features, labels, 4)
    assert means.tolist() == [[6, 7], [0, 0], [4, 5], [0, 0]]


# -- a run


def run(accelerator: Accelerator, folder: Path | None = None, resume: bool = False, **options: Any) -> nn.Module:
    config = replace(CONFIG, **options)
    return match_distributions(Made(), TRAIN, MODALITY, config, LOOP, Run(accelerator, folder, resume, seed=3))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_an_interrupted_run_goes_on_to_equal_images(accelerator: Accelerator, optimizer: str, tmp_path: Path) -> None:
    options = {"optimizer": optimizer, "lr": 20.0 if optimizer == "sgd" else 0.01}
    whole = run(accelerator, **options)
    assert not whole.training and not torch.equal(whole.images, Made().images)
    with interrupted(DistributionTask, update=3, of=6):
        run(accelerator, tmp_path, **options)
    resumed = run(accelerator, tmp_path, resume=True, **options)
    assert same_weights(resumed.state_dict(), whole.state_dict())
    with pytest.raises(UserError, match="other settings or data"):
        run(accelerator, tmp_path, resume=True, **(options | {"width": 4}))


def test_what_is_written(accelerator: Accelerator, tmp_path: Path) -> None:
    run(accelerator, tmp_path)
    assert "loss/match" in (tmp_path / "metrics.jsonl").read_text()
    assert len(list((tmp_path / "previews").glob("images_*.png"))) == 2


@pytest.mark.parametrize("channels", [1, 3])
def test_a_preview_has_a_row_for_each_class(accelerator: Accelerator, channels: int) -> None:
    made = Made(each=2)
    made.images.data = (made.labels[:, None, None, None] - 1.0).expand(-1, channels, 32, 32).clone()
    modality = replace(MODALITY, shape=(channels, 32, 32))
    picture = DistributionTask(made, CONFIG, Run(accelerator, seed=3), modality).preview(made)["images"]
    assert picture.shape == (96, 64, 3) and picture.dtype == np.uint8
    assert [np.unique(row).tolist() for row in np.split(picture, 3)] == [[60], [120], [180]]


def test_every_class_has_equally_many_real_images_however_few_there_are(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Tensor]] = []
    update = DistributionTask.update

    def watching(self: DistributionTask, batch: Any, position: Position) -> Any:
        seen.append(batch)
        return update(self, batch, position)

    monkeypatch.setattr(DistributionTask, "update", watching)
    run(accelerator, real_per_class=256)
    assert {tuple(batch["label"].bincount().tolist()) for batch in seen} == {(10, 10, 10)}


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="sgd, adam, not 'lion'"):
        DistributionConfig("lion")
    for wrong in ({"width": 0}, {"real_per_class": 0}):
        with pytest.raises(UserError, match="at least 1"):
            DistributionConfig(**wrong)
