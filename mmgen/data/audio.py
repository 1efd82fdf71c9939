"""Sound in and out: decode, resample, log-mel segments, and back from a log-mel to a waveform.

Conventions (fixed by tests): mono, Hann window of ``win_length`` samples inside an FFT of ``n_fft``, centred frames
with zero padding, power mel on the Slaney scale without area normalisation, natural logarithm clamped at ``log_floor``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mmgen.data.progress import progress_bar
from mmgen.errors import UserError

if TYPE_CHECKING:
    from mmgen.data.manifest import Manifest

AUDIO_SUFFIXES: Collection[str] = frozenset({".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif", ".au"})


@dataclass(frozen=True)
class AudioSettings:
    """How a recording becomes log-mel segments; stored with every model that was trained on them.

    The defaults are the paper's: 100 bands, 25 ms window, 10 ms hop, 400 frames cut into segments of 100. ``n_fft`` is
    larger than the window because 100 bands over 201 bins leave empty filters, and a filterbank without full row rank
    cannot be inverted.
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


@lru_cache(maxsize=8)
def mel_filterbank(settings: AudioSettings) -> tuple[Tensor, Tensor]:
    """Filterbank (n_fft/2+1, n_mels) and its pseudo-inverse (n_mels, n_fft/2+1), float32.

    Raises:
        UserError: a band holds no FFT bin or bands depend on each other, so that the way back would be undefined.
    """
    from torchaudio.functional import melscale_fbanks

    bank = melscale_fbanks(
        settings.n_fft // 2 + 1,
        0.0,
        settings.sample_rate / 2,
        settings.n_mels,
        settings.sample_rate,
        mel_scale="slaney",
    ).double()
    if int(torch.linalg.matrix_rank(bank)) < settings.n_mels:
        raise UserError(
            f"{settings.n_mels} mel bands need more than n_fft={settings.n_fft}: "
            "some bands hold no FFT bin; raise n_fft."
        )
    with one_thread():
        return bank.float(), torch.linalg.pinv(bank).float()


@contextmanager
def one_thread() -> Iterator[None]:
    """CPU computations in one thread: the last bits of matrix products and decompositions depend on the number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def read_audio(path: str | Path, settings: AudioSettings, seconds: float | None = None) -> np.ndarray:
    """Decode a file of any rate and channel count to mono float32 (samples,) in [-1, 1] at ``settings.sample_rate``.

    ``seconds`` bounds how much is decoded. Raises UserError naming the file when it cannot be read, is empty or holds
    no finite sound.
    """
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            rate = file.samplerate
            if not 1_000 <= rate <= 768_000:
                raise ValueError(f"its sampling rate is said to be {rate} Hz")
            frames = -1 if seconds is None else int(np.ceil(seconds * rate))
            wave = file.read(frames, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"Cannot read sound file {path}: {error}. Repair or remove it.") from error
    mono = wave.mean(axis=1)
    if mono.size == 0:
        raise UserError(f"Sound file {path} holds no samples. Remove it.")
    if not np.isfinite(mono).all():
        raise UserError(f"Sound file {path} holds samples that are not numbers. Repair or remove it.")
    if rate != settings.sample_rate:
        import librosa  # its resampler (soxr) takes any pair of rates; torchaudio's kernel explodes for odd ones

        mono = librosa.resample(mono, orig_sr=rate, target_sr=settings.sample_rate, res_type="soxr_hq")
    return np.ascontiguousarray(mono)


def log_mel(wave: Tensor, settings: AudioSettings) -> Tensor:
    """Log-mel spectrogram of waveforms: (..., samples) -> (..., n_mels, samples // hop_length), natural log."""
    window = torch.hann_window(settings.win_length, device=wave.device)
    flat = wave.reshape(-1, wave.shape[-1])
    spectrum = torch.stft(
        flat,
        settings.n_fft,
        settings.hop_length,
        settings.win_length,
        window,
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    power = torch.view_as_real(spectrum).square().sum(-1)
    bank, _ = mel_filterbank(settings)
    mel = torch.matmul(bank.T.to(wave.device), power)[..., : wave.shape[-1] // settings.hop_length]
    return mel.clamp_min(float(np.exp(settings.log_floor))).log().reshape(*wave.shape[:-1], settings.n_mels, -1)


def log_mel_segments(wave: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """Cut a clip (samples,) into S log-mel segments, float16 (S, 1, n_mels, segment_frames).

    The first ``frames`` frames count. The last segment is padded with silence; segments that would be padding alone are
    not made, and neither is a last one with less than a quarter of sound (unless it is the only one), because it would
    teach silence.
    """
    length = settings.segment_samples
    wave = wave[: settings.frames * settings.hop_length]
    whole, rest = divmod(len(wave), length)
    segments = max(1, whole + (rest >= length // 4))
    padded = np.zeros(segments * length, dtype=np.float32)
    padded[: min(len(wave), len(padded))] = wave[: len(padded)]
    mel = log_mel(torch.from_numpy(padded), settings).numpy().astype(np.float16)
    return mel.reshape(1, settings.n_mels, segments, settings.segment_frames).transpose(2, 0, 1, 3)


def read_segments(
    manifest: Manifest, settings: AudioSettings, workers: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Decode every clip once: segments float16 (N, 1, n_mels, segment_frames) and the manifest row of each (N,).

    Raises UserError that names all unreadable files together.
    """
    seconds = settings.frames * settings.hop_length / settings.sample_rate

    def decode(index: int) -> np.ndarray | UserError:
        try:
            return log_mel_segments(read_audio(manifest.name(index), settings, seconds), settings)
        except UserError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        results = list(
            progress_bar(pool.map(decode, range(len(manifest))), total=len(manifest), description="decoding sound")
        )
    failures = [str(result) for result in results if isinstance(result, UserError)]
    if failures:
        raise UserError(
            f"{len(failures)} sound files cannot be used: {' | '.join(failures[:5])}"
            f"{' ...' if len(failures) > 5 else ''}"
        )
    rows = np.repeat(np.arange(len(results)), [len(result) for result in results])
    return np.concatenate(results), rows


def mel_to_waveform(mel: Tensor, settings: AudioSettings, rounds: int = 32, momentum: float = 0.99) -> Tensor:
    """Sound from log-mels: (..., n_mels, frames) -> (..., frames * hop_length), float32, clipped to [-1, 1].

    The filterbank is undone by its non-negative pseudo-inverse and the phase is found by fast Griffin-Lim [Perraudin et
    al. 2013] from a fixed start, so equal spectrograms give equal sound whatever else is in the batch.
    """
    _, inverse = mel_filterbank(settings)
    power = mel.float().exp()
    silence = torch.full((), settings.log_floor).exp().to(power.device)
    power = torch.where(power <= silence * 1.01, torch.zeros_like(power), power)
    magnitude = torch.matmul(inverse.T.to(power.device), power).clamp_min(0.0).sqrt()
    # One closing frame: centred frames 0..T stand for T hops.
    magnitude = torch.cat([magnitude, magnitude[..., -1:]], dim=-1)
    flat = magnitude.reshape(-1, *magnitude.shape[-2:])
    wave = _griffin_lim(flat, settings, rounds, momentum)
    return wave.clamp(-1.0, 1.0).reshape(*mel.shape[:-2], -1)


def _griffin_lim(magnitude: Tensor, settings: AudioSettings, rounds: int, momentum: float) -> Tensor:
    """(B, n_fft/2+1, T+1) -> (B, T * hop_length); the start phase is one seeded draw shared by every item."""
    generator = torch.Generator().manual_seed(0)
    phase = 2 * torch.pi * torch.rand(magnitude.shape[-2:], generator=generator)
    angles = torch.polar(torch.ones_like(phase), phase).to(magnitude.device).expand(magnitude.shape)
    window = torch.hann_window(settings.win_length, device=magnitude.device)
    length = (magnitude.shape[-1] - 1) * settings.hop_length
    stft = {
        "n_fft": settings.n_fft,
        "hop_length": settings.hop_length,
        "win_length": settings.win_length,
        "window": window,
    }
    previous = torch.zeros_like(angles)
    factor = momentum / (1 + momentum)
    for _ in range(rounds):
        wave = torch.istft(magnitude * angles, length=length, **stft)
        rebuilt = torch.stft(wave, center=True, pad_mode="constant", return_complex=True, **stft)
        angles = rebuilt - factor * previous
        angles = angles / angles.abs().clamp_min(1e-16)
        previous = rebuilt
    return torch.istft(magnitude * angles, length=length, **stft)
