from __future__ import annotations

import numpy as np
import pytest

from mmgen.data.phantoms.lesions import LESIONS, LesionPattern, lesion_pattern, phantom_lesion


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """(labels, pictures, 32, 32, 3) of the same 40 subjects and files."""
    return np.array(
        [[phantom_lesion(label, np.random.default_rng([4, i]), 32) for i in range(40)] for label in range(4)]
    ).astype(float)


def test_a_lesion_lies_in_the_middle_and_is_darker_than_its_skin(pictures: np.ndarray) -> None:
    green = pictures[..., 1]
    for label in range(4):
        middle, skin = green[label, :, 13:19, 13:19].mean(axis=(1, 2)), np.median(green[label], axis=(1, 2))
        assert (middle < skin - 5).mean() > 0.8
        assert np.std(green[label, :, 16, 16]) > 10  # and every one is another


def test_vascular_lesions_are_red_and_melanomas_dark(pictures: np.ndarray) -> None:
    middle = pictures[:, :, 13:19, 13:19].mean(axis=(2, 3))  # (labels, pictures, RGB)
    redness, brightness = np.median(middle[..., 0] - middle[..., 1], axis=1), np.median(middle.mean(axis=-1), axis=1)
    assert LESIONS[int(redness.argmax())] == "vascular" and LESIONS[int(brightness.argmin())] == "melanoma"
    blueness = np.median(middle[..., 2] / middle[..., 1], axis=1)
    assert LESIONS[int(blueness.argmin())] == "keratosis"  # brown without a veil, yellow of horn


def test_skin_is_of_many_tones_whatever_the_label(pictures: np.ndarray) -> None:
    rim = pictures[:, :, [3, 3, -4, -4], [12, 19, 12, 19]].mean(axis=(2, 3))
    assert rim.std(axis=1).min() > 12
    assert np.ptp(np.median(rim, axis=1)) < 16  # large lesions reach there


@pytest.mark.parametrize("label", range(40))
def test_patterns_are_ranges_that_differ(label: int) -> None:
    pattern = lesion_pattern(label)
    assert isinstance(pattern, LesionPattern)
    assert all(0 <= low <= high for low, high in pattern)
    assert pattern.radius[0] > 0.1 and pattern.edge[0] > 0
    assert all(pattern != lesion_pattern(other) for other in range(label))
