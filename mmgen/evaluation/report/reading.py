"""A report read back from its folder, so that its page can be drawn again without the real data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmgen.errors import UserError
from mmgen.evaluation.report.media import PICTURE, SOUND, SOURCES, Card, Figure, ReportMedia


def read_report(folder: Path) -> dict[str, Any]:
    """The content of ``report.json`` in a report's folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    return _read_json(Path(folder) / "report.json")


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
    if not all(map(_is_safe, cards)):
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


def _is_safe(card: Card) -> bool:
    uris = ((card.picture, PICTURE), (card.spectrogram, PICTURE), (card.sound, SOUND))
    return card.source in SOURCES and all(isinstance(uri, str) and (not uri or uri.startswith(p)) for uri, p in uris)


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
