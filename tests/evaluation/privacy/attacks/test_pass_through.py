"""Pass-through: patches of real records are found where they were pasted, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from mmgen.evaluation.privacy.attacks.pass_through import pass_through
from mmgen.models.modality import Modality

IMAGE = Modality("image", (1, 16, 16), (4, 4), (128.0,), (50.0,))
SOUND = Modality("audio", (1, 10, 20), (5, 5), pad_to=(15, 20))


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 16, 16), dtype=np.uint8)


def test_share_of_pasted_patches_is_exact() -> None:
    real, made = images(50, 0), images(10, 1)
    assert pass_through(IMAGE, made, real).share == 0.0
    made[2, :, 4:8, 8:12] = real[17, :, 4:8, 8:12]
    made[3] = real[40]
    found = pass_through(IMAGE, made, real)
    assert found.share == pytest.approx(17 / 160) and found.patches == 160
    made[4, :, 0:4, 0:4] = real[17, :, 4:8, 8:12]  # real pixels at another place
    assert pass_through(IMAGE, made, real).share == pytest.approx(17 / 160)


def test_flat_patches_do_not_count() -> None:
    real, made = images(5, 0), images(5, 1)
    real[:, :, :8], made[:, :, :8] = 0, 0
    made[0, 0, 0, 0] = real[0, 0, 0, 0] = 5
    made[1, 0, 3, :3] = real[3, 0, 3, :3] = 90  # dots on a black border are nobody's
    found = pass_through(IMAGE, made, real)
    assert found.share == 0.0 and found.patches == 5 * 8
    assert pass_through(IMAGE, made[2:, :, :8].repeat(2, 2), real).patches == 0


def test_log_mels_survive_normalisation_and_back() -> None:
    rng = np.random.default_rng(2)
    real = rng.normal(-6, 2, (20, 1, 10, 20)).astype(np.float16)
    made = rng.normal(-6, 2, (4, 1, 10, 20)).astype(np.float32)
    # What pasting does to a visible patch: normalised and denormalised in float32.
    made[1, :, :5, 5:10] = ((real[7, :, :5, 5:10].astype(np.float32) + 6.3) / 2.7) * 2.7 - 6.3
    found = pass_through(SOUND, made, real)
    assert found.share == pytest.approx(1 / 32) and found.patches == 32
