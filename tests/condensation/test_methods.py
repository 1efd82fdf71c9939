"""All methods by name: presets, and one interface for all."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny_condensers import TINY_SETTINGS
from tiny_medsynth import tiny_samples

from mmgen.artifacts.models import load_model
from mmgen.condensation.methods import METHODS, preset
from mmgen.condensation.representatives import representatives
from mmgen.errors import UserError
from mmgen.names import BudgetName, MethodName
from mmgen.training.run import Run


@pytest.mark.parametrize("method", get_args(MethodName))
@pytest.mark.parametrize("budget", get_args(BudgetName))
def test_every_method_has_every_preset(method: MethodName, budget: BudgetName) -> None:
    config = preset(method, budget, 7, "radiograph")
    assert config.augmentation == "radiograph"
    sized = "images_per_class" in {field.name for field in fields(config)}
    assert sized == METHODS[method].fits_one_size
    assert not sized or config.images_per_class == 7


def test_what_is_not_offered_is_refused() -> None:
    with pytest.raises(UserError, match="methods are subset, dm"):
        preset("mtt", "small", 1, "none")
    with pytest.raises(UserError, match="At least 1 image"):
        preset("dm", "small", 0, "none")


@pytest.mark.parametrize("method", get_args(MethodName))
def test_fit_sample_save_and_load_are_the_same_for_all(
    accelerator: Accelerator, tmp_path: Path, method: MethodName
) -> None:
    train = tiny_samples((6, 8))
    condenser = METHODS[method](TINY_SETTINGS[method], Run(accelerator, tmp_path / "run"), train).fit()
    made = condenser.sample(2, seed=3)
    assert made.values.shape == (4, 3, 32, 32) and made.values.dtype == "uint8"
    assert made.labels.tolist() == [0, 0, 1, 1] and made.label_names == train.label_names
    condenser.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.method == method and loaded.config == condenser.model.config
    assert torch.equal(loaded.sample(2, seed=3).images, condenser.model.sample(2, seed=3).images)
    if condenser.chosen(2, seed=3) is None:
        again = loaded.sample(2, seed=3).images.numpy()
    else:
        again = representatives(loaded, 2, condenser.choose_from, 3, teacher=condenser.teacher).values
    assert np.array_equal(again, made.values)
    begun = {stage.name for stage in (tmp_path / "run").iterdir()} if (tmp_path / "run").is_dir() else set()
    assert begun <= set(condenser.stages)


@pytest.mark.parametrize("method", get_args(MethodName))
def test_only_generators_make_any_number(accelerator: Accelerator, method: MethodName) -> None:
    model = METHODS[method](TINY_SETTINGS[method], Run(accelerator), tiny_samples((6, 8))).fit().model
    assert (model.most_per_class is None) == (model.origin in ("class", "noise"))
    assert model.may_hold_real_pixels == (model.origin in ("stored", "real"))
    if model.most_per_class is None:
        first, more = model.sample(3, 1).images, model.sample(20, 1).images
        assert torch.equal(first[:3], more[:3]) and not torch.equal(first, model.sample(3, 2).images)
    else:
        with pytest.raises(UserError, match=f"{model.most_per_class} images a class"):
            model.sample(model.most_per_class + 1)
