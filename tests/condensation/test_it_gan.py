from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from interrupting import interrupted
from tiny import same_weights
from tiny_medsynth import LABELS, tiny_samples

from mmgen.condensation.condenser import Length
from mmgen.condensation.dcgan import DCGANConfig
from mmgen.condensation.it_gan import ITGAN, PRESETS, DecodedLatents, ITGANConfig, choose
from mmgen.condensation.subset import FeatureConfig
from mmgen.errors import UserError
from mmgen.models.conditional_gan import ConditionalGenerator
from mmgen.models.modality import Modality
from mmgen.models.stored import StoredLatents
from mmgen.training.conditional_gan import ConditionalGANConfig
from mmgen.training.distribution_matching import DistributionConfig, DistributionTask
from mmgen.training.inversion import InversionConfig, InversionTask
from mmgen.training.loop import Position
from mmgen.training.run import Run

TINY = ITGANConfig(
    images_per_class=2,
    gan=DCGANConfig(noise=8, width=8, gan=ConditionalGANConfig(batch_size=4), length=Length(4), ema_decay=0.5),
    features=FeatureConfig(8, 10, 4),
    inverted_per_class=7,
    inversion=InversionConfig(updates=3, together=5),
    tuning_updates=6,
    tuning=DistributionConfig("adam", 0.1, width=8, real_per_class=4),
    augmentation="lesion",
)
MODALITY = Modality("image", (3, 32, 32), (1, 1), (127.5,), (64.0,), value_range=(0.0, 255.0))


def it_gan(
    config: ITGANConfig = TINY, folder: Path | None = None, resume: bool = False, seed: int = 0, **options: Any
) -> ITGAN:
    run = Run(Accelerator(cpu=True), folder, resume, seed)
    return ITGAN(config, run, options.pop("train", tiny_samples()), **options)


@pytest.fixture(scope="module")
def fitted() -> ITGAN:
    return it_gan().fit()


# -- a fit


def test_a_fit_leaves_latents_of_each_class(fitted: ITGAN, tmp_path: Path) -> None:
    assert fitted.model.latents.shape == (2, 2, 8) and not fitted.model.training
    made = fitted.sample(2)
    assert made.values.shape == (4, 3, 32, 32) and made.values.dtype == np.uint8
    assert made.labels.tolist() == [0, 0, 1, 1] and made.label_names == LABELS
    fitted.save(tmp_path)
    assert np.array_equal(StoredLatents.from_pretrained(tmp_path).sample(2).images.numpy(), made.values)
    with pytest.raises(UserError, match="There are 2 images a class"):
        fitted.sample(3)


def test_a_fit_is_a_function_of_the_seed(fitted: ITGAN) -> None:
    assert same_weights(it_gan().fit().model.state_dict(), fitted.model.state_dict())
    other = it_gan(seed=1).fit()
    assert not torch.equal(other.model.latents, fitted.model.latents)


def test_validation_images_choose_the_features(tmp_path: Path) -> None:
    it_gan(folder=tmp_path, validation=tiny_samples((2, 2), seed=1)).fit()
    assert (tmp_path / "features" / "checkpoints" / "best.pt").is_file()
    assert {path.name for path in tmp_path.iterdir()} == set(ITGAN.stages)


@pytest.mark.parametrize("stage", ["inversion", "tuning"])
def test_an_interrupted_fit_goes_on_to_equal_latents(stage: str, fitted: ITGAN, tmp_path: Path) -> None:
    task = InversionTask if stage == "inversion" else DistributionTask
    with interrupted(task, update=3):
        it_gan(folder=tmp_path).fit()
    resumed = it_gan(folder=tmp_path, resume=True).fit()
    assert same_weights(resumed.model.state_dict(), fitted.model.state_dict())
    again = it_gan(folder=tmp_path, resume=True).fit()  # a finished fit is only read
    assert same_weights(again.model.state_dict(), fitted.model.state_dict())


# -- which images are inverted


def test_so_many_images_of_each_class_are_inverted() -> None:
    train = tiny_samples((3, 8))
    for inverted, count, expected in ((5, 2, (5, 5)), (None, 2, (3, 8)), (None, 4, (4, 8)), (2, 4, (4, 4))):
        config = replace(TINY, inverted_per_class=inverted, images_per_class=count)
        rows = it_gan(config, train=train)._rows()
        assert tuple(map(len, rows)) == expected
        for label, part in enumerate(rows):
            members = np.flatnonzero(train.labels == label)
            assert len(set(part)) == min(len(part), len(members)) and set(part) <= set(members)


def test_what_cannot_be_done_is_refused() -> None:
    for wrong in ({"images_per_class": 0}, {"tuning_updates": 0}):
        with pytest.raises(UserError, match="at least 1 latent"):
            replace(TINY, **wrong)
    with pytest.raises(UserError, match="k_means or random, not 'best'"):
        replace(TINY, choice="best")
    with pytest.raises(UserError, match="before fit"):
        _ = it_gan().model


# -- which latents are kept


def test_k_means_keeps_one_of_every_cluster() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 20, (6, 10))
    cluster = rng.permutation(np.repeat(np.arange(6), 9))
    points = (centres[cluster] + rng.normal(0, 1, (54, 10))).astype(np.float32)
    for seed in range(3):
        assert sorted(cluster[choose(points, 6, "k_means", seed)]) == list(range(6))
    assert not all(len(set(cluster[choose(points, 6, "random", seed)])) == 6 for seed in range(3))


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("choice", ["k_means", "random"])
def test_what_is_kept_is_kept_once(choice: Any) -> None:
    points = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    points[6:] = points[:6]
    for count in (1, 8, 12):
        rows = choose(points, count, choice)
        assert len(set(rows.tolist())) == count
        assert np.array_equal(rows, choose(points, count, choice))


# -- tuning


def made_images(seed: int = 0) -> DecodedLatents:
    """Random latents of an untrained generator."""
    torch.manual_seed(seed)
    generator = ConditionalGenerator(32, 3, LABELS, noise=8, width=8)
    generator.settle()
    return DecodedLatents(generator, torch.randn(6, 8), torch.tensor([0, 0, 0, 1, 1, 1]), MODALITY)


def test_latents_alone_are_tuned_and_lower_the_matching_loss() -> None:
    """Towards images that the generator can make, of latents from elsewhere."""
    made, hidden = made_images(), made_images()
    with torch.no_grad():
        hidden.latents.copy_(torch.randn(6, 8, generator=torch.Generator().manual_seed(9)) + 1.5)
        batch = {"x": MODALITY.denormalise(hidden()).round().byte(), "label": hidden.labels}
    config = DistributionConfig("adam", 0.1, width=8, real_per_class=6)
    task = DistributionTask(made, config, Run(Accelerator(cpu=True)), MODALITY)

    def loss() -> float:
        """In five networks, which are the same ones before and after."""
        probes = (DistributionTask(copy.deepcopy(made), config, Run(Accelerator(cpu=True)), MODALITY) for _ in range(5))
        return sum(float(p.update(batch, Position(0, 0, 1000 + n))["loss/match"]) for n, p in enumerate(probes))

    before, weights = loss(), {key: value.clone() for key, value in made.generator.state_dict().items()}
    for update in range(40):
        made.train()
        task.update(batch, Position(0, update, update))
    assert loss() < 0.5 * before
    assert same_weights(made.generator.state_dict(), weights)


def test_an_image_does_not_depend_on_the_other_latents() -> None:
    made = made_images()
    before = made.train()().detach()
    with torch.no_grad():
        made.latents[1:] = 0.0
    assert torch.allclose(made()[0], before[0], rtol=0, atol=1e-4) and not torch.allclose(made()[1], before[1])


def test_presets_are_complete() -> None:
    assert set(PRESETS) == {"quick", "small", "paper"}
    paper = PRESETS["paper"]
    assert (paper.tuning_updates, paper.inverted_per_class, paper.inversion.lr) == (5000, None, 0.1)
    assert (paper.tuning.optimizer, paper.tuning.lr) == ("adam", 1e-3)
