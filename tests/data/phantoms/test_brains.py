from __future__ import annotations

import numpy as np
import pytest

from mmgen.data.phantoms.brains import atrophy, phantom_brain

COUNT = 30


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """(grades, pictures, 96, 96): the same subjects with every grade of atrophy."""
    return np.array(
        [[phantom_brain(label, np.random.default_rng([4, i]), 96) for i in range(COUNT)] for label in range(4)]
    ).astype(float)


def dark_share(region: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Share of a region (rows, columns) that is fluid: (grades, pictures)."""
    white = np.percentile(pictures[:, :, 30:66, 30:66], 90, axis=(2, 3))[..., None, None]
    return (region < 0.4 * white).mean(axis=(2, 3))


def test_the_head_stands_on_black_within_a_bright_and_a_dark_ring(pictures: np.ndarray) -> None:
    for corner in (pictures[:, :, :8, :8], pictures[:, :, -8:, -8:]):
        assert corner.mean() < 12
    row = pictures[:, :, 46:50, :48].mean(axis=2)  # from the right ear to the middle; the scalp lies before column 15
    scalp = row[..., :15].argmax(axis=-1)
    skull = np.array([[row[g, i, scalp[g, i] : scalp[g, i] + 8].min() for i in range(COUNT)] for g in range(4)])
    assert (skull < 0.6 * row[..., :15].max(axis=-1)).mean() > 0.9


def test_ventricles_and_sulci_widen_with_the_grade_and_neighbours_overlap(pictures: np.ndarray) -> None:
    ventricles = dark_share(pictures[:, :, 28:68, 32:64], pictures)
    upper, lower = pictures[:, :, 12:26, 24:72], pictures[:, :, 70:84, 24:72]
    sulci = dark_share(np.concatenate([upper, lower], axis=2), pictures)
    for share in (ventricles, sulci):
        assert (np.diff(np.median(share, axis=1)) > 0).all()
        assert np.median(share[3]) > 1.4 * np.median(share[0])
    for grade in range(3):
        assert ventricles[grade].max() > ventricles[grade + 1].min()


def test_the_same_subject_loses_brain(pictures: np.ndarray) -> None:
    """In every head the grey and white matter get less from the first grade to the last."""
    bright = pictures[:, :, 20:76, 24:72]
    tissue = 1 - dark_share(bright, pictures)
    assert (tissue[3] < tissue[0]).all()


def test_both_halves_are_alike_but_no_mirror_images(pictures: np.ndarray) -> None:
    mean = pictures.mean(axis=(0, 1))
    assert np.abs(mean - mean[:, ::-1]).mean() < 6
    assert np.abs(pictures - pictures[..., ::-1]).mean() > 8


def test_atrophy_rises_ever_more_slowly_and_stays_within_the_head() -> None:
    shares = [atrophy(label) for label in range(60)]
    assert shares[0] == 0 and shares[-1] < 1.8
    assert (np.diff(shares) > 0).all() and (np.diff(shares, 2) < 0).all()
    extreme = phantom_brain(1000, np.random.default_rng(0), 96)
    assert extreme[20:76, 24:72].std() > 20 and extreme[:6, :6].mean() < 12
