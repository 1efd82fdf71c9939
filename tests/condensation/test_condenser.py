"""What every condenser refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from accelerate import Accelerator
from tiny_condensers import TINY_SETTINGS
from tiny_medsynth import tiny_samples

from mmgen.condensation.condenser import Condenser, Length, image_modality, loop_of, to_samples
from mmgen.condensation.methods import METHODS
from mmgen.errors import UserError
from mmgen.training.run import Run


@pytest.mark.parametrize("kind", METHODS.values())
def test_images_that_cannot_be_condensed_are_refused(accelerator: Accelerator, kind: type[Condenser]) -> None:
    config, train = TINY_SETTINGS[kind.method], tiny_samples((4, 4))
    with pytest.raises(UserError, match="at least two labels"):
        kind(config, Run(accelerator), replace(train, labels=train.labels * 0, label_names=("one",)))
    with pytest.raises(UserError, match="no training image of меланома"):
        kind(config, Run(accelerator), replace(train, labels=train.labels * 0))
    with pytest.raises(UserError, match="multiple of 16"):
        kind(config, Run(accelerator), replace(train, values=train.values[:, :, :24, :24]))


def test_lengths_become_epochs_and_steps() -> None:
    lengths = (Length(7, "epochs"), Length(2000), Length(6))
    loops = [length.loop(100, 32, ema_decay=0.5) for length in lengths]
    assert [(loop.epochs, loop.steps) for loop in loops] == [(7, 4), (20, 100), (6, 1)]
    assert {(loop.schedule, loop.warmup, loop.ema_decay) for loop in loops} == {("constant", 0.0, 0.5)}
    for updates in (1, 19, 20, 21, 30, 39, 150, 2001):
        loop = loop_of(updates)
        assert updates <= loop.epochs * loop.steps < updates + loop.steps and loop.epochs <= 20


def test_the_modality_is_that_of_the_pictures(accelerator: Accelerator) -> None:
    train = tiny_samples((4, 4))
    modality = image_modality("image", train)
    assert modality.shape == (3, 32, 32) and modality.value_range == (0.0, 255.0)
    assert modality.mean == pytest.approx(train.values.mean((0, 2, 3)), rel=1e-3)
    made = METHODS["dcgan"](TINY_SETTINGS["dcgan"], Run(accelerator), train).fit().model.sample(2)
    samples = to_samples(made)
    assert samples.label_names == train.label_names and samples.rows.tolist() == list(range(4))
