"""Log-mel spectrograms, and the way back from them to sound.

Conventions (fixed by tests): Hann window of ``win_length`` samples inside an FFT of ``n_fft``, centred frames with zero
padding, power mel on the Slaney scale without area normalisation, natural logarithm clamped at ``log_floor``.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgen.data.threads import one_thread
from mmgen.errors import UserError

if TYPE_CHECKING:
    from mmgen.data.audio_settings import AudioSettings

# Frames that are transformed at once on a CPU: what they need stays in its cache.
_BLOCK = 128
# Half of the rounds of either kind cost a third less and leave a tenth more error.
_UNFOLDING_STEPS = 10
_PHASE_ROUNDS = 32
_FITTING_ROUNDS = 8


@lru_cache(maxsize=8)
def mel_filterbank(settings: AudioSettings) -> Tensor:
    """Weights (n_fft/2+1, n_mels), float32, that sum the power of FFT bins to the power of bands.

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
    )
    if int(torch.linalg.matrix_rank(bank.double())) < settings.n_mels:
        raise UserError(
            f"{settings.n_mels} mel bands need more than n_fft={settings.n_fft}: "
            "some bands hold no FFT bin; raise n_fft."
        )
    return bank


def log_mel(wave: Tensor, settings: AudioSettings) -> Tensor:
    """Log-mel spectrogram of waveforms: (..., samples) -> (..., n_mels, samples // hop_length), natural log."""
    frames = _Stft(settings, settings.n_fft, wave.device).frames(wave.reshape(-1, wave.shape[-1]))
    blocks = frames.flatten(0, 1).split(_BLOCK if wave.device.type == "cpu" else frames.shape[:2].numel())
    bank = mel_filterbank(settings).to(wave.device)
    mel = torch.cat([_power(torch.fft.rfft(block, n=settings.n_fft)) @ bank for block in blocks])
    mel = mel.clamp_min_(math.exp(settings.log_floor)).log_().reshape(*wave.shape[:-1], -1, settings.n_mels)
    return mel[..., : wave.shape[-1] // settings.hop_length, :].transpose(-1, -2)


@torch.no_grad()
def mel_to_waveform(log_mels: Tensor, settings: AudioSettings) -> Tensor:
    """Sound from log-mels: (..., n_mels, frames) -> (..., frames * hop_length), float32, clipped to [-1, 1].

    Three steps: magnitudes of the FFT bins that give the bands, none negative; phases by fast Griffin-Lim [Perraudin et
    al. 2013] from the guess that every peak of the spectrum is a sine; a few rounds that change phases and magnitudes
    until the bands of the sound are the given ones, which also restores its level. Segments of one clip are joined
    before: waveforms that were made one by one do not fit where they meet. There is no chance in it, and on a
    CPU every spectrogram is worked on by itself in one thread, so equal spectrograms give equal sound to the bit.
    """
    flat = log_mels.reshape(-1, *log_mels.shape[-2:]).float()
    if flat.device.type == "cpu":
        with one_thread():  # more would be slower, too: the arrays are small
            wave = torch.cat([_invert(single, settings) for single in flat.split(1)])
    else:
        wave = _invert(flat, settings)
    return wave.clamp_(-1.0, 1.0).reshape(*log_mels.shape[:-2], -1)


def _invert(log_mels: Tensor, settings: AudioSettings) -> Tensor:
    """(B, n_mels, T) -> (B, T * hop_length)."""
    # One closing frame: centred frames 0..T stand for T hops.
    bands = torch.cat([log_mels, log_mels[..., -1:]], dim=-1).transpose(-1, -2).exp()
    floor = math.exp(settings.log_floor)
    silent = bands <= floor * 1.01  # the floor is what is left of silence
    bank = mel_filterbank(settings).to(bands.device)
    # Power of bins that sums to that of the bands. Multiplicative updates from an interpolation between the bands:
    # nothing becomes negative, and unlike a clamped pseudo-inverse it stays smooth and reaches the bands.
    heard, spread = bands.masked_fill(silent, 0.0), bank.T.contiguous()
    total = bank.sum(1).clamp_min(torch.finfo(bank.dtype).tiny)
    power = (heard / bank.sum(0)) @ spread
    for _ in range(_UNFOLDING_STEPS):
        power *= (heard / (power @ bank).clamp_min(1e-12)) @ spread / total
    magnitude = power.sqrt()
    # Half of the bins describe a window that is no longer than half the FFT, in half of the time.
    step = 2 if settings.n_fft % 2 == 0 and settings.win_length <= settings.n_fft // 2 else 1
    coarse = _Stft(settings, settings.n_fft // step, bands.device)
    wave = _griffin_lim(magnitude[..., ::step], coarse)
    fine = _Stft(settings, settings.n_fft, bands.device)
    # Silent bands may be anything below the floor: they are lowered to it and never raised.
    limit = torch.where(silent, 1.0, 1e4)
    return _fit_bands(wave, bands.masked_fill(silent, 0.5 * floor), limit, bank, fine)


def _griffin_lim(magnitude: Tensor, stft: _Stft, momentum: float = 0.99) -> Tensor:
    """(B, T+1, F) -> (B, T * hop_length) whose transform has about these magnitudes."""
    # Sines at the peaks of the spectrum, each ruling the bins that are nearest to it.
    bins = torch.arange(magnitude.shape[-1], device=magnitude.device).expand_as(magnitude)
    below, above = magnitude.roll(1, -1), magnitude.roll(-1, -1)
    peak = (magnitude >= below) & (magnitude >= above)
    lower = bins.where(peak, -bins.shape[-1]).cummax(-1).values
    upper = bins.where(peak, 2 * bins.shape[-1]).flip(-1).cummin(-1).values.flip(-1)
    nearest = torch.where(bins - lower <= upper - bins, lower, upper).clamp(0, bins.shape[-1] - 1)
    # The vertex of a parabola through the logarithms of a peak and its neighbours.
    left, middle, right = (x.clamp_min(1e-7).log() for x in (below, magnitude, above))
    offset = 0.5 * (left - right) / (left - 2 * middle + right).clamp_max(-1e-6)
    frequency = (bins + offset.clamp(-0.5, 0.5)).gather(-1, nearest) * (2 * math.pi / stft.fft)  # radians a sample
    advance = 0.5 * stft.hop * (frequency[:, 1:] + frequency[:, :-1]).cumsum(1)
    # A sine has equal phase in all bins around it at the window's centre; the FFT counts from the window's beginning.
    phase = F.pad(advance, (0, 0, 1, 0)) - bins * (2 * math.pi / stft.fft * stft.before)
    spectrum = torch.polar(magnitude, phase)
    previous = torch.zeros_like(spectrum)
    for _ in range(_PHASE_ROUNDS):
        rebuilt = stft(stft.inverse(spectrum))
        spectrum = torch.sub(rebuilt, previous, alpha=momentum / (1 + momentum))
        spectrum *= magnitude * _power(spectrum).add_(1e-16).rsqrt_()
        previous = rebuilt
    return stft.inverse(spectrum)


def _fit_bands(wave: Tensor, bands: Tensor, limit: Tensor, bank: Tensor, stft: _Stft, momentum: float = 0.9) -> Tensor:
    """Change a waveform (B, T * hop_length) until its bands have this power (B, T+1, n_mels), by ``limit`` a round."""
    spread = (bank / bank.sum(1, keepdim=True).clamp_min(torch.finfo(bank.dtype).tiny)).T.contiguous()
    previous = stft(wave)
    for _ in range(_FITTING_ROUNDS):
        spectrum = stft(wave)
        ahead = torch.lerp(previous, spectrum, 1 + momentum)
        gain = torch.minimum(bands / (_power(ahead) @ bank).clamp_min(1e-12), limit).sqrt()
        wave = stft.inverse(ahead * (gain @ spread))
        previous = spectrum
    return wave


def _power(spectrum: Tensor) -> Tensor:
    """|x|^2 of complex numbers; several times as fast as ``abs().square()``."""
    return (spectrum * spectrum.conj()).real


class _Stft:
    """Short-time spectra (B, T+1, fft/2+1) of waveforms (B, T * hop_length), and the waveform nearest to spectra.

    As ``torch.stft`` and ``torch.istft``, but only samples under the window are touched; the FFT begins with its first.
    """

    def __init__(self, settings: AudioSettings, fft: int, device: torch.device) -> None:
        self.fft, self.hop, self.length = fft, settings.hop_length, settings.win_length
        # Samples of a frame before its centre.
        self.before = settings.n_fft // 2 - (settings.n_fft - settings.win_length) // 2
        self.window = torch.hann_window(settings.win_length, device=device)
        self._scale = torch.empty(0)

    def frames(self, wave: Tensor) -> Tensor:
        """Windowed frames (B, T+1, win_length)."""
        padded = F.pad(wave, (self.before, self.length - self.before))
        return padded.unfold(-1, self.length, self.hop) * self.window

    def __call__(self, wave: Tensor) -> Tensor:
        return torch.fft.rfft(self.frames(wave), n=self.fft)

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Least squares: the sum of the windowed frames over that of the squared windows [Griffin and Lim 1984]."""
        frames = torch.fft.irfft(spectrum, n=self.fft)[..., : self.length] * self.window
        if self._scale.shape[-1] != (spectrum.shape[1] - 1) * self.hop:
            squares = self.window.square().expand(1, spectrum.shape[1], -1)
            self._scale = self._overlap_add(squares).clamp_min(1e-2).reciprocal()
        return self._overlap_add(frames) * self._scale

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """(B, T+1, win_length) -> (B, T * hop_length)."""
        pieces = -(-self.length // self.hop)
        frames = F.pad(frames, (0, pieces * self.hop - self.length))
        batch, count, _ = frames.shape
        wave = frames.new_zeros(batch, count + pieces - 1, self.hop)
        for piece, part in enumerate(frames.split(self.hop, dim=-1)):
            wave[:, piece : piece + count] += part
        return wave.flatten(1)[:, self.before : self.before + (count - 1) * self.hop]
