from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from small import LABELS

from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.structure import ms_ssim_within_class, scale_weights
from mmgen.models.modality import Modality

IMAGE = Modality("image", (1, 48, 48), (8, 8), (127.5,), (64.0,), value_range=(0.0, 255.0))


def as_samples(values: np.ndarray, rows: np.ndarray | None = None) -> Samples:
    return Samples(values, np.arange(len(values)) % 2, LABELS, np.arange(len(values)) if rows is None else rows)


def test_one_picture_a_class_is_no_diversity(xrays: np.ndarray) -> None:
    assert ms_ssim_within_class(IMAGE, as_samples(np.resize(xrays[:2], xrays.shape))) == pytest.approx(1.0)
    # The classes' pictures differ, and are not compared with each other.
    differing = np.resize(np.stack([xrays[0], 255 - xrays[0]]), xrays.shape)
    assert ms_ssim_within_class(IMAGE, as_samples(differing)) == pytest.approx(1.0)


def test_it_falls_as_modes_are_added(xrays: np.ndarray) -> None:
    found = [ms_ssim_within_class(IMAGE, as_samples(np.resize(xrays[:modes], xrays.shape))) for modes in (2, 4, 12, 80)]
    assert all(few > many for few, many in pairwise(found)), found
    noise = np.random.default_rng(0).integers(0, 256, xrays.shape, dtype=np.uint8)
    assert 0 <= ms_ssim_within_class(IMAGE, as_samples(noise)) < 0.1 < found[-1]


def test_classes_weigh_the_same_and_a_class_of_one_does_not_count(xrays: np.ndarray) -> None:
    values = np.concatenate([np.resize(xrays[:1], (70, 1, 48, 48)), xrays[:6]])
    both = Samples(values, np.repeat([0, 1], (70, 6)), LABELS, np.arange(76))
    diverse = ms_ssim_within_class(IMAGE, both.select(both.labels == 1))
    assert ms_ssim_within_class(IMAGE, both) == pytest.approx((1 + diverse) / 2, abs=0.02)
    with_one = both.select(np.arange(71))
    assert ms_ssim_within_class(IMAGE, with_one) == pytest.approx(1.0)
    with pytest.raises(UserError, match="at least 2 samples"):
        ms_ssim_within_class(IMAGE, both.select([0, 71]))


def test_pairs_are_of_different_files() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.integers(0, 256, (4, 1, 48, 48), dtype=np.uint8), 10, axis=0)
    same = Samples(values, np.zeros(40, np.int64), LABELS, np.repeat(np.arange(4), 10))
    assert ms_ssim_within_class(IMAGE, same) < 0.1  # noise of different files
    assert ms_ssim_within_class(IMAGE, Samples(values, same.labels, LABELS, np.arange(40))) > 0.15
    assert ms_ssim_within_class(IMAGE, Samples(values[:10], same.labels[:10], LABELS, same.rows[:10])) > 0.99


def test_the_seed_draws_the_pairs(xrays: np.ndarray) -> None:
    found = [ms_ssim_within_class(IMAGE, as_samples(xrays), pairs=20, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_log_mels_have_a_scale_too(coughs: np.ndarray) -> None:
    sound = Modality("audio", (1, 100, 100), (10, 10), (float(coughs.mean()),), (float(coughs.std()),))
    found = ms_ssim_within_class(sound, as_samples(coughs), pairs=40)
    assert 0.05 < found < 0.95


@pytest.mark.parametrize(
    ("side", "scales"), [(11, 1), (21, 1), (22, 2), (43, 2), (44, 3), (98, 3), (99, 4), (175, 4), (176, 5), (1024, 5)]
)
def test_scales_are_as_many_as_there_is_room_for(side: int, scales: int) -> None:
    weights = scale_weights(side)
    assert len(weights) == scales and sum(weights) == pytest.approx(1)
    assert weights == tuple(sorted(weights)) or scales > 3  # the finest scale weighs least
    modality = Modality("image", (1, side, side + 3), (1, 1), (127.5,), (64.0,), value_range=(0.0, 255.0))
    values = np.random.default_rng(0).integers(0, 256, (2, *modality.shape), dtype=np.uint8)
    same = Samples(np.repeat(values[:1], 2, axis=0), np.zeros(2, np.int64), LABELS, np.arange(2))
    assert ms_ssim_within_class(modality, same, pairs=1) == pytest.approx(1.0)


def test_small_samples_have_no_room() -> None:
    with pytest.raises(UserError, match="at least 11, not 10"):
        scale_weights(10)
