from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from interrupting import interrupted
from tiny_medsynth import tiny_samples

from mmgen.artifacts.models import load_model
from mmgen.condensation.condenser import image_modality
from mmgen.condensation.dm import DM, PRESETS, DMConfig, real_images
from mmgen.data.phantoms import phantom_lesion
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.classifiers import ConvNet, draw_weights
from mmgen.training.classifier import ClassifierConfig, predict, train_classifier
from mmgen.training.distribution_matching import DistributionConfig, DistributionTask, class_means
from mmgen.training.run import Run

TRAIN = tiny_samples((6, 3, 8))
TINY = DMConfig(4, updates=6, matching=DistributionConfig(lr=10.0, width=4, real_per_class=4))
LESIONS = (2, 3)


def dm(config: DMConfig = TINY, folder: Path | None = None, train: Samples = TRAIN, **options: Any) -> DM:
    return DM(config, Run(Accelerator(cpu=True), folder, **options), train)


@functools.cache
def lesions(each: int, seed: int) -> Samples:
    """Phantom keratoses and angiomas of 32 pixels."""
    pictures = [
        phantom_lesion(kind, np.random.default_rng([seed, kind, number]), 32)
        for kind in LESIONS
        for number in range(each)
    ]
    labels = np.repeat(np.arange(2), each)
    return Samples(np.stack(pictures).transpose(0, 3, 1, 2), labels, ("k", "v"), np.arange(len(labels)))


# -- what is learnt


@pytest.fixture(scope="module")
def fitted_to_lesions() -> DM:
    """Five images a class matched to phantoms."""
    config = DMConfig(5, updates=40, matching=DistributionConfig(lr=2.0, width=16, real_per_class=16))
    return dm(config, train=lesions(40, 0)).fit()


@torch.no_grad()
def discrepancy(made: Samples, real: Samples) -> float:
    """Sum over classes of the squared distance of mean features, in eight random networks."""
    modality, network = image_modality("image", real), ConvNet((3, 32, 32), 2, 16)
    total = 0.0
    for seed in range(1000, 1008):
        draw_weights(network, torch.Generator().manual_seed(seed))
        means = [
            class_means(network.embed(modality.normalise(torch.from_numpy(x.values))), torch.from_numpy(x.labels), 2)
            for x in (made, real)
        ]
        total += float((means[0] - means[1]).square().sum())
    return total


def accuracy(made: Samples, accelerator: Accelerator) -> float:
    """Of a classifier that was trained on these images, on new phantoms."""
    modality, learning = image_modality("image", lesions(40, 0)), ClassifierConfig(updates=60, batch_size=10)
    torch.manual_seed(0)
    network = train_classifier(ConvNet((3, 32, 32), 2, 16), modality, made, learning, Run(accelerator))
    test = lesions(50, 1)
    return float((predict(network, modality, test, accelerator).argmax(1) == test.labels).mean())


def test_the_matching_loss_falls_in_networks_that_were_not_seen(fitted_to_lesions: DM) -> None:
    fitted = fitted_to_lesions
    start = dm(fitted.config, train=fitted.train).sample(5)
    assert discrepancy(fitted.sample(5), fitted.train) < 0.5 * discrepancy(start, fitted.train)


def test_a_classifier_learns_from_the_images_and_not_from_noise(
    fitted_to_lesions: DM, accelerator: Accelerator
) -> None:
    made = fitted_to_lesions.sample(5)
    noise = np.random.default_rng(0).integers(0, 256, made.values.shape, dtype=np.uint8)
    assert accuracy(made, accelerator) > accuracy(replace(made, values=noise), accelerator) + 0.15


# -- beginning and end


def test_images_begin_as_real_ones_and_again_with_noise() -> None:
    modality = image_modality("image", TRAIN)
    start = modality.denormalise(real_images(TRAIN, 5, modality, seed=1)().detach()).numpy()
    assert start.shape == (15, 3, 32, 32)
    for label, there in enumerate((6, 3, 8)):
        own = start[5 * label : 5 * label + 5]
        real = TRAIN.values[TRAIN.labels == label].astype(float)
        distances = np.abs(own[:, None] - real).mean((2, 3, 4))  # (5, images of the class)
        fresh = min(there, 5)
        assert distances[:fresh].min(1).max() < 1e-3 and len(set(distances.argmin(1)[:fresh])) == fresh
        assert all(0.5 < distance < 15 for distance in distances[fresh:].min(1))
    other = modality.denormalise(real_images(TRAIN, 5, modality, seed=2)().detach()).numpy()
    assert not np.array_equal(other, start)


def test_real_images_are_read_a_few_at_a_time(accelerator: Accelerator) -> None:
    reads: list[int] = []

    class Rows:
        shape = (60, *TRAIN.values.shape[1:])

        def __len__(self) -> int:
            return 60

        def __getitem__(self, rows: np.ndarray) -> np.ndarray:
            reads.append(len(rows))
            return values[rows]

    many = tiny_samples((20, 20, 20))
    values = many.values
    config = replace(TINY, images_per_class=2)
    condenser = dm(config, train=many)  # normalisation reads all, as bytes
    lazy = replace(many, values=Rows())
    condenser.train = lazy
    condenser.images = real_images(lazy, 2, condenser.modality)
    condenser.fit()
    assert len(reads) == 1 + 6 and max(reads) == 12


def test_the_model_is_of_bytes_and_comes_back_the_same(tmp_path: Path) -> None:
    fitted = dm().fit()
    with torch.no_grad():
        fitted.images.images[0] += 100.0  # out of range
        fitted.images.images[1] -= 100.0
    made = fitted.sample(4)
    assert made.values[0].min() == 255 and made.values[1].max() == 0
    exact = fitted.modality.denormalise(fitted.images().detach()).numpy()
    assert np.abs(made.values - exact).max() <= 0.501
    fitted.save(tmp_path)
    loaded = load_model(tmp_path)
    assert np.array_equal(loaded.sample(4, seed=8).images.numpy(), made.values)
    assert loaded.method == "dm" and loaded.may_hold_real_pixels and loaded.most_per_class == 4
    assert np.array_equal(fitted.sample(2).values, made.values[[0, 1, 4, 5, 8, 9]])


# -- runs


def test_an_interrupted_fit_goes_on_to_equal_bytes(tmp_path: Path) -> None:
    whole = dm().fit()
    with interrupted(DistributionTask, update=2, of=6):
        dm(folder=tmp_path).fit()
    resumed = dm(folder=tmp_path, resume=True).fit()
    assert torch.equal(resumed.images.images, whole.images.images)
    assert not torch.equal(whole.images.images, dm().images.images)
    assert list((tmp_path / "match" / "previews").glob("images_*.png"))


def test_a_fit_is_a_function_of_the_seed() -> None:
    first = dm().fit().sample(4).values
    assert np.array_equal(dm().fit().sample(4).values, first)
    assert not np.array_equal(dm(seed=1).fit().sample(4).values, first)
    assert not np.array_equal(dm(replace(TINY, augmentation="lesion")).fit().sample(4).values, first)


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"images_per_class": 0}, {"updates": 0}):
        with pytest.raises(UserError, match="at least 1 image a class in at least 1 update"):
            replace(TINY, **wrong)
    with pytest.raises(UserError, match="4 images a class, not 5"):
        dm().sample(5)


def test_a_stage_that_was_stopped_before_its_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    whole = dm().fit()
    (tmp_path / DM.stages[0] / "checkpoints").mkdir(parents=True)
    assert torch.equal(dm(folder=tmp_path, resume=True).fit().images.images, whole.images.images)


def test_the_papers_preset_is_the_published_one() -> None:
    assert PRESETS["paper"] == DMConfig(10, 20_000, DistributionConfig("sgd", 1.0, 0.5, 128, 256))
    assert PRESETS["paper"].lr == 1.0
