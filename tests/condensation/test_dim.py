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
from mmgen.condensation.dim import PRESETS, DiM, DiMConfig
from mmgen.errors import UserError
from mmgen.models.conditional_gan import ConditionalGenerator
from mmgen.training.conditional_gan import ConditionalGANConfig, ConditionalGANTask
from mmgen.training.network_matching import PoolMatchingConfig
from mmgen.training.run import Run

TINY = DiMConfig(
    noise=16,
    width=4,
    discriminator_width=4,
    gan=ConditionalGANConfig("wgan_gp", 4, 1e-3, 1e-3, (0.0, 0.9)),
    length=Length(4),
    matching=PoolMatchingConfig(batches=2, width=4),
    matching_length=Length(4),
    ema_decay=0.5,
    augmentation="lesion",
)


def dim(
    config: DiMConfig = TINY, folder: Path | None = None, resume: bool = False, seed: int = 0, **options: Any
) -> DiM:
    run = Run(Accelerator(cpu=True), folder, resume, seed)
    return DiM(config, run, options.pop("train", tiny_samples()), **options)


def weights(model: DiM) -> dict[str, Tensor]:
    return model.model.state_dict()


@pytest.fixture(scope="module")
def fitted() -> DiM:
    """A whole fit that writes nothing."""
    return dim().fit()


def test_a_fit_gives_samples_and_a_model_that_is_saved(fitted: DiM, tmp_path: Path) -> None:
    made = fitted.sample(3, seed=2)
    assert made.values.shape == (6, 3, 32, 32) and made.label_names == LABELS
    assert np.array_equal(fitted.sample(18, seed=2).values[[0, 1, 2, 18, 19, 20]], made.values)
    fitted.save(tmp_path)
    loaded = ConditionalGenerator.from_pretrained(tmp_path)
    assert loaded.method == "dim"
    assert torch.equal(loaded.sample(3, seed=2).images, torch.from_numpy(made.values))


def test_a_fit_is_a_function_of_the_seed(fitted: DiM) -> None:
    assert same_weights(weights(dim().fit()), weights(fitted))
    assert not same_weights(weights(dim(seed=1).fit()), weights(fitted))


def test_what_the_second_stage_is_told_makes_a_difference(fitted: DiM) -> None:
    for other in (
        replace(TINY, augmentation="none"),
        replace(TINY, matching_rate=0.5),
        replace(TINY, matching=replace(TINY.matching, weight=1.0)),
    ):
        assert not same_weights(weights(dim(other).fit()), weights(fitted))


@pytest.mark.parametrize("stage", ["gan", "matching"])
def test_an_interrupted_fit_goes_on_to_equal_weights(stage: str, fitted: DiM, tmp_path: Path) -> None:
    matches = stage == "matching"
    with interrupted(ConditionalGANTask, update=2, of=4, when=lambda task: (task.matcher is not None) == matches):
        dim(folder=tmp_path).fit()
    assert (tmp_path / stage / "checkpoints" / "last.pt").is_file()
    for _ in range(2):  # gone on with, then only read
        assert same_weights(weights(dim(folder=tmp_path, resume=True).fit()), weights(fitted))
    with pytest.raises(UserError, match="other settings or data"):
        dim(replace(TINY, matching=replace(TINY.matching, batches=1)), tmp_path, resume=True).fit()
    Run(Accelerator(cpu=True), tmp_path).set_aside(*DiM.stages)
    assert (tmp_path / "matching" / "checkpoints.earlier" / "last.pt").is_file()


def test_the_paper_preset_is_the_published_one() -> None:
    assert PRESETS.keys() == {"quick", "small", "paper"}
    paper = PRESETS["paper"]
    assert (paper.gan.loss, paper.gan.lr, paper.gan.discriminator_lr, paper.gan.betas) == (
        "wgan_gp", 1e-4, 1e-4, (0.0, 0.9)
    )  # fmt: skip
    assert paper.gan.lr * paper.matching_rate == pytest.approx(5e-6)
    assert (paper.length, paper.matching.batches, paper.matching.weight) == (Length(150, "epochs"), 16, 0.01)
    assert (paper.matching.lr, paper.matching.momentum) == (0.01, 0.9)
    for config in PRESETS.values():
        assert replace(config, augmentation="radiograph").augmentation == "radiograph"


def test_images_are_of_their_classes() -> None:
    train = tiny_samples((24, 24, 24))
    learning = ConditionalGANConfig("wgan_gp", 12, 2e-3, 2e-3, (0.0, 0.9))
    config = replace(TINY, width=8, discriminator_width=16, gan=learning, length=Length(240), ema_decay=0.9)
    assert share_nearest(dim(config, train=train).fit().sample(20), train) > 0.8


@pytest.mark.slow
def test_lesions_are_of_their_classes() -> None:
    train = lesions(120, (1, 3))
    condenser = dim(replace(PRESETS["quick"], augmentation="lesion"), train=train).fit()
    made = condenser.sample(40)
    assert share_recognised(made, train, condenser) > 0.8
    spread, real = (x.values.astype(float).std(0).mean() for x in (made, train))
    assert spread > 0.5 * real  # not one picture a class
