from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from mmgen.data.samples import Samples
from mmgen.models.modality import Modality
from mmgen.training.mae_validation import masked_patch_error, mean_patch_error, tuples_around


def as_samples(values: np.ndarray) -> Samples:
    return Samples(values, np.zeros(len(values), np.int64), ("only",), np.arange(len(values)))


def normal(modality: Modality, seed: int, count: int = 400) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(count, *modality.shape))
    return (noise * modality.std[0] + modality.mean[0]).astype(np.float32)


@pytest.mark.parametrize("modality", [tiny.IMAGE, tiny.AUDIO, Modality("x", (1, 3, 3), (8, 8))])
def test_the_baseline_of_pure_noise_is_its_variance(modality):
    train, test = (as_samples(normal(modality, seed)) for seed in (0, 1))
    for per_position in (False, True):
        assert mean_patch_error(modality, train, test, per_position) == pytest.approx(1.0, abs=0.05)


def test_the_baseline_by_position_knows_the_mean_sample():
    modality = tiny.AUDIO
    fixed = normal(modality, seed=5, count=1)
    train, test = as_samples(np.repeat(fixed, 6, axis=0)), as_samples(np.repeat(fixed, 3, axis=0))
    assert mean_patch_error(modality, train, test, per_position=True) == pytest.approx(0.0, abs=1e-10)
    assert mean_patch_error(modality, train, test) > 0.3
    assert mean_patch_error(modality, train, test, chunk=1) == pytest.approx(mean_patch_error(modality, train, test))


def test_the_baseline_of_a_constant_is_nothing_even_with_padding():
    constant = as_samples(np.full((4, *tiny.AUDIO.shape), -2.0, np.float16))
    assert mean_patch_error(tiny.AUDIO, constant, constant) == pytest.approx(0.0, abs=1e-10)


def test_error_of_a_model_that_says_zero_is_the_mean_square_of_all_data():
    model = tiny.make_model().eval()
    for decoder in model.decoders.values():
        torch.nn.init.zeros_(decoder.head.proj.weight)
    samples = tiny.make_samples()
    errors = masked_patch_error(model, samples, 1.0)
    for name, modality in model.modalities.items():
        square = modality.normalise(torch.from_numpy(samples[name].values)).square().mean()
        assert errors[name] == pytest.approx(float(square), rel=1e-5)


def test_error_depends_on_the_seed_alone():
    model, samples = tiny.make_model().eval(), tiny.make_samples()
    torch.manual_seed(0)
    first = masked_patch_error(model, samples, 0.5, seed=3)
    torch.manual_seed(1)
    assert masked_patch_error(model, samples, 0.5, seed=3) == first
    assert masked_patch_error(model, samples, 0.5, seed=4) != first
    assert first.keys() == samples.keys()


def test_error_leaves_out_what_is_visible(monkeypatch):
    model, samples = tiny.make_model().eval(), tiny.make_samples()
    patch_losses = model.patch_losses

    def wrong_where_visible(*arguments):
        found = patch_losses(*arguments)
        return {name: (torch.where(mask.bool(), 2.0, 1000.0), mask) for name, (_, mask) in found.items()}

    monkeypatch.setattr(model, "patch_losses", wrong_where_visible)
    assert masked_patch_error(model, samples, 0.75) == {"image": 2.0, "audio": 2.0}


@pytest.mark.parametrize("name", ["image", "audio", "breath"])
def test_tuples_take_every_sample_once_with_partners_of_its_label(name):
    samples = tiny.make_samples(("image", "audio", "breath"))
    rows = tuples_around(samples, name, seed=0)
    assert rows[name].tolist() == list(range(len(samples[name])))
    for other, index in rows.items():
        assert np.array_equal(samples[other].labels[index], samples[name].labels)
    again, different = tuples_around(samples, name, seed=0), tuples_around(samples, name, seed=1)
    assert all(np.array_equal(rows[other], again[other]) for other in rows)
    assert any(not np.array_equal(rows[other], different[other]) for other in rows)
