"""A report read back from its folder, so that its page can be drawn again without the real data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen.errors import UserError
from mmgen.evaluation.fidelity.result import Fidelity, fidelity_from_json
from mmgen.evaluation.privacy.record import PrivacySection
from mmgen.evaluation.report.media import PICTURE, SOUND, SOURCES, Card, Figure, ReportMedia
from mmgen.evaluation.report.text import as_dict, name_of
from mmgen.evaluation.scores import Utility, utility_from_json


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
    content = _read_json(path)
    try:
        Report.from_json(content)
    except UserError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    return content


def read_media(folder: Path) -> ReportMedia:
    """Figures and drawn samples that :func:`mmgen.evaluation.report.writing.write_report` left in a folder.

    Raises:
        UserError: ``media.json`` or a figure is missing or damaged.
    """
    path = Path(folder) / "media.json"
    content = _read_json(path)
    try:
        figures = [_figure(path.parent, entry) for entry in content["figures"]]
        cards = [Card(**entry) for entry in content["samples"]]
    except (KeyError, TypeError) as error:
        raise _damaged(path) from error
    for card in cards:
        uris = ((card.picture, PICTURE), (card.spectrogram, PICTURE), (card.sound, SOUND))
        safe = all(isinstance(uri, str) and (not uri or uri.startswith(prefix)) for uri, prefix in uris)
        if card.source not in SOURCES or not safe:
            raise _damaged(path)
    return ReportMedia(figures, cards=cards)


def _figure(folder: Path, entry: dict[str, Any]) -> Figure:
    entry = dict(entry)
    path = folder / "figures" / Path(entry.pop("file")).name
    try:
        png = path.read_bytes()
    except OSError as error:
        raise UserError(f"The figure {path} of the report is missing; evaluate the run again.") from error
    if not png.startswith(b"\x89PNG"):
        raise _damaged(path)
    return Figure(**entry, png=png)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"There is no report at {path}; evaluate the run first.") from error
    except ValueError as error:  # neither JSON nor UTF-8
        raise _damaged(path) from error
    if not isinstance(content, dict):
        raise _damaged(path)
    return content


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged; evaluate the run again.")
