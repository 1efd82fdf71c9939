from __future__ import annotations

import numpy as np

from mmgen.data.audio_settings import AudioSettings
from mmgen.evaluation.fidelity.sound import waveform_round_trip


def test_the_way_to_sound_and_back_is_short_for_real_spectrograms(coughs: np.ndarray) -> None:
    real = waveform_round_trip(coughs[:4], AudioSettings())
    no_sound_has_it = np.random.default_rng(0).uniform(-11, 3, (2, 1, 100, 100)).astype(np.float32)
    assert 0 <= real < 3.0 < waveform_round_trip(no_sound_has_it, AudioSettings())
