"""Phantoms that the measures are tried on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.mel import log_mel
from mmgen.data.phantoms import phantom_cough, phantom_xray


@pytest.fixture(scope="session")
def xrays() -> np.ndarray:
    """uint8 (80, 1, 48, 48), both labels in turn."""
    return np.stack([phantom_xray(i % 2, np.random.default_rng([1, i]), 48)[None] for i in range(80)])


@pytest.fixture(scope="session")
def coughs() -> np.ndarray:
    """Log-mels (16, 1, 100, 100) of the first second of a cough."""
    waves = [phantom_cough(i % 2, np.random.default_rng([2, i]))[:16_000] for i in range(16)]
    padded = np.stack([np.pad(wave, (0, 16_000 - len(wave))) for wave in waves])
    return log_mel(torch.from_numpy(padded), AudioSettings()).numpy()[:, None]
