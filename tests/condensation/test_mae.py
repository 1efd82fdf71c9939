"""The denoising masked autoencoder as a condenser: how it chooses, and that nothing real is looked at after the fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny_condensers import TINY_SETTINGS
from tiny_medsynth import tiny_samples

from mmgen.artifacts.models import load_model
from mmgen.condensation import mae
from mmgen.condensation.mae import MAE
from mmgen.condensation.representatives import representatives
from mmgen.data.decoding import DecodedArray
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.generative import Sampling
from mmgen.models.mae_generator import MAEGenerator
from mmgen.training.run import Run

TINY = replace(TINY_SETTINGS["mae"], choose_from=6)
CARRYING = replace(TINY, hand_on_teacher=True)


class Gone:
    """Images that may no longer be read."""

    def __init__(self, values: np.ndarray | DecodedArray) -> None:
        self.shape = values.shape

    def __getitem__(self, index: object) -> np.ndarray:
        raise AssertionError("a real image was looked at")


@pytest.fixture(scope="module")
def fitted() -> MAE:
    return MAE(CARRYING, Run(Accelerator(cpu=True)), tiny_samples(), tiny_samples((3, 3), seed=1)).fit()


@pytest.mark.usefixtures("accelerator")
def test_after_the_fit_no_real_image_is_looked_at(fitted: MAE, monkeypatch: pytest.MonkeyPatch) -> None:
    for side in ("train", "validation"):
        gone = replace(getattr(fitted, side), values=Gone(getattr(fitted, side).values))  # type: ignore[arg-type]
        monkeypatch.setattr(fitted, side, gone)
    chosen, draws = fitted.sample(2, seed=5), fitted.model.sample(6, seed=5)
    pool = {image.tobytes() for image in draws.images.numpy()}
    assert len({image.tobytes() for image in chosen.values} & pool) == 4
    assert chosen.labels.tolist() == [0, 0, 1, 1]


def test_the_guidance_nearest_to_validation_images_is_kept(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, fitted: MAE
) -> None:
    def striped(model: MAEGenerator, count: int, pool: int, seed: int, *others: object) -> Samples:
        """The more guidance, the narrower the stripes."""
        stripes = 100 * np.sin(np.arange(32) * model.sampling.guidance)
        values = 128 + stripes + np.random.default_rng(seed).normal(0, 5, (2 * count, 3, 32, 32))
        labels = np.repeat([0, 1], count)
        return Samples(values.astype(np.uint8), labels, model.class_names, np.arange(2 * count))

    monkeypatch.setattr(mae, "representatives", striped)
    config = replace(TINY, guidances=(0.5, 1.0, 1.5))
    for wanted in (0.5, 1.5):
        held = striped(fitted.model.guided(wanted), 4, 4, 0)
        condenser = MAE(config, Run(accelerator), tiny_samples(), held).fit()
        assert condenser.model.sampling.guidance == condenser.model.config["guidance"] == wanted
    usual = MAE(config, Run(accelerator), tiny_samples()).fit().model.sampling
    assert usual == Sampling(TINY.steps)  # nothing to go by


def test_draws_follow_the_guidance_and_weights_are_shared(fitted: MAE) -> None:
    model = fitted.model
    other = model.guided(5.0)
    assert other.mae is model.mae and model.config["guidance"] != 5.0 == other.config["guidance"]
    assert model.autoencoder is model.mae and model.origin == "noise" and model.threat == "G"
    assert model.sample(1, 0).images.dtype == torch.uint8
    # A generator of sounds, or of pictures of another size, is none.
    with pytest.raises(UserError, match="needs an autoencoder of such"):
        MAEGenerator(48, 3, model.class_names, model.config["mae"])


@pytest.mark.usefixtures("accelerator")
def test_who_has_the_teacher_chooses_the_same(fitted: MAE, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.config == fitted.model.config and loaded.teacher.class_names == fitted.train.label_names
    assert np.array_equal(representatives(loaded, 2, 6, 5).values, fitted.sample(2, 5).values)
    assert MAEGenerator.build(fitted.autoencoder, Sampling()).teacher is None  # unless it is asked to carry one


def test_settings_that_make_no_fit_are_refused() -> None:
    with pytest.raises(UserError, match="There is no file nowhere"):
        replace(TINY, backbone="vit_tiny_patch16_224@nowhere")
    with pytest.raises(UserError, match="at least 1 draw"):
        replace(TINY, choose_from=0)
    with pytest.raises(UserError, match="leave out --choose-by"):
        replace(CARRYING, choose_by="mean")
    with pytest.raises(UserError, match="leave out --backbone"):
        replace(CARRYING, backbone="vit_tiny_patch16_224")
