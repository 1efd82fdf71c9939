"""Sound: how well log-mels survive being made audible."""

from __future__ import annotations

import numpy as np
import torch

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.mel import log_mel, mel_to_waveform


def waveform_round_trip(log_mels: np.ndarray, settings: AudioSettings) -> float:
    """Mean absolute difference in dB between log-mels (N, 1, bands, frames) and those of waveforms made from them.

    0 and up, lower is better.
    """
    mels = torch.from_numpy(log_mels[:, 0].astype(np.float32))
    again = log_mel(mel_to_waveform(mels, settings), settings)
    return float((again - mels).abs().mean()) * 10.0 / float(np.log(10.0))
