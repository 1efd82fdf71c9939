"""Phantom coughs: every subject has an own voice, every recording an own noise; the label is how the coughs sound."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator
from scipy import fft

from mmgen.data.phantoms.drawing import GOLDEN
from mmgen.errors import UserError

SAMPLE_RATE = 16000  # Hz, of the clips on disk
FORMANTS = np.array([650.0, 1500.0, 2600.0, 3900.0])  # Hz, of a vocal tract of average length


class CoughPattern(NamedTuple):
    """How the coughs of a label sound: typical values, from which subjects and coughs deviate."""

    chances: tuple[float, float, float]  # of one, two, three coughs a clip
    seconds: tuple[float, float, float]  # of the explosive, intermediate and voiced phase
    tilt: float  # exponent of the spectrum over frequency; higher is drier
    voicing: float  # amplitude of the voiced phase


def cough_pattern(label_index: int) -> CoughPattern:
    """Dry, short and repeated (0); lower, with a long voiced phase (1); of a tilt and a tempo of their own (2...)."""
    if label_index == 0:
        return CoughPattern((0.2, 0.4, 0.4), (0.045, 0.12, 0.09), -0.35, 0.5)
    if label_index == 1:
        return CoughPattern((0.4, 0.4, 0.2), (0.045, 0.16, 0.19), -0.7, 0.9)
    wet, slow = GOLDEN * label_index % 1, GOLDEN**2 * 3 * label_index % 1
    return CoughPattern((0.33, 0.34, 0.33), (0.04 + 0.03 * slow, 0.1 + 0.12 * slow, 0.08 + 0.1 * wet), -wet, slow)


def phantom_cough(
    label_index: int, rng: Generator, sample_rate: int = SAMPLE_RATE, subject_rng: Generator | None = None
) -> Array:
    """One clip of one to three coughs, each an explosive, an intermediate and a voiced phase, over background noise.

    `label_index` (>= 0) chooses the `cough_pattern`; `rng` gives number, timing, level and noise, and `subject_rng`
    (`rng` if None) the voice: pitch, formants, tilt, tempo. `sample_rate` is in Hz, >= 4000.
    Returns float32 (samples,), |value| < 1, 0.7 to 3 seconds. Raises UserError if an argument is out of range.
    """
    if label_index < 0 or sample_rate < 4000:
        raise UserError(f"a phantom cough needs label_index >= 0 and >= 4000 Hz, not {label_index} and {sample_rate}")
    pattern, voice = cough_pattern(label_index), subject_rng or rng
    formants = FORMANTS * voice.uniform(0.85, 1.2) * voice.uniform(0.93, 1.07, 4)  # Hz
    bandwidths = voice.uniform(0.09, 0.2, 4) * formants
    pitch, tempo, tilt = voice.uniform(110, 320), voice.uniform(0.75, 1.3), pattern.tilt + voice.normal(0, 0.22)
    count = int(rng.choice([1, 2, 3], p=pattern.chances))
    phases = np.array(pattern.seconds)[:, None] * tempo * rng.uniform(0.8, 1.2, (3, count))  # seconds, (phases, coughs)
    starts = rng.uniform(0.04, 0.2) + np.append(0, np.cumsum(phases.sum(axis=0) + rng.uniform(0.08, 0.22, count)))
    samples = round(np.clip(starts[-1] + rng.uniform(0.05, 0.25), 0.7, 3) * sample_rate)
    length = fft.next_fast_len(samples, real=True)  # the clip is cut to `samples` at the end
    time = np.arange(length) / sample_rate
    # Each phase begins within the one before it, rises quickly and falls like a bell: (phases, coughs, 1).
    onsets = starts[:-1] + np.stack([0 * phases[0], 0.5 * phases[0], phases[0] + 0.7 * phases[1]])
    since = (time - onsets[..., None]).clip(0)
    rises, falls = np.reshape([0.003, 0.02, 0.025], (3, 1, 1)), (phases * [[0.6], [0.96], [0.9]])[..., None]
    forces = rng.uniform(0.6, 1, count) * np.array([[1], [0.4], [0.5 * pattern.voicing]])
    envelopes = (forces[..., None] * (since / rises).clip(max=1) * np.exp(-((since / falls) ** 2))).sum(axis=1)
    wobble = np.interp(time, np.linspace(0, 3, 40), rng.normal(1, 0.05, 40))
    cycle = np.cumsum(pitch * wobble * (1 + 0.5 * envelopes[2])) / sample_rate
    source = rng.standard_normal((4, length))
    source[2] = 2.5 * (cycle % 1 - 0.5) + 0.35 * source[2]  # a saw tooth is near the flow through the glottis
    source[:3] *= envelopes
    frequency = fft.rfftfreq(length, 1 / sample_rate)  # Hz
    tract = 0.12 + sum(1 / (1 + ((frequency - f) / b) ** 2) for f, b in zip(formants, bandwidths, strict=True))
    slopes = np.array([tilt + 0.35, tilt, tilt - 0.5, rng.uniform(-0.7, -0.1)])[:, None]
    spectra = (
        fft.rfft(source) * (frequency.clip(70) / 1000) ** slopes
    )  # (4, frequencies): explosive (the brightest), intermediate, voiced, background
    cough, noise = fft.irfft([spectra[:3].sum(axis=0) * tract, spectra[3]], length)[:, :samples]
    clip = cough / np.abs(cough).max() + 10 ** rng.uniform(-3, -1.7) * noise / noise.std()
    return (10 ** rng.uniform(-1, -0.03) * clip / np.abs(clip).max()).astype(np.float32)
