"""Reports that grow: an audit or evaluation adds to the page of a run, and the page is drawn again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmgen.artifacts.provenance import Costs, config_to_dict
from mmgen.assessment.auditing import Target, audit_run
from mmgen.data.loading import PairedData
from mmgen.errors import UserError
from mmgen.evaluation.report.figures_privacy import privacy_figures
from mmgen.evaluation.report.figures_utility import utility_figures
from mmgen.evaluation.report.media import Figure, ReportMedia
from mmgen.evaluation.report.reading import Report, read_media, read_report
from mmgen.evaluation.report.writing import to_json, write_report

# Where a run keeps its parts; what stands further on is newer.
PARTS = ("report", "evaluation", "audit")
# How deep sections are put together: what lies deeper was measured together and is replaced as a whole.
DEPTHS = {"data": 2, "utility": 2, "fidelity": 2, "cost": 1}


def add_to_report(folder: Path, sections: Mapping[str, Any], media: ReportMedia) -> Path:
    """Write the report of a folder, together with what an earlier command left there; the path of its page.

    Sections by modality are put together by what stands under each modality (a classifier, a measure), "cost" by its
    phases, others are replaced; figures of the same title are replaced, and samples where there are new ones.
    """
    earlier, shown = {}, ReportMedia()
    if (folder / "report.json").is_file():
        earlier, shown = read_report(folder), read_media(folder)
    whole = folder.resolve()  # a folder that holds a part of a run's report is called like the run
    name = whole.parent.name if whole.name in PARTS else whole.name
    later = {**_head(name), **to_json(sections)}
    return write_whole(folder, together(earlier, later), with_media(shown, media))


def report_run(
    out: Path,
    config: Any,
    data: PairedData,
    target: Target,
    evaluated: tuple[Mapping[str, Any], ReportMedia],
    costs: Costs,
    fast: bool = False,
) -> Path:
    """Audit what a recipe made, and write the report of its run with all that was measured; the path of its page.

    Args:
        out: folder of the run.
        config: the recipe's flags, a dataclass with ``seed``.
        data: what was read.
        target: what is audited.
        evaluated: report sections and media of the evaluation.
        costs: of all phases; the audit's is added.
        fast: short attacks.
    """
    sections, media = evaluated
    with costs.phase("audit"):
        privacy, pairs = audit_run(target, data, out / "audit", fast, config.seed)
    head = {**_head(out.name), "config": config_to_dict(config, whole_paths=False), "data": data.summary()}
    report = {**head, **sections, "privacy": privacy, "cost": costs}
    return write_whole(out / "report", report, with_media(media, pairs))


def _head(name: str) -> dict[str, str]:
    return {"run": name, "created": datetime.now(UTC).isoformat(timespec="seconds")}


def write_whole(folder: Path, report: Mapping[str, Any], media: ReportMedia) -> Path:
    """Write a report with the figures that its numbers give; the path of its page."""
    report = to_json(report)
    content = Report.from_json(report)
    drawn = [*utility_figures(content.utility, content.data), *privacy_figures(content)]
    return write_report(folder, report, with_media(media, ReportMedia(drawn)))


def redraw(run: Path) -> Path:
    """Draw the page of a run, or of a folder of an evaluation or audit, from what lies there; its path.

    Of a run it is ``report/index.html``; parts that were evaluated or audited later are put into that report.

    Raises:
        UserError: there is no report, or it is damaged.
    """
    return write_whole(*read_whole(run))


def read_whole(run: Path) -> tuple[Path, dict[str, Any], ReportMedia]:
    """The report of a run, or of a folder of an evaluation or audit, with all its parts: where its page belongs, its
    content and its media; raises as :func:`redraw`."""
    if (run / "report.json").is_file():
        return run, read_report(run), read_media(run)
    places = [run / part for part in PARTS if (run / part / "report.json").is_file()]
    if not places:
        raise UserError(f"There is no report in {run}; give the folder of a run, or of an evaluation or audit.")
    report, media = read_report(places[0]), read_media(places[0])
    if places[0].name != PARTS[0]:
        report["run"] = run.resolve().name
    for place in places[1:]:
        added = {key: value for key, value in read_report(place).items() if value and key not in ("run", "created")}
        report, media = together(report, added), with_media(media, read_media(place))
    return run / PARTS[0], report, media


def together(earlier: Mapping[str, Any], later: Mapping[str, Any], depth: int | None = None) -> dict[str, Any]:
    """Two reports as one, see :func:`add_to_report`; two sections with the ``depth`` to which they are put together."""
    result = dict(earlier)
    for key, value in later.items():
        below = DEPTHS.get(key, 0) if depth is None else depth
        both = isinstance(value, Mapping) and isinstance(earlier.get(key), Mapping)
        result[key] = together(earlier[key], value, below - 1) if below and both else value
    return result


def with_media(earlier: ReportMedia, later: ReportMedia) -> ReportMedia:
    """Figures and samples of two reports as one, see :func:`add_to_report`."""
    titles = {figure.title: figure for figure in later.figures}
    figures: list[Figure] = [titles.pop(figure.title, figure) for figure in earlier.figures]
    newest = later if later.samples or later.cards else earlier
    return replace(newest, figures=[*figures, *titles.values()])
