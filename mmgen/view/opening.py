"""What there is to see at a path: data sets, a model that draws, a report, and real data to compare with."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from mmgen.artifacts.models import load_model, model_settings
from mmgen.assessment.inputs import data_sets_of, parse_paths
from mmgen.assessment.reporting import PARTS, read_whole
from mmgen.data.loading import load
from mmgen.data.settings import Settings
from mmgen.data.sources import Reading
from mmgen.data.writing.layout import DOCUMENT
from mmgen.data.writing.unfinished import INCOMPLETE
from mmgen.errors import UserError, shown
from mmgen.evaluation.report.media import ReportMedia
from mmgen.evaluation.report.reading import Report
from mmgen.models.generative import GenerativeModel
from mmgen.view.contents import MOST_SAMPLES, DataSet
from mmgen.view.drawing import Drawer
from mmgen.view.pages import View
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
    folders = {".": target} if alone else data_sets_of(target)
    holds_model = any((target / name / "config.json").is_file() for name in (".", "model"))
    if not folders and not holds_model:
        raise UserError(f"There is no data set and no model in {target}; give the folder of a run or a data set.")
    data_sets = [DataSet(shown(name), path) for name, path in folders.items()]
    for data_set in data_sets:
        if len(data_set.samples) == MOST_SAMPLES < data_set.total:
            logger.warning("Of %s the first %d samples are shown.", data_set.folder, MOST_SAMPLES)
    model = load_model(target) if holds_model and not alone else None
    drawer = Drawer(model) if model is not None and _draws(model) else None
    settings: dict[str, Settings] = {} if model is None else dict(model_settings(model))
    for data_set in data_sets:
        settings |= data_set.settings
    beside = None
    if real:
        paths, reading = parse_paths(list(real), list(settings), "--real"), reading or Reading()
        beside = RealSide(load(reading.sources(paths, settings), reading, split, foreign=True), settings)
    report, media = _report(target)
    pairs = [figure for figure in media.figures if figure.shows_real and figure.section == "privacy"]
    return View(target.resolve().name, data_sets, settings, beside, drawer, report, pairs)


def _draws(model: GenerativeModel) -> bool:
    """Whether it makes samples step by step from labels and noise."""
    return model.starts[0] == "label" and len(model.starts) > 1


def _report(target: Path) -> tuple[Report | None, ReportMedia]:
    """The report of a run and its media, if there is one that can be read."""
    if not any((target / part / "report.json").is_file() for part in (".", *PARTS)):
        return None, ReportMedia()
    try:
        _, content, media = read_whole(target)
        return Report.from_json(content), media
    except UserError as error:
        logger.warning("The report is not shown: %s", error)
        return None, ReportMedia()
