"""Evaluation of a cross-modal masked autoencoder and of the data set it made: numbers and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmgen.assessment.shown import compared_media
from mmgen.data.loading import PairedData
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings, kind_of
from mmgen.evaluation.fidelity.measure import measure_by_pixels
from mmgen.evaluation.fidelity.result import PATCH_ERROR, FidelityResult, PatchError
from mmgen.evaluation.fidelity.variance import sample_variance, variance_curve
from mmgen.evaluation.report import figures
from mmgen.evaluation.report.media import Figure, ReportMedia
from mmgen.evaluation.training_sets import four_sets
from mmgen.evaluation.utility import UtilityConfig, has_labels, utility
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.training.mae_validation import masked_patch_error, mean_patch_error, tuples_around
from mmgen.training.preview import hide

if TYPE_CHECKING:
    from accelerate import Accelerator

RATIOS = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class MAERun:
    """A trained model and the data set that it made.

    Attributes:
        model: the cross-modal model.
        single: a model of each modality alone, by modality, trained like ``model``; may be empty.
        data: real data.
        synthetic: samples of the data set, as read back from disk.
        settings: how each modality relates to files.
        mask_ratio: ratio of the reconstruction error.
        seed: of every random choice.
    """

    model: CrossModalMAE
    single: Mapping[str, CrossModalMAE]
    data: PairedData
    synthetic: Mapping[str, Samples]
    settings: Mapping[str, Settings]
    mask_ratio: float = 0.75
    seed: int = 0


def evaluate_mae(
    run: MAERun, config: UtilityConfig, accelerator: Accelerator, history: list[dict[str, Any]]
) -> tuple[dict[str, Any], ReportMedia]:
    """Report sections ``utility`` and ``fidelity``, and the media beside them.

    ``history`` holds the rows of the training's ``metrics.jsonl``. Sets of more than
    :data:`mmgen.data.samples.ENOUGH` samples are measured on that many.
    """
    synthetic = {name: samples.at_most() for name, samples in run.synthetic.items()}
    run = replace(run, data=run.data.at_most(), synthetic=synthetic)
    fidelity = fidelity_section(run)
    sections = {"utility": measure_utility(run, config, accelerator), "fidelity": fidelity}
    return sections, report_media(run, fidelity, history)


def measure_utility(run: MAERun, config: UtilityConfig, accelerator: Accelerator) -> dict[str, Any]:
    """Report section ``utility``: trained on real, synthetic, both or a real subset, tested on real, by modality."""
    section: dict[str, Any] = {}
    train, test = run.data.splits["train"], run.data.splits["test"]
    for name, modality in run.model.modalities.items() if has_labels(run.data.label_names) else ():
        own = config.of_modality(modality, run.settings[name])
        sets = four_sets(train[name], run.synthetic[name], own.max_side, own.seeds)
        section[name] = {own.classifier: utility(modality, sets, test[name], own, accelerator)}
    return section


def fidelity_section(run: MAERun) -> dict[str, Any]:
    """Report section ``fidelity``: errors on test data, closeness and variety of the synthetic set, by modality."""
    test, train = run.data.splits["test"], run.data.splits["train"]
    errors = masked_patch_error(run.model, test, run.mask_ratio, run.seed)
    curves = {"cross-modal": variance_curve(run.model, test, RATIOS, run.seed)}
    if run.single:
        curves["single-modal"] = {
            name: variance_curve(model, {name: test[name]}, RATIOS, run.seed)[name]
            for name, model in run.single.items()
        }
    section: dict[str, Any] = {}
    for name, modality in run.model.modalities.items():
        baseline = mean_patch_error(modality, train[name], test[name])
        subjects, synthetic = test[name].subject_numbers(), run.synthetic[name]
        sides = modality, test[name], synthetic, run.settings[name], subjects
        closeness = measure_by_pixels(*sides, run.seed, modality.patch)
        single = None
        if name in run.single:
            single = masked_patch_error(run.single[name], {name: test[name]}, run.mask_ratio, run.seed)[name]
        section[name] = {
            PATCH_ERROR: PatchError(
                errors[name],
                baseline=baseline,
                ratio=errors[name] / baseline,
                mean_sample_baseline=mean_patch_error(modality, train[name], test[name], per_position=True),
                single_modal=single,
            ),
            **closeness,
            "sample_variance": FidelityResult(
                sample_variance(modality, synthetic.values), sample_variance(modality, test[name].values), "higher"
            ),
            "variance_by_mask_ratio": {
                "mask_ratios": list(RATIOS),
                **{variant: curve[name] for variant, curve in curves.items()},
            },
        }
    return section


def report_media(run: MAERun, fidelity: Mapping[str, Any], history: list[dict[str, Any]]) -> ReportMedia:
    """Figures (reconstructions, learning, variance, histograms) and samples, real beside synthetic."""
    names = list(run.model.modalities)
    rows = [
        {"epoch": row["epoch"] + 1, **{name: row.get(f"validation/error/{name}", np.nan) for name in names}}
        for row in history
    ]
    baselines = {name: fidelity[name][PATCH_ERROR].baseline for name in names}
    learning = Figure(
        "Learning",
        "Error on hidden patches of validation data, beside predicting the mean patch.",
        "Curves of validation error against epoch, one panel a modality; the mean-patch error is a dashed line.",
        figures.training_curves(rows, baselines),
    )
    curves = {
        name: {v: c for v, c in fidelity[name]["variance_by_mask_ratio"].items() if v != "mask_ratios"}
        for name in names
    }
    real = {name: fidelity[name]["sample_variance"].real_vs_real for name in names}
    variance = Figure(
        "Variance against masking ratio",
        "How much generated samples differ from each other as more of the input is hidden.",
        "Variance of generated data against masking ratio, cross-modal and single-modal; real data dashed.",
        figures.variance_curve(curves, RATIOS, real),
    )
    shown = compared_media(run.data.splits["test"], {name: run.synthetic[name] for name in names}, run.settings)
    return replace(shown, figures=[_reconstructions(run), learning, variance, *shown.figures])


def _reconstructions(run: MAERun, rows: int = 5) -> Figure:
    test, model = run.data.splits["test"], run.model
    first = next(iter(model.modalities))
    partners = tuples_around({name: test[name] for name in model.modalities}, first, run.seed)
    chosen = np.linspace(0, len(partners[first]) - 1, min(rows, len(partners[first]))).astype(int)
    batch = {name: torch.from_numpy(test[name].values[index[chosen]]) for name, index in partners.items()}
    noise = model.noise(len(chosen), torch.Generator().manual_seed(run.seed))
    device = next(model.parameters()).device
    decoded = model.reconstruct({name: x.to(device) for name, x in batch.items()}, run.mask_ratio, noise)
    cells: list[list[np.ndarray | None]] = [[] for _ in chosen]
    for name, modality in model.modalities.items():
        hidden = hide(modality, batch[name].float(), noise[name], run.mask_ratio)
        for row in range(len(chosen)):
            for column in (batch[name].float(), hidden, decoded[name].cpu()):
                x = column[row]
                is_sound = not kind_of(run.settings[name]).is_picture
                picture = x[0] if is_sound else x.nan_to_num(128.0).round().clamp(0, 255).byte()
                cells[row].append(picture.numpy())
    titles = [f"{name}: {kind}" for name in model.modalities for kind in ("real", "visible", "decoded")]
    return Figure(
        "Reconstruction of unseen samples",
        f"Test samples, what is left of them at mask ratio {run.mask_ratio:g}, and the full decode.",
        "Grid of test samples with their visible patches and their reconstruction.",
        figures.reconstruction_grid(cells, titles),
        shows_real=True,
    )


def shortcomings(fidelity: Mapping[str, Any], history: list[dict[str, Any]]) -> list[str]:
    """In what a run is not good yet, a sentence each with the flag that helps.

    ``history`` is as of :func:`evaluate_mae`."""
    found = []
    if history and any(row.get("validation/memorised") for row in history[-3:]):
        found.append("The network began to remember training records, and earlier weights were kept; --epochs of less.")
    for name, measures in fidelity.items():
        error, fine = measures.get(PATCH_ERROR), measures.get("spectrum_fine")
        if error is not None and error.ratio is not None and error.ratio >= 1:
            found.append(f"{name}: hidden patches are predicted no better than by the mean patch; more --epochs.")
        if fine is not None and fine.value is not None and fine.closeness == "far":
            blurred = fine.value < (fine.real_vs_real or 1.0)
            kind, hint = ("blurred", "more --epochs") if blurred else ("rough", "more --epochs or --steps")
            found.append(
                f"{name}: samples are {kind}, with {fine.value:.2f} of the fine structure of real ones; {hint}."
            )
    return found
