"""Reports that grow: an audit or evaluation adds to the page of a run, and the page is drawn again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmgen.errors import UserError
from mmgen.evaluation.report.figures_privacy import privacy_figures
from mmgen.evaluation.report.figures_utility import utility_figures
from mmgen.evaluation.report.media import Figure, ReportMedia
from mmgen.evaluation.report.reading import read_media, read_report
from mmgen.evaluation.report.writing import write_report

# Where a run keeps its parts; what stands further on is newer.
PARTS = ("report", "evaluation", "audit")
BY_MODALITY = ("data", "utility", "fidelity", "cost")


def add_to_report(folder: Path, sections: Mapping[str, Any], media: ReportMedia) -> Path:
    """Write the report of a folder, together with what an earlier command left there; the path of its page.

    Sections by modality (data, utility, fidelity) are put together by modality, others are replaced; figures of the
    same title are replaced, and samples where there are new ones.
    """
    earlier, shown = {}, ReportMedia()
    if (folder / "report.json").is_file():
        earlier, shown = read_report(folder), read_media(folder)
    head = {"run": folder.resolve().name, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    return write_whole(folder, together(earlier, {**head, **sections}), with_media(shown, media))


def write_whole(folder: Path, report: Mapping[str, Any], media: ReportMedia) -> Path:
    """Write a report with the figures that its numbers give; the path of its page."""
    drawn = [*utility_figures(report), *privacy_figures(report)]
    return write_report(folder, report, with_media(media, ReportMedia(drawn)))


def redraw(run: Path) -> Path:
    """Draw the page of a run, or of a folder of an evaluation or audit, from what lies there; its path.

    Parts of a run that were evaluated or audited later are put into the report of the run.

    Raises:
        UserError: there is no report, or it is damaged.
    """
    places = [run / part for part in PARTS if (run / part / "report.json").is_file()]
    if (run / "report.json").is_file():
        places = [run]
    if not places:
        raise UserError(f"There is no report in {run}; give the folder of a run, or of an evaluation or audit.")
    report, media = read_report(places[0]), read_media(places[0])
    for place in places[1:]:
        added = {key: value for key, value in read_report(place).items() if value and key not in ("run", "created")}
        report, media = together(report, added), with_media(media, read_media(place))
    return write_whole(places[0], report, media)


def together(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Two reports as one, see :func:`add_to_report`."""
    whole = dict(earlier)
    for key, value in later.items():
        both = key in BY_MODALITY and isinstance(whole.get(key), Mapping) and isinstance(value, Mapping)
        whole[key] = {**whole[key], **value} if both else value
    return whole


def with_media(earlier: ReportMedia, later: ReportMedia) -> ReportMedia:
    """What two reports show as one, see :func:`add_to_report`."""
    titles = {figure.title: figure for figure in later.figures}
    figures: list[Figure] = [titles.pop(figure.title, figure) for figure in earlier.figures]
    newest = later if later.samples or later.cards else earlier
    return replace(newest, figures=[*figures, *titles.values()])
