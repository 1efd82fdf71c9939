"""A report read back from its folder, so that its page can be drawn again without the real data."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmgen.data.opening import open_regular, read_json
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.result import Fidelity, fidelity_from_json
from mmgen.evaluation.privacy.record import PrivacySection
from mmgen.evaluation.report.media import PICTURE, SOUND, SOURCES, Card, Figure, ReportMedia
from mmgen.evaluation.report.text import as_dict, name_of
from mmgen.evaluation.scores import Utility, utility_from_json
from mmgen.evaluation.typed_json import from_json

_DEEPEST = 100  # far deeper than a report is


@dataclass(frozen=True)
class Report:
    """Content of ``report.json``: results of measures as such, facts as they were written."""

    run: Any
    created: Any
    config: Any
    data: dict
    condensation: dict
    utility: Utility
    fidelity: Fidelity
    privacy: PrivacySection
    cost: dict

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Report:
        """Sections may be missing; raises UserError for results of another form."""
        facts = {key: as_dict(content.get(key)) for key in ("data", "condensation", "cost")}
        return cls(
            **{key: content.get(key) for key in ("run", "created", "config")},
            **facts,
            utility=utility_from_json(content.get("utility") or {}),
            fidelity=fidelity_from_json(content.get("fidelity") or {}),
            privacy=PrivacySection.from_json(as_dict(content.get("privacy"))),
        )

    def title(self, modality: str) -> str:
        """Readable name of a modality."""
        return name_of(modality, self.data)

    def classes(self, modality: str) -> int:
        """Number of labels, 0 if unknown."""
        return len(as_dict(as_dict(self.data.get(modality)).get("counts")))


def read_report(folder: Path) -> dict[str, Any]:
    """The content of ``report.json`` in a report's folder, of the form that :class:`Report` takes.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = Path(folder) / "report.json"
    content = _read_object(path)
    with _named(path):
        Report.from_json(content)
    return content


@dataclass(frozen=True)
class _StoredFigure:
    """A figure without its picture, which lies in a file."""

    file: str
    title: str
    caption: str
    alt: str
    shows_real: bool = False
    section: Literal["utility", "fidelity", "privacy", "figures"] = "figures"


@dataclass(frozen=True)
class _StoredMedia:
    """Content of ``media.json``."""

    figures: tuple[_StoredFigure, ...]
    samples: tuple[Card, ...]


def read_media(folder: Path) -> ReportMedia:
    """Figures and drawn samples that :func:`mmgen.evaluation.report.writing.write_report` left in a folder.

    Raises:
        UserError: ``media.json`` or a figure is missing or damaged.
    """
    path = Path(folder) / "media.json"
    content = _read_object(path)
    with _named(path):
        stored = from_json(_StoredMedia, content, "it")
    for card in stored.samples:
        uris = ((card.picture, PICTURE), (card.spectrogram, PICTURE), (card.sound, SOUND))
        if card.source not in SOURCES or any(uri and not uri.startswith(prefix) for uri, prefix in uris):
            raise _damaged(path)
    return ReportMedia([_figure(path.parent, figure) for figure in stored.figures], cards=list(stored.samples))


def _figure(folder: Path, stored: _StoredFigure) -> Figure:
    from PIL import Image

    path = folder / "figures" / Path(stored.file).name
    try:
        with open_regular(path) as file:
            png = file.read()
    except (OSError, ValueError) as error:
        raise UserError(f"The figure {path} of the report is missing; evaluate the run again.") from error
    try:
        Image.open(io.BytesIO(png), formats=("PNG",)).close()
    except Exception as error:  # Pillow raises all kinds
        raise _damaged(path) from error
    return Figure(stored.title, stored.caption, stored.alt, png, stored.shows_real, stored.section)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except FileNotFoundError as error:
        raise UserError(f"There is no report at {path}; evaluate the run first.") from error
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    level = [content]
    for _ in range(_DEEPEST):
        level = [
            part for x in level for part in (x.values() if isinstance(x, dict) else x if isinstance(x, list) else ())
        ]
    if level or not isinstance(content, dict):
        raise _damaged(path)
    return content


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file in which something has another form."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path} is damaged: {error}") from error


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged; evaluate the run again.")
