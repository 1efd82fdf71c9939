"""Arrays as the files that a browser shows."""

from __future__ import annotations

import io

import numpy as np
import torch

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.mel import mel_to_waveform
from mmgen.data.writing.encoding import encode_picture, encode_sound


def png(values: np.ndarray, colours: tuple[float, float]) -> bytes:
    """A picture of uint8 (C, H, W), or of a log-mel (1, bands, frames) in this range of values."""
    if values.dtype == np.uint8:
        return encode_picture(values)
    from mmgen.evaluation.report.figures import spectrogram

    buffer = io.BytesIO()
    spectrogram(values[0].astype(np.float32), *colours).save(buffer, "PNG")
    return buffer.getvalue()


def flac(waveform: np.ndarray, settings: AudioSettings) -> bytes:
    """A sound of (samples,); a louder one than full scale is scaled down as a whole."""
    audible = np.nan_to_num(np.asarray(waveform, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return encode_sound(audible / max(1.0, float(np.abs(audible).max(initial=0.0))), settings.sample_rate)


def sound_of(log_mel: np.ndarray, settings: AudioSettings) -> bytes:
    """The sound of a log-mel (1, bands, frames)."""
    return flac(mel_to_waveform(torch.from_numpy(log_mel[0].astype(np.float32)), settings).numpy(), settings)


def joined(segments: np.ndarray) -> np.ndarray:
    """(S, C, H, W) -> (C, H, S * W), segments of a sound side by side."""
    return np.concatenate(list(segments), axis=-1)
