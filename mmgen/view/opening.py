"""What there is to see at a path: data sets, a model that draws, a report, and real data to compare with."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmgen.data.settings import Settings
from mmgen.data.sources import Reading
from mmgen.data.writing.layout import DOCUMENT
from mmgen.data.writing.unfinished import INCOMPLETE
from mmgen.errors import UserError, shown
from mmgen.models.generative import GenerativeModel
from mmgen.view.contents import MOST_SAMPLES, DataSet
from mmgen.view.pages import View

# What evaluates, trains and generates takes seconds to import, and is imported where there is something for it.
if TYPE_CHECKING:
    from mmgen.evaluation.report.media import Figure
    from mmgen.evaluation.report.reading import Report
    from mmgen.view.drawing import Drawer
    from mmgen.view.real import RealSide

logger = logging.getLogger(__name__)


def open_view(
    target: str | Path, real: Sequence[str] = (), split: str = "train", reading: Reading | None = None
) -> View:
    """What is shown of a run or a data set.

    Args:
        target: folder of a run, a model or a data set.
        real: PATH or NAME=PATH of real data.
        split: of the real data, where they have splits.
        reading: how they are read.

    Raises:
        UserError: there is nothing to see, or it cannot be read.
    """
    target = Path(target)
    alone = any(os.path.lexists(target / name) for name in (DOCUMENT, INCOMPLETE))
    holds_model = not alone and any((target / name / "config.json").is_file() for name in (".", "model"))
    folders = {".": target} if alone else _data_sets_of(target)
    if not folders and not holds_model:
        raise UserError(f"There is no data set and no model in {target}; give the folder of a run or a data set.")
    data_sets = [DataSet(shown(name), path) for name, path in folders.items()]
    for data_set in data_sets:
        if len(data_set.samples) == MOST_SAMPLES < data_set.total:
            logger.warning("Of %s the first %d samples are shown.", data_set.folder, MOST_SAMPLES)
    settings, drawer = _model(target) if holds_model else ({}, None)
    for data_set in data_sets:
        settings |= data_set.settings
    beside = _real(real, split, reading or Reading(), settings) if real else None
    report, pairs = _report(target)
    return View(target.resolve().name, data_sets, settings, beside, drawer, report, pairs)


def _data_sets_of(run: Path) -> dict[str, Path]:
    from mmgen.assessment.inputs import data_sets_of

    return data_sets_of(run)


def _model(run: Path) -> tuple[dict[str, Settings], Drawer | None]:
    """Settings of the modalities of a run's model, and what draws from it, if it makes samples step by step from
    labels and noise."""
    from mmgen.artifacts.models import load_model, model_settings
    from mmgen.view.drawing import Drawer

    model: GenerativeModel = load_model(run)
    draws = model.starts[0] == "label" and len(model.starts) > 1
    return dict(model_settings(model)), Drawer(model) if draws else None


def _real(paths: Sequence[str], split: str, reading: Reading, settings: Mapping[str, Settings]) -> RealSide:
    from mmgen.assessment.inputs import parse_paths
    from mmgen.data.loading import load
    from mmgen.view.real import RealSide

    places = parse_paths(list(paths), list(settings), "--real")
    return RealSide(load(reading.sources(places, settings), reading, split, foreign=True), settings)


def _report(target: Path) -> tuple[Report | None, list[Figure]]:
    """The report of a run, and the figures of pairs that its audit found, if there is one that can be read."""
    if not any(target.glob("report.json")) and not any(target.glob("*/report.json")):
        return None, []
    from mmgen.assessment.reporting import read_whole
    from mmgen.evaluation.report.reading import Report

    try:
        _, content, media = read_whole(target)
        pairs = [figure for figure in media.figures if figure.shows_real and figure.section == "privacy"]
        return Report.from_json(content), pairs
    except UserError as error:
        logger.warning("The report is not shown: %s", error)
        return None, []
