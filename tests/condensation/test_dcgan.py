from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from interrupting import interrupted
from recognised import lesions, share_nearest, share_recognised
from tiny import same_weights
from tiny_medsynth import LABELS, tiny_samples
from torch import Tensor

from mmgen.condensation.condenser import Length
from mmgen.condensation.dcgan import DCGAN, PRESETS, DCGANConfig
from mmgen.errors import UserError
from mmgen.models.conditional_gan import ConditionalGenerator
from mmgen.training.conditional_gan import ConditionalGANConfig, ConditionalGANTask
from mmgen.training.run import Run

TINY = DCGANConfig(16, 4, 4, ConditionalGANConfig(batch_size=4), Length(4), ema_decay=0.5)


def dcgan(
    config: DCGANConfig = TINY, folder: Path | None = None, resume: bool = False, seed: int = 0, **options: Any
) -> DCGAN:
    run = Run(Accelerator(cpu=True), folder, resume, seed)
    return DCGAN(config, run, options.pop("train", tiny_samples()), **options)


def weights(model: DCGAN) -> dict[str, Tensor]:
    return model.model.state_dict()


@pytest.fixture(scope="module")
def fitted() -> DCGAN:
    """A whole fit that writes nothing."""
    return dcgan().fit()


def test_a_fit_gives_samples(fitted: DCGAN) -> None:
    model = fitted.model
    assert isinstance(model, ConditionalGenerator) and model.method == "dcgan" and not model.training
    made = fitted.sample(3, seed=2)
    assert made.values.shape == (6, 3, 32, 32) and made.values.dtype == np.uint8
    assert made.labels.tolist() == [0, 0, 0, 1, 1, 1] and made.label_names == LABELS
    more = fitted.sample(20, seed=2)
    assert np.array_equal(more.values[[0, 1, 2, 20, 21, 22]], made.values)
    assert not np.array_equal(fitted.sample(3, seed=3).values, made.values)
    assert model.origin == "noise" and not model.may_hold_real_pixels and model.most_per_class is None


def test_saved_and_loaded_samples_are_equal(fitted: DCGAN, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    loaded = ConditionalGenerator.from_pretrained(tmp_path)
    assert torch.equal(loaded.sample(4, seed=5).images, torch.from_numpy(fitted.sample(4, seed=5).values))


def test_a_fit_is_a_function_of_the_seed(fitted: DCGAN) -> None:
    assert same_weights(weights(dcgan().fit()), weights(fitted))
    assert not same_weights(weights(dcgan(seed=1).fit()), weights(fitted))
    assert not same_weights(weights(dcgan()), weights(fitted))


def test_an_untrained_generator_begins_at_the_mean_colour() -> None:
    train = tiny_samples()
    made = dcgan(train=train).sample(8)
    off = made.values.mean((0, 2, 3)) - train.values.mean((0, 2, 3))
    assert np.abs(off).max() < 5


def test_an_interrupted_fit_goes_on_to_equal_weights(fitted: DCGAN, tmp_path: Path) -> None:
    with interrupted(ConditionalGANTask, update=1, of=4):
        dcgan(folder=tmp_path).fit()
    for _ in range(2):  # gone on with, then only read
        assert same_weights(weights(dcgan(folder=tmp_path, resume=True).fit()), weights(fitted))
    with pytest.raises(UserError, match="other settings or data"):
        dcgan(replace(TINY, width=8), tmp_path, resume=True).fit()


def test_grey_images_of_another_size() -> None:
    made = dcgan(train=tiny_samples(channels=1, size=48)).fit().sample(2)
    assert made.values.shape == (4, 1, 48, 48)


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(UserError, match="at least two labels"):
        dcgan(train=tiny_samples((8,)))
    with pytest.raises(UserError, match="2 classes leave too little of 3 entries"):
        dcgan(replace(TINY, noise=3))


def test_presets_can_be_changed_as_all_methods_are() -> None:
    assert PRESETS.keys() == {"quick", "small", "paper"}
    for config in PRESETS.values():
        assert replace(config, augmentation="radiograph").augmentation == "radiograph"
    paper = PRESETS["paper"].gan
    assert (paper.loss, paper.lr, paper.discriminator_lr, paper.betas) == ("bce", 2e-4, 2e-4, (0.5, 0.999))


def test_images_are_of_their_classes() -> None:
    train = tiny_samples((24, 24, 24))
    learning = ConditionalGANConfig(batch_size=12, lr=2e-3, discriminator_lr=1e-3, betas=(0.5, 0.99))
    config = replace(TINY, width=8, discriminator_width=8, gan=learning, length=Length(100), ema_decay=0.9)
    condenser = dcgan(config, train=train)
    assert share_nearest(condenser.sample(20), train) < 0.6
    assert share_nearest(condenser.fit().sample(20), train) > 0.9


@pytest.mark.slow
def test_lesions_are_of_their_classes() -> None:
    train = lesions(120, (1, 3))
    condenser = dcgan(PRESETS["quick"], train=train).fit()
    made = condenser.sample(40)
    assert share_recognised(made, train, condenser) > 0.9
    spread, real = (x.values.astype(float).std(0).mean() for x in (made, train))
    assert spread > 0.6 * real  # not one picture a class
