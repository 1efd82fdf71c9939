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
from tiny_condensers import TINY_SETTINGS
from tiny_medsynth import LABELS, TINY, tiny_samples
from torch import Tensor

from mmgen.artifacts.models import load_model
from mmgen.condensation.condenser import Length
from mmgen.condensation.medsynth import MedSynth, MedSynthConfig
from mmgen.condensation.representatives import representatives
from mmgen.errors import UserError
from mmgen.models.class_prior import ClassPrior
from mmgen.models.medsynth import RealImages
from mmgen.training.denoising import DenoisingTask
from mmgen.training.gan import GANTask, RestorationTask
from mmgen.training.network_matching import NetworkMatchingTask
from mmgen.training.run import Run

# More updates than rows in the log would need, so that an interruption is in the middle.
LONGER = replace(TINY, warmup=6, network_updates=6, phase1=Length(6), phase2=Length(6))


def medsynth(
    config: MedSynthConfig = TINY, folder: Path | None = None, resume: bool = False, seed: int = 0, **options: Any
) -> MedSynth:
    run = Run(Accelerator(cpu=True), folder, resume, seed)
    return MedSynth(config, run, options.pop("train", tiny_samples()), **options)


def weights(model: MedSynth) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.generator.state_dict().items()}


@pytest.fixture(scope="module")
def fitted() -> MedSynth:
    """A whole fit without validation images that writes nothing."""
    return medsynth(LONGER).fit()


# -- a fit


def test_two_tiny_classes_without_validation_images(fitted: MedSynth) -> None:
    assert fitted.validation is None and fitted.generator.class_names == LABELS
    assert not fitted.generator.training and isinstance(fitted.generator.prior, ClassPrior)
    made = fitted.sample(3, seed=2)
    assert made.values.shape == (6, 3, 32, 32) and made.values.dtype == np.uint8
    assert made.labels.tolist() == [0, 0, 0, 1, 1, 1] and made.label_names == LABELS
    assert made.rows.tolist() == list(range(6))
    assert np.array_equal(fitted.sample(4, seed=2).values[:3], made.values[:3])
    assert np.array_equal(made.values[:], representatives(fitted.generator, 3, TINY.choose_from, 2).values[:])
    # More than half of the draws are not worth choosing.
    assert np.array_equal(fitted.sample(5, seed=2).values[:], fitted.generator.sample(5, 2).images.numpy())
    assert not np.array_equal(fitted.sample(3, seed=3).values, made.values)


def test_its_tuned_vit_may_choose(fitted: MedSynth) -> None:
    asking = medsynth(replace(LONGER, choose_by="teacher"))
    asking.generator, asking.classifier = fitted.generator, fitted.classifier
    assert asking.teacher is not None and fitted.teacher is None
    chosen, pool = asking.sample(3, seed=2), fitted.generator.sample(TINY.choose_from, 2)
    certain = [asking.teacher.judge(images)[0] for images in (torch.from_numpy(chosen.values), pool.images)]
    for label in range(2):  # of the half that it is surer of
        own, all_of = (
            p[labels == label, label] for p, labels in zip(certain, (chosen.labels, pool.labels), strict=True)
        )
        assert own.min() >= np.median(all_of) - 1e-6


def test_it_may_start_from_draws_of_a_masked_autoencoder(tmp_path: Path) -> None:
    config = replace(TINY, input_prior="mae", mae=TINY_SETTINGS["mae"])
    model = medsynth(config, tmp_path / "run").fit()
    assert (tmp_path / "run/prior/mae/checkpoints").is_dir() and (tmp_path / "run/warmup/checkpoints").is_dir()
    generator = model.generator
    assert generator.origin == "noise" and not generator.may_hold_real_pixels
    assert generator.autoencoder is not None and same_weights(
        generator.autoencoder.state_dict(), model.prior.generator.mae.state_dict()
    )
    drawn = generator.sample(3, seed=1)
    # What it makes of a draw is not the draw.
    assert not torch.equal(drawn.images[:3], generator.prior.generator.make_batch(0, 0, 1)[:3])
    assert torch.equal(generator.sample(2, seed=1).images[:2], drawn.images[:2])
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.config == generator.config and torch.equal(loaded.sample(3, seed=1).images, drawn.images)
    with pytest.raises(UserError, match="starts from its own prior"):
        generator.condense(drawn.images, drawn.labels)


def test_validation_images_choose_the_classifier(tmp_path: Path) -> None:
    model = medsynth(folder=tmp_path, validation=tiny_samples((2, 2), seed=1)).fit()
    assert (tmp_path / "classifier" / "checkpoints" / "best.pt").is_file() and model.validation is not None
    empty = tiny_samples().select([])
    assert medsynth(validation=empty).validation is None


def test_the_stages_one_by_one_are_a_fit(fitted: MedSynth) -> None:
    model = medsynth(LONGER)
    seen = [weights(model)]
    model.pretrain()
    model.tune()
    assert same_weights(weights(model), seen[0]) and model.sample_phase1 is None
    model.learn_distribution()
    seen.append(weights(model))
    after_phase1 = model.sample(2)
    model.learn_task()
    seen.append(weights(model))
    assert not same_weights(seen[0], seen[1]) and not same_weights(seen[1], seen[2])
    assert same_weights(seen[2], weights(fitted))
    assert model.sample_phase1 is not None
    assert np.array_equal(model.sample_phase1(2, 0).values, after_phase1.values)
    assert not np.array_equal(model.sample(2).values, after_phase1.values)


def test_a_fit_is_a_function_of_the_seed(fitted: MedSynth) -> None:
    other = medsynth(LONGER, seed=1).fit()
    assert not same_weights(weights(other), weights(fitted))


def test_the_tuned_classifier_makes_a_difference(fitted: MedSynth) -> None:
    model = medsynth(LONGER)
    model.pretrain()
    model.tune()
    model.learn_distribution()
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.add_(0.3)
    model.learn_task()
    assert not same_weights(weights(model), weights(fitted))


# -- going on


@pytest.mark.parametrize("stage", ["warmup", "networks", "phase1", "phase2"])
def test_an_interrupted_fit_goes_on_to_equal_weights(stage: str, fitted: MedSynth, tmp_path: Path) -> None:
    task = {"warmup": RestorationTask, "networks": NetworkMatchingTask}.get(stage, GANTask)

    def of_this_stage(running: Any) -> bool:
        return task is not GANTask or (running.matcher is not None) == (stage == "phase2")

    with interrupted(task, update=3, of=6, when=of_this_stage):
        medsynth(LONGER, tmp_path).fit()
    assert (tmp_path / stage / "checkpoints" / "last.pt").is_file()
    resumed = medsynth(LONGER, tmp_path, resume=True).fit()
    assert same_weights(weights(resumed), weights(fitted))
    again = medsynth(LONGER, tmp_path, resume=True).fit()  # a finished fit is only read
    assert same_weights(weights(again), weights(fitted))
    assert np.array_equal(again.sample(3).values, fitted.sample(3).values)


@pytest.mark.parametrize("stage", ["prior/mae", "phase1"])
def test_a_fit_that_starts_from_an_autoencoder_goes_on_too(stage: str, tmp_path: Path) -> None:
    drawing = replace(TINY_SETTINGS["mae"], length=Length(6))
    config = replace(LONGER, input_prior="mae", mae=drawing, pool=16)
    task = DenoisingTask if stage == "prior/mae" else GANTask
    with interrupted(task, update=3, when=lambda running: getattr(running, "matcher", None) is None):
        medsynth(config, tmp_path).fit()
    before = (tmp_path / "prior/mae/checkpoints" / "last.pt").read_bytes()
    resumed = medsynth(config, tmp_path, resume=True).fit()
    if stage == "phase1":  # the autoencoder is not trained again
        assert (tmp_path / "prior/mae/checkpoints" / "last.pt").read_bytes() == before
    assert same_weights(weights(resumed), weights(medsynth(config).fit()))
    with pytest.raises(UserError, match="other settings or data"):
        medsynth(replace(config, pool=32), tmp_path, resume=True).fit()


def test_a_fit_with_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    medsynth(TINY, tmp_path).fit()
    for other in (replace(TINY, width=16), replace(TINY, gan=replace(TINY.gan, gan_weight=0.5))):
        with pytest.raises(UserError, match="other settings or data"):
            medsynth(other, tmp_path, resume=True).fit()


def test_stages_are_set_aside(tmp_path: Path) -> None:
    medsynth(TINY, tmp_path).fit()
    Run(Accelerator(cpu=True), tmp_path).set_aside(*MedSynth.stages)
    for stage in MedSynth.stages:
        assert not (tmp_path / stage / "checkpoints").exists()
        if not stage.startswith("prior/"):  # of another start of generation
            assert (tmp_path / stage / "checkpoints.earlier" / "last.pt").is_file()


# -- what is left out


def test_phase_two_alone(tmp_path: Path) -> None:
    model = medsynth(replace(TINY, phase1=Length(0)), tmp_path).fit()
    assert model.sample_phase1 is None and not (tmp_path / "phase1").exists()
    assert (tmp_path / "phase2" / "metrics.jsonl").is_file()
    assert len(model.sample(1)) == 2


def test_phase_one_alone(tmp_path: Path) -> None:
    model = medsynth(replace(TINY, phase2=Length(0), warmup=0, network_updates=0), tmp_path).fit()
    assert model.sample_phase1 is None and {path.name for path in tmp_path.iterdir()} >= {"phase1"}
    assert not any((tmp_path / stage).exists() for stage in ("phase2", "warmup", "networks"))


def test_real_images_as_input(tmp_path: Path) -> None:
    model = medsynth(replace(TINY, input_prior="real"), tmp_path).fit()
    assert isinstance(model.prior, RealImages) and model.generator.prior is None
    assert not (tmp_path / "warmup").exists()
    made = model.sample(3, seed=1)
    assert made.values.shape == (6, 3, 32, 32) and made.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(made.values, model.sample(3, seed=1).values)
    assert model.sample_phase1 is not None and len(model.sample_phase1(1, 0)) == 2
    with pytest.raises(UserError, match="starts from real images"):
        model.generator.sample(1)


# -- subjects and classes


def test_a_class_of_one_person_is_pooled() -> None:
    train = tiny_samples((6, 8))
    subjects = np.array([0] * 6 + list(range(1, 9)))
    model = medsynth(train=train, subjects=subjects)
    assert model.generator.prior.pooled == [LABELS[0]]
    assert medsynth(train=train).generator.prior.pooled == []
    with pytest.raises(UserError, match="only 2 people, fewer than 4"):
        medsynth(train=train, subjects=subjects.clip(max=1))


def test_what_cannot_be_fitted_is_refused_at_once() -> None:
    for train, words in (
        (tiny_samples((8,)), "at least two labels"),
        (tiny_samples((3, 8)), rf"fewer than 4 images.*{LABELS[0]} \(3\)"),
        (replace(tiny_samples(), label_names=(*LABELS, "nobody")), "no training image of nobody"),
        (tiny_samples(size=40), "multiple of 16"),
        (tiny_samples(channels=2), "1 .*or 3"),
    ):
        with pytest.raises(UserError, match=words):
            medsynth(train=train)
    for phases in ((0, 0), (-1, 3)):
        with pytest.raises(UserError, match="at least one of them must be trained"):
            replace(TINY, phase1=Length(phases[0]), phase2=Length(phases[1]))
