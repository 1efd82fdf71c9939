"""Fidelity at the end of a run, where too few real samples are a reason to measure less and not to fail."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from mmgen.data.labels import align_labels
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings
from mmgen.errors import UserError
from mmgen.evaluation.fidelity.features import PIXELS, make_extractor
from mmgen.evaluation.fidelity.measure import measure_fidelity
from mmgen.models.modality import Modality

logger = logging.getLogger(__name__)


def closeness(
    modality: Modality,
    real: Samples,
    synthetic: Samples,
    settings: Settings | None = None,
    people: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """:func:`measure_fidelity` by pixels; {}, with a warning, for data on which it is impossible."""
    try:
        made = align_labels(synthetic, real)
        return measure_fidelity(modality, real, made, make_extractor(PIXELS, modality), settings, people, seed)
    except UserError as error:
        logger.warning("Closeness of '%s' is not measured: %s", modality.name, error)
        return {}
