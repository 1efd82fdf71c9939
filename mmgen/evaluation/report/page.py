"""The page of a report: one HTML file that needs no other file and no network."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from mmgen.evaluation.report import view
from mmgen.evaluation.report.answers import answers
from mmgen.evaluation.report.fidelity import fidelity_tables
from mmgen.evaluation.report.media import PICTURE, SOURCES, Card, Figure, data_uri
from mmgen.evaluation.report.privacy import findings, privacy_tables
from mmgen.evaluation.report.reading import Report
from mmgen.evaluation.report.utility import label_tables, utility_tables

# From this width on, a figure scrolls on a narrow screen instead of becoming too small to read.
WIDE = 700


class Shown(NamedTuple):
    """A figure on the page: its data URI, and its size in CSS pixels."""

    figure: Figure
    uri: str
    width: int
    height: int
    wide: bool


def page(report: Report, figures: Sequence[Figure], cards: Sequence[Card]) -> str:
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


def _shown(figure: Figure) -> Shown:
    """Three quarters of the file's pixels, so that fine screens show it sharp."""
    from PIL import Image

    with Image.open(io.BytesIO(figure.png)) as image:
        width, height = round(0.75 * image.width), round(0.75 * image.height)
    return Shown(figure, data_uri(PICTURE, figure.png), width, height, width > WIDE)


def _readable_time(created: Any) -> str:
    if not created:
        return ""
    try:
        return datetime.fromisoformat(str(created)).strftime("%d %B %Y, %H:%M %Z").strip()
    except ValueError:
        return str(created)
