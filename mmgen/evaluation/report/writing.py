"""The report of a run: ``report.json`` with stable keys, ``figures/*.png`` and one self-contained ``index.html``."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmgen.evaluation.report import view
from mmgen.evaluation.report.utility import utility_tables

if TYPE_CHECKING:
    from PIL import Image

SECTIONS = ("config", "data", "condensation", "utility", "fidelity", "privacy", "cost")
SOURCES = ("real", "synthetic")


@dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Attributes:
        title: short title, also the name of the file under ``figures/``.
        caption: what the reader should see in it.
        alt: the content in words for those who do not see it.
        png: bytes of a PNG file.
        shows_real: records of the real data can be seen in it (the page then warns).
    """

    title: str
    caption: str
    alt: str
    png: bytes
    shows_real: bool = False


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
class ReportMedia:
    """What the report shows beside its numbers."""

    figures: list[Figure] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Card:
    """A sample ready for the page: data URIs, empty where a modality is missing."""

    name: str
    picture: str
    spectrogram: str
    sound: str


def write_report(folder: Path, report: Mapping[str, Any], media: ReportMedia) -> Path:
    """Write the report of a run; numbers first, so that they survive a picture that cannot be drawn.

    Args:
        folder: created if missing; earlier files of the same names are replaced atomically.
        report: content of ``report.json``. Missing sections become ``{}``, missing "run" and "created" become null,
            NaN and infinities become null, numpy values become numbers and lists.
        media: figures and samples.

    Returns:
        Path of ``index.html``, which needs neither the other files nor a network.

    Raises:
        ValueError: a sample's array has another type or shape than ``Sample`` says.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    clean = _with_stable_keys(to_json(report))
    text = json.dumps(clean, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # A lone surrogate (file name in an unknown encoding) becomes \udcXX, which JSON can hold and UTF-8 cannot.
    _write_atomically(folder / "report.json", text.encode("utf-8", "backslashreplace"))
    for name, figure in zip(_file_names([figure.title for figure in media.figures]), media.figures, strict=True):
        _write_atomically(folder / "figures" / f"{name}.png", figure.png)
    index = folder / "index.html"
    _write_atomically(index, _html(clean, media).encode("utf-8", "replace"))
    return index


def to_json(value: Any) -> Any:
    """``value`` in JSON's own types: dict with text keys, list, str, int, finite float, bool, None.

    Numbers that are not finite become None; arrays, tensors, sets and tuples become lists, dataclasses become dicts,
    anything else (paths, dates, devices) its text.
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if hasattr(value, "tolist"):  # numpy arrays and scalars, torch tensors
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return [to_json(item) for item in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _with_stable_keys(report: dict[str, Any]) -> dict[str, Any]:
    stable = {"run": report.get("run"), "created": report.get("created")}
    stable |= {section: report.get(section) or {} for section in SECTIONS}
    return stable | {key: value for key, value in report.items() if key not in stable}


def _html(report: dict[str, Any], media: ReportMedia) -> str:
    from jinja2 import Environment, StrictUndefined

    # The template's name ends in .j2, so escaping is switched on here and not guessed from the name.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(
        resources.files("mmgen.evaluation.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    )
    shows_real = any(s.source == "real" for s in media.samples) or any(f.shows_real for f in media.figures)
    return template.render(
        run=report["run"],
        created=report["created"],
        created_text=_readable_time(report["created"]),
        warnings=view.warnings(report, shows_real),
        summary=view.summary(report),
        data=view.data_tables(report["data"]),
        condensation=view.condensation_tables(report["condensation"]),
        utility=utility_tables(report["utility"], report["data"]),
        fidelity=view.fidelity_tables(report["fidelity"], report["data"]),
        privacy=view.privacy_tables(report["privacy"]),
        cost=view.cost_tables(report["cost"]),
        figures=[(figure, _data_uri("image/png", figure.png), *_shown_size(figure.png)) for figure in media.figures],
        samples=_cards(media.samples),
        config=json.dumps(report["config"], indent=2, ensure_ascii=False) if report["config"] else "",
    )


def _cards(samples: list[Sample]) -> list[tuple[str, list[tuple[str, list[Card]]]]]:
    """Samples as cards: label -> "real" and "synthetic" -> cards, labels in the order of their first sample."""
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

    def card(sample: Sample, position: int) -> Card:
        return Card(
            name=f"{sample.source} sample {position} of {sample.label}",
            picture="" if sample.image is None else _picture_uri(figures.picture(sample.image)),
            spectrogram=""
            if sample.log_mel is None
            else _picture_uri(figures.spectrogram(np.asarray(sample.log_mel), low, high)),
            sound=_sound_uri(sample.waveform, sample.sample_rate),
        )

    groups = []
    for label in dict.fromkeys(sample.label for sample in samples):
        sides = [(source, [s for s in samples if (s.label, s.source) == (label, source)]) for source in SOURCES]
        groups.append((label, [(source, [card(s, i) for i, s in enumerate(side, 1)]) for source, side in sides]))
    return groups


def _picture_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return _data_uri("image/png", buffer.getvalue())


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
    return _data_uri("audio/flac", buffer.getvalue())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _shown_size(png: bytes) -> tuple[int, int]:
    """Width and height on the page in CSS pixels: three quarters of the file's, so that fine screens show it sharp."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return round(0.75 * image.width), round(0.75 * image.height)


def _readable_time(created: Any) -> str:
    if not created:
        return ""
    try:
        return datetime.fromisoformat(str(created)).strftime("%d %B %Y, %H:%M %Z").strip()
    except ValueError:
        return str(created)


def _file_names(titles: list[str]) -> list[str]:
    """One distinct file name per title, of ASCII letters, digits and hyphens only."""
    names: list[str] = []
    for title in titles:
        ascii_title = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode("ascii").lower()
        slug = re.sub(r"[^a-z0-9]+", "-", ascii_title).strip("-")[:60] or "figure"
        name, count = slug, 1
        while name in names:
            count += 1
            name = f"{slug}-{count}"
        names.append(name)
    return names


def _write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` as a whole: a full disk or a killed process leaves the earlier file as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
