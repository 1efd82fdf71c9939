"""Evaluation of a cross-modal masked autoencoder and of the data set it made: numbers and pictures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmgen.assessment.shown import shown_samples, value_figure
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.loading import PairedData
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings
from mmgen.evaluation.fidelity.closeness import closeness
from mmgen.evaluation.fidelity.variance import sample_variance, variance_curve
from mmgen.evaluation.report import figures
from mmgen.evaluation.report.media import Figure, ReportMedia
from mmgen.evaluation.training_sets import four_sets
from mmgen.evaluation.utility import UtilityConfig, utility
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.training.mae_validation import masked_patch_error, mean_patch_error, tuples_around
from mmgen.training.preview import hide

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

RATIOS = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Evaluated:
    """What is evaluated.

    Attributes:
        model: the cross-modal model.
        single: a model of each modality alone, by modality, trained like ``model``; may be empty.
        data: real data.
        synthetic: what the model made, as read back from disk.
        settings: how each modality relates to files.
        mask_ratio: ratio of the reconstruction error.
    """

    model: CrossModalMAE
    single: Mapping[str, CrossModalMAE]
    data: PairedData
    synthetic: Mapping[str, Samples]
    settings: Mapping[str, Settings]
    mask_ratio: float = 0.75


def evaluate_mae(
    what: Evaluated, config: UtilityConfig, accelerator: Accelerator, history: list[dict[str, Any]], seed: int = 0
) -> tuple[dict[str, Any], ReportMedia]:
    """Report sections ``data``, ``utility`` and ``fidelity``, and the media beside them.

    ``history`` holds the rows of the training's ``metrics.jsonl``. Sets of more than
    :data:`mmgen.data.samples.ENOUGH` samples are measured on that many.
    """
    summary = what.data.summary()
    made = {name: samples.at_most() for name, samples in what.synthetic.items()}
    what = replace(what, data=what.data.at_most(), synthetic=made)
    fidelity = fidelity_section(what, seed)
    utility_section = measure_utility(what, config, accelerator)
    sections = {"data": summary, "utility": utility_section, "fidelity": fidelity}
    return sections, report_media(what, fidelity, history, seed)


def measure_utility(what: Evaluated, config: UtilityConfig, accelerator: Accelerator) -> dict[str, Any]:
    """Report section ``utility``: trained on real, synthetic, both or a real subset, tested on real, by modality."""
    if len(what.data.label_names) < 2:
        logger.warning("There is one label only: utility for classification cannot be measured.")
        return {}
    section = {}
    for name, modality in what.model.modalities.items():
        sets = four_sets(what.data.splits["train"][name], what.synthetic[name], config)
        section[name] = {
            config.classifier: utility(modality, sets, what.data.splits["test"][name], config, accelerator)
        }
    return section


def fidelity_section(what: Evaluated, seed: int = 0) -> dict[str, Any]:
    """Report section ``fidelity``: errors on test data, closeness and variety of what is made, by modality."""
    test, train = what.data.splits["test"], what.data.splits["train"]
    errors = masked_patch_error(what.model, test, what.mask_ratio, seed)
    curves = {"cross-modal": variance_curve(what.model, test, RATIOS, seed)}
    if what.single:
        curves["single-modal"] = {
            name: variance_curve(model, {name: test[name]}, RATIOS, seed)[name] for name, model in what.single.items()
        }
    section: dict[str, Any] = {}
    for name, modality in what.model.modalities.items():
        baseline = mean_patch_error(modality, train[name], test[name])
        section[name] = {
            "masked_patch_error": {
                "value": errors[name],
                "baseline": baseline,
                "ratio": errors[name] / baseline,
                "mean_sample_baseline": mean_patch_error(modality, train[name], test[name], per_position=True),
                "better": "lower",
            },
            **closeness(
                modality,
                test[name],
                what.synthetic[name],
                what.settings[name],
                test[name].subject_numbers(),
                seed,
            ),
            "sample_variance": {
                "value": sample_variance(modality, what.synthetic[name].values),
                "real_vs_real": sample_variance(modality, test[name].values),
                "better": "higher",
            },
            "variance_by_mask_ratio": {
                "mask_ratios": list(RATIOS),
                **{variant: curve[name] for variant, curve in curves.items()},
            },
        }
        if name in what.single:
            single = masked_patch_error(what.single[name], {name: test[name]}, what.mask_ratio, seed)[name]
            section[name]["masked_patch_error"]["single_modal"] = single
    return section


def report_media(
    what: Evaluated, fidelity: Mapping[str, Any], history: list[dict[str, Any]], seed: int = 0
) -> ReportMedia:
    """Figures (reconstructions, learning, variance, histograms) and samples, real beside synthetic."""
    media = ReportMedia(figures=[_reconstructions(what, seed)])
    names = list(what.model.modalities)
    curve_rows = [
        {"epoch": row["epoch"] + 1, **{name: row.get(f"validation/error/{name}", np.nan) for name in names}}
        for row in history
    ]
    media.figures.append(
        Figure(
            "Learning",
            "Error on hidden patches of validation data, beside predicting the mean patch.",
            "Curves of validation error against epoch, one panel a modality; the mean-patch error is a dashed line.",
            figures.training_curves(
                curve_rows, {name: fidelity[name]["masked_patch_error"]["baseline"] for name in names}
            ),
        )
    )
    curves = {
        name: {v: c for v, c in fidelity[name]["variance_by_mask_ratio"].items() if v != "mask_ratios"}
        for name in names
    }
    real = {name: fidelity[name]["sample_variance"]["real_vs_real"] for name in names}
    media.figures.append(
        Figure(
            "Variance against masking ratio",
            "How much generated samples differ from each other as more of the input is hidden.",
            "Variance of generated data against masking ratio, cross-modal and single-modal; real data dashed.",
            figures.variance_curve(curves, RATIOS, real),
        )
    )
    media.figures.extend(value_figure(name, what.data.splits["test"][name], what.synthetic[name]) for name in names)
    media.samples.extend(shown_samples(what.data.splits["test"], what.synthetic, what.settings))
    return media


def _reconstructions(what: Evaluated, seed: int, rows: int = 5) -> Figure:
    test, model = what.data.splits["test"], what.model
    first = next(iter(model.modalities))
    partners = tuples_around({name: test[name] for name in model.modalities}, first, seed)
    chosen = np.linspace(0, len(partners[first]) - 1, min(rows, len(partners[first]))).astype(int)
    batch = {name: torch.from_numpy(test[name].values[index[chosen]]) for name, index in partners.items()}
    noise = model.noise(len(chosen), torch.Generator().manual_seed(seed))
    device = next(model.parameters()).device
    made = model.reconstruct({name: x.to(device) for name, x in batch.items()}, what.mask_ratio, noise)
    cells: list[list[np.ndarray | None]] = [[] for _ in chosen]
    for name, modality in model.modalities.items():
        hidden = hide(modality, batch[name].float(), noise[name], what.mask_ratio)
        for row in range(len(chosen)):
            for column in (batch[name].float(), hidden, made[name].cpu()):
                cells[row].append(_cell(column[row], what.settings[name]))
    titles = [f"{name}: {kind}" for name in model.modalities for kind in ("real", "visible", "decoded")]
    return Figure(
        "Reconstruction of unseen samples",
        f"Test samples, what is left of them at mask ratio {what.mask_ratio:g}, and the full decode.",
        "Grid of test samples with their visible patches and their reconstruction.",
        figures.reconstruction_grid(cells, titles),
        shows_real=True,
    )


def _cell(x: torch.Tensor, settings: Settings) -> np.ndarray:
    if isinstance(settings, AudioSettings):
        return x[0].numpy()
    return x.nan_to_num(128.0).round().clamp(0, 255).byte().numpy()
