"""Samples drawn for the report page: pictures, spectrograms and sounds as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmgen.evaluation.report.media import PICTURE, SOUND, SOURCES, Card, Sample

if TYPE_CHECKING:
    from PIL import Image


def draw_cards(samples: Sequence[Sample]) -> list[Card]:
    """Cards of samples, whose spectrograms share one colour scale.

    Raises:
        ValueError: a source other than "real" and "synthetic", or an array that is not as ``Sample`` says.
    """
    if not samples:
        return []
    from mmgen.evaluation.report import figures

    unknown = {sample.source for sample in samples} - set(SOURCES)
    if unknown:
        raise ValueError(f"A sample is 'real' or 'synthetic', not {unknown.pop()!r}.")
    # The real sounds set the colours, so that a synthetic spectrogram that is too faint also looks too faint.
    with_log_mel = [sample for sample in samples if sample.log_mel is not None]
    reference = [s.log_mel for s in with_log_mel if s.source == "real"] or [s.log_mel for s in with_log_mel]
    low, high = figures.colour_range(reference)
    return [
        Card(
            sample.label,
            sample.source,
            picture="" if sample.image is None else _picture_uri(figures.picture(sample.image)),
            spectrogram=""
            if sample.log_mel is None
            else _picture_uri(figures.spectrogram(np.asarray(sample.log_mel), low, high)),
            sound=_sound_uri(sample.waveform, sample.sample_rate),
        )
        for sample in samples
    ]


def data_uri(prefix: str, content: bytes) -> str:
    """Bytes as a data URI; ``prefix`` is :data:`PICTURE` or :data:`SOUND`."""
    return prefix + base64.b64encode(content).decode("ascii")


def _picture_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return data_uri(PICTURE, buffer.getvalue())


def _sound_uri(waveform: np.ndarray | None, sample_rate: int) -> str:
    """A waveform (samples,) as 16-bit FLAC, about half the size of WAV; empty without samples."""
    if waveform is None or np.size(waveform) == 0:
        return ""
    if np.ndim(waveform) != 1:
        raise ValueError(f"A waveform is an array (samples,), not {np.shape(waveform)}.")
    import soundfile

    audible = np.nan_to_num(np.asarray(waveform, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    audible = audible / max(1.0, float(np.abs(audible).max()))
    buffer = io.BytesIO()
    soundfile.write(buffer, audible, sample_rate, format="FLAC", subtype="PCM_16")
    return data_uri(SOUND, buffer.getvalue())
