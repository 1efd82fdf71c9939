"""What a report shows beside its numbers: figures and samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

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
    """What the report shows beside its numbers.

    Attributes:
        figures: in the order of the page.
        samples: drawn when the report is written.
        cards: samples that are drawn already, as an earlier report of the run holds them; they come first.
    """

    figures: list[Figure] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
