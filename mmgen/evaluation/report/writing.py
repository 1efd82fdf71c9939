"""The report of a run: ``report.json`` with stable keys, ``figures/*.png`` and one self-contained ``index.html``."""

from __future__ import annotations

import io
import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from mmgen.data.writing.atomic import new_file
from mmgen.evaluation.report import view
from mmgen.evaluation.report.answers import answers
from mmgen.evaluation.report.fidelity import fidelity_tables
from mmgen.evaluation.report.media import PICTURE, SOURCES, Card, Figure, ReportMedia, data_uri, draw_cards
from mmgen.evaluation.report.privacy import findings, privacy_tables
from mmgen.evaluation.report.reading import Report
from mmgen.evaluation.report.utility import label_tables, utility_tables

# From this width on, a figure scrolls on a narrow screen instead of becoming too small to read.
WIDE = 700
SECTIONS = ("config", "data", "condensation", "utility", "fidelity", "privacy", "cost")


def write_report(folder: Path, report: Mapping[str, Any], media: ReportMedia) -> Path:
    """Write the report of a run; numbers first, so that they survive a picture that cannot be drawn.

    ``media.json`` and ``figures/`` keep what the page shows beside its numbers, samples as they are drawn, so that
    :func:`mmgen.evaluation.report.reading.read_media` and this function make the same page again.

    Args:
        folder: created if missing; earlier files of the same names are replaced atomically.
        report: content of ``report.json``. Missing sections become ``{}``, missing "run" and "created" become null,
            NaN and infinities become null, numpy values become numbers and lists.
        media: figures and samples.

    Returns:
        Path of ``index.html``, which needs neither the other files nor a network.

    Raises:
        ValueError: a sample's array has another type or shape than ``Sample`` says.
        UserError: results of another form, or the disk is full.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    content = to_json(report)
    clean = {"run": content.get("run"), "created": content.get("created")}
    clean |= {section: content.get(section) or {} for section in SECTIONS}
    clean |= {key: value for key, value in content.items() if key not in clean}
    _write(folder / "report.json", _json_bytes(clean))
    names = _file_names([figure.title for figure in media.figures])
    for name, figure in zip(names, media.figures, strict=True):
        _write(folder / "figures" / name, figure.png)
    cards = [*media.cards, *draw_cards(media.samples)]
    kept = ("title", "caption", "alt", "shows_real", "section")
    stored = {
        "figures": [
            {key: getattr(figure, key) for key in kept} | {"file": name}
            for figure, name in zip(media.figures, names, strict=True)
        ],
        "samples": [asdict(card) for card in cards],
    }
    _write(folder / "media.json", _json_bytes(stored))
    index = folder / "index.html"
    _write(index, _page(Report.from_json(clean), media.figures, cards).encode("utf-8", "replace"))
    return index


def to_json(value: Any) -> Any:
    """``value`` in JSON's own types: dict with text keys, list, str, int, finite float, bool, None.

    Numbers that are not finite become None; arrays, tensors, sets and tuples become lists, dataclasses become dicts,
    what has a ``to_json`` what that gives, anything else (paths, dates, devices) its text.
    """
    if hasattr(value, "to_json"):
        value = value.to_json()
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


def _file_names(titles: Sequence[str]) -> list[str]:
    """One distinct name of a PNG file per title, of ASCII letters, digits and hyphens only."""
    names: list[str] = []
    for title in titles:
        ascii_title = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode("ascii").lower()
        slug = re.sub(r"[^a-z0-9]+", "-", ascii_title).strip("-")[:60] or "figure"
        name, count = slug, 1
        while name in names:
            count += 1
            name = f"{slug}-{count}"
        names.append(name)
    return [f"{name}.png" for name in names]


def _json_bytes(content: Any) -> bytes:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # A lone surrogate (file name in an unknown encoding) becomes \udcXX, which JSON can hold and UTF-8 cannot.
    return text.encode("utf-8", "backslashreplace")


def _write(path: Path, content: bytes) -> None:
    with new_file(path) as file:
        file.write(content)


class _Shown(NamedTuple):
    """A figure on the page: its data URI, and its size in CSS pixels."""

    figure: Figure
    uri: str
    width: int
    height: int
    wide: bool


def _page(report: Report, figures: Sequence[Figure], cards: Sequence[Card]) -> str:
    """HTML of a report; the same input gives the same text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # The templates' names end in .j2, so escaping is switched on here and not guessed from the name.
    environment = Environment(
        loader=PackageLoader("mmgen.evaluation.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shows_real = any(card.source == "real" for card in cards) or any(figure.shows_real for figure in figures)
    return environment.get_template("page.html.j2").render(
        run=report.run,
        created=report.created,
        created_text=_readable_time(report.created),
        warnings=view.warnings(report, shows_real),
        answers=answers(report),
        remarks=view.remarks(report),
        data=view.data_tables(report.data),
        condensation=view.condensation_tables(report.condensation),
        utility=utility_tables(report.utility, report.data),
        labels=label_tables(report.utility, report.data),
        fidelity=fidelity_tables(report.fidelity, report.data),
        privacy=privacy_tables(report.privacy),
        findings=findings(report.privacy),
        cost=view.cost_tables(report.cost),
        figures={
            section: [_shown(figure) for figure in figures if figure.section == section]
            for section in ("utility", "fidelity", "privacy", "figures")
        },
        samples=_grouped(cards),
        config=json.dumps(report.config, indent=2, ensure_ascii=False) if report.config else "",
    )


def _grouped(cards: Sequence[Card]) -> list[tuple[str, list[tuple[str, list[tuple[str, Card]]]]]]:
    """Label -> "real" and "synthetic" -> names and cards, labels in the order of their first card."""
    groups = []
    for label in dict.fromkeys(card.label for card in cards):
        sides = []
        for source in SOURCES:
            side = [card for card in cards if (card.label, card.source) == (label, source)]
            sides.append((source, [(f"{source} sample {i} of {label}", card) for i, card in enumerate(side, 1)]))
        groups.append((label, sides))
    return groups


def _shown(figure: Figure) -> _Shown:
    """Three quarters of the file's pixels, so that fine screens show it sharp."""
    from PIL import Image

    with Image.open(io.BytesIO(figure.png)) as image:
        width, height = round(0.75 * image.width), round(0.75 * image.height)
    return _Shown(figure, data_uri(PICTURE, figure.png), width, height, width > WIDE)


def _readable_time(created: Any) -> str:
    if not created:
        return ""
    try:
        return datetime.fromisoformat(str(created)).strftime("%d %B %Y, %H:%M %Z").strip()
    except ValueError:
        return str(created)
