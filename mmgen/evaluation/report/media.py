"""Figures and samples that a report shows beside its numbers; samples are drawn as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

SOURCES = ("real", "synthetic")
PICTURE, SOUND = "data:image/png;base64,", "data:audio/flac;base64,"


@dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Attributes:
        title: short title, also the name of the file under ``figures/``.
        caption: what the reader should see in it.
        alt: the content in words for those who do not see it.
        png: bytes of a PNG file.
        shows_real: records of the real data can be seen in it (the page then warns).
        section: where it stands on the page: "utility", "fidelity", "privacy" or "figures".
    """

    title: str
    caption: str
    alt: str
    png: bytes
    shows_real: bool = False
    section: Literal["utility", "fidelity", "privacy", "figures"] = "figures"


@dataclass(frozen=True)
class Sample:
    """One real or synthetic sample; modalities that it lacks are None.

    Attributes:
        label: class name, any text.
        source: "real" or "synthetic".
        image: uint8 (C, H, W), C 1 or 3.
        log_mel: (bands, frames), any unit; all spectrograms of a report share one colour scale.
        waveform: float (samples,), full scale is -1..1; a louder one is scaled down as a whole.
        sample_rate: of the waveform, in Hz.
    """

    label: str
    source: Literal["real", "synthetic"]
    image: np.ndarray | None = None
    log_mel: np.ndarray | None = None
    waveform: np.ndarray | None = None
    sample_rate: int = 16000


@dataclass(frozen=True)
class Card:
    """A sample as the page shows it: data URIs of PNG and FLAC files, empty where a modality is missing."""

    label: str
    source: str
    picture: str
    spectrogram: str
    sound: str


@dataclass(frozen=True)
class ReportMedia:
    """Figures and samples of a report.

    Attributes:
        figures: in the order of the page.
        samples: drawn when the report is written.
        cards: samples that are drawn already, as an earlier report of the run holds them; they come first.
    """

    figures: list[Figure] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)


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
