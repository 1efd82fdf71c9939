"""Sound in: recordings become log-mel segments."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mmgen.data.decoded import Decoded, Remark, UnusableFile
from mmgen.data.formats.sound_files import Sound, read_sound
from mmgen.errors import UserError

AUDIO_SUFFIXES: Collection[str] = frozenset(
    {".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif", ".au", ".webm", ".m4a"}
)


@dataclass(frozen=True)
class AudioSettings:
    """How a recording becomes log-mel segments; stored with every model that was trained on them.

    The defaults are the paper's: 100 bands, 25 ms window, 10 ms hop, 400 frames cut into segments of 100. ``n_fft`` is
    larger than the window because 100 bands over 201 bins leave empty filters, and a filterbank without full row rank
    cannot be inverted.

    Raises:
        UserError: a value makes no sense.
    """

    sample_rate: int = 16_000
    n_fft: int = 1024
    win_length: int = 400
    hop_length: int = 160
    n_mels: int = 100
    frames: int = 400
    segment_frames: int = 100
    log_floor: float = -11.5

    def __post_init__(self) -> None:
        for name in ("sample_rate", "n_fft", "win_length", "hop_length", "n_mels", "frames", "segment_frames"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise UserError(f"{name} must be a whole number of at least 1, not {value!r}.")
        if not self.hop_length <= self.win_length <= self.n_fft:
            raise UserError(
                "hop_length must not exceed win_length, nor win_length n_fft; they are "
                f"{self.hop_length}, {self.win_length} and {self.n_fft}."
            )
        if not -80.0 <= self.log_floor <= 0.0:
            raise UserError(f"log_floor must be between -80 and 0, not {self.log_floor}.")
        if self.frames % self.segment_frames:
            raise UserError(f"frames ({self.frames}) must be a multiple of segment_frames ({self.segment_frames}).")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one segment: one channel, bands, frames."""
        return (1, self.n_mels, self.segment_frames)

    @property
    def segment_samples(self) -> int:
        """Waveform samples that one segment stands for."""
        return self.segment_frames * self.hop_length


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
    return Decoded(log_mel_segments(_resample(sound, settings), settings), remarks)


def read_audio(path: str | Path, settings: AudioSettings, seconds: float | None = None) -> np.ndarray:
    """Decode a file of any rate and channel count to mono float32 (samples,) in [-1, 1] at ``settings.sample_rate``.

    ``seconds`` bounds how much is decoded.

    Raises:
        UserError: naming the file, which is missing or cannot be used.
    """
    try:
        with open(path, "rb") as file:
            return _resample(read_sound(file, seconds), settings)
    except (OSError, UnusableFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"Cannot read sound file {path}: {reason}. Repair or remove it.") from error


def _resample(sound: Sound, settings: AudioSettings) -> np.ndarray:
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
