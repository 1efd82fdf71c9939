"""Bars of what training sets are worth."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmgen.evaluation.report.figures_utility import generalisation_bars, utility_figures
from mmgen.evaluation.scores import Statistic, UtilityScores


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def test_generalisation_bars_are_of_stored_sets() -> None:
    auc = {"real": Statistic(0.8), "synthetic": Statistic(0.7, None, (0.6, 0.8))}
    sets = {name: UtilityScores(auc=statistic) for name, statistic in auc.items()}
    fresh = sets | {"synthetic_fresh": UtilityScores(auc=Statistic(0.9)), "none": UtilityScores()}
    np.testing.assert_array_equal(
        pixels(generalisation_bars({"convnet": fresh})), pixels(generalisation_bars({"convnet": sets}))
    )
    with pytest.raises(ValueError, match="no AUC"):
        generalisation_bars({"convnet": {"synthetic_fresh": UtilityScores(auc=Statistic(0.9))}})
    (figure,) = utility_figures({"image": {"convnet": fresh}, "audio": {}}, {})
    assert figure.alt == "Bars of AUC. ConvNet: Real 0.80, Synthetic 0.70." and figure.section == "utility"
    assert utility_figures({}, {}) == []
