"""Sound in: recordings become log-mel segments."""

from __future__ import annotations

from collections.abc import Collection
from typing import BinaryIO

import numpy as np

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.decoded import Decoded, Remark
from mmgen.data.formats.sound_files import Sound, read_sound

AUDIO_SUFFIXES: Collection[str] = frozenset(
    {".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif", ".au", ".webm", ".m4a"}
)


def decode_sound(file: BinaryIO, settings: AudioSettings) -> Decoded:
    """Log-mel segments, float16 (S, 1, n_mels, segment_frames), of the first ``settings.frames`` frames of a recording.

    Remarks: SILENT below 1e-4 of full scale (-80 dB) throughout, SHORT below 0.1 seconds, CLIPPED where at least 0.1 %
    of the samples are cut off at full scale (see :func:`mmgen.data.formats.sound_files.read_sound`).

    Raises:
        UnusableFile: see :func:`mmgen.data.formats.sound_files.read_sound`.
    """
    sound = read_sound(file, settings.frames * settings.hop_length / settings.sample_rate)
    remarks = Remark.NONE
    if np.ptp(sound.mono) < 2e-4:  # from peak to peak: an offset is no sound
        remarks |= Remark.SILENT
    if len(sound.mono) < 0.1 * sound.rate:
        remarks |= Remark.SHORT
    if sound.clipped >= 0.001:
        remarks |= Remark.CLIPPED
    return Decoded(log_mel_segments(resampled(sound, settings), settings), remarks)


def resampled(sound: Sound, settings: AudioSettings) -> np.ndarray:
    """Mono float32 (samples,) at ``settings.sample_rate``."""
    if sound.rate == settings.sample_rate:
        return sound.mono
    import soxr  # takes any pair of rates; torchaudio's kernel explodes for odd ones

    return soxr.resample(sound.mono, sound.rate, settings.sample_rate, quality="HQ")


def log_mel_segments(wave: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """Cut a clip (samples,) into S log-mel segments, float16 (S, 1, n_mels, segment_frames).

    The first ``frames`` frames count. The last segment is padded with silence; segments that would be padding alone are
    not made, and neither is a last one with less than a quarter of sound (unless it is the only one), because it would
    teach silence.
    """
    import torch  # only now: the command line, which needs the settings alone, then starts at once

    from mmgen.data.mel import log_mel

    length = settings.segment_samples
    wave = wave[: settings.frames * settings.hop_length]
    whole, rest = divmod(len(wave), length)
    segments = max(1, whole + (rest >= length // 4))
    padded = np.zeros(segments * length, dtype=np.float32)
    padded[: min(len(wave), len(padded))] = wave[: len(padded)]
    mel = log_mel(torch.from_numpy(padded), settings).numpy().astype(np.float16)
    cut = mel.reshape(1, settings.n_mels, segments, settings.segment_frames).transpose(2, 0, 1, 3)
    return np.ascontiguousarray(cut)
