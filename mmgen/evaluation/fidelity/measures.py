"""The measures of fidelity: one entry each, which says all that is to be known of a measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from mmgen.data.settings import kind_of
from mmgen.evaluation.fidelity.comparison import Comparison, class_mean
from mmgen.evaluation.fidelity.detail import detail_kurtosis
from mmgen.evaluation.fidelity.frechet import bias_note, frechet_distance
from mmgen.evaluation.fidelity.intensities import intensity_kl
from mmgen.evaluation.fidelity.kernel import UNBIASED, kernel_distance
from mmgen.evaluation.fidelity.manifold import manifold_measures
from mmgen.evaluation.fidelity.result import Better
from mmgen.evaluation.fidelity.sound import waveform_round_trip
from mmgen.evaluation.fidelity.spectrum import BANDS, SHARPNESS, seams, sharpness
from mmgen.evaluation.fidelity.structure import ms_ssim_within_class
from mmgen.evaluation.fidelity.variance import patch_variance, sample_variance


@dataclass(frozen=True)
class FidelityMeasure:
    """How synthetic samples are compared with real ones, and how the result is shown.

    Attributes:
        name: key in reports.
        title: on the page and in tables.
        better: direction; None: best is the real value.
        compute: the value, or values by name where several measures are computed together. UserError of what it needs
            and lacks becomes a note.
        range: least and greatest value; None: open.
        of_features: whether it is one in a feature space.
        within_class: whether it leaves out classes with a single sample.
        applies: whether it can be had here at all, such as of sounds alone; otherwise there is no result.
        most_samples: it looks at so many at most; None: at all.
        note: what to know about a value, "" for nothing.
        sentence: of the summary, without the modality, with ``{value}`` and ``{real_vs_real}``; such a measure is not
            listed among those that are near or far. Measures with the same one share it, with all their values.
    """

    name: str
    title: str
    better: Better | None
    compute: Callable[[Comparison], float | Mapping[str, float]]
    range: tuple[float | None, float | None] = (0.0, None)
    of_features: bool = False
    within_class: bool = False
    applies: Callable[[Comparison], bool] = lambda _: True
    most_samples: int | None = None
    note: Callable[[Comparison], str] = lambda _: ""
    sentence: str = ""


_SOUNDS = 64  # that are made audible
_DISTANCE = (None, None)  # unbiased ones may come out just below 0


def _manifold(c: Comparison) -> Mapping[str, float]:
    return manifold_measures(c.real_features, c.features)


def _sharpness(c: Comparison) -> Mapping[str, float]:
    return sharpness(c.modality, c.real.values, c.samples.values)


_in_space = partial(FidelityMeasure, of_features=True)
_ALL = (
    FidelityMeasure(
        "kl_intensity",
        "KL divergence of intensities",
        "lower",
        lambda c: intensity_kl(c.real.values, c.samples.values),
        sentence="the intensities of synthetic and real data are {value} apart (KL divergence, lower is better); two "
        "halves of the real data are {real_vs_real} apart",
    ),
    FidelityMeasure(
        "sample_variance",
        "Variance over samples (diversity)",
        "higher",
        lambda c: sample_variance(c.modality, c.samples.values),
    ),
    FidelityMeasure(
        "patch_variance",
        "Variance within patches",
        None,
        lambda c: patch_variance(c.modality, c.samples.values),
    ),
    *(
        FidelityMeasure(
            name,
            f"Sharpness, {low:g} to {high:g} cycles a pixel",
            None,
            _sharpness,
            sentence="sharpness: from coarse to fine structure (0.02 to 0.1, 0.2, 0.3 and 0.5 cycles a pixel) "
            "synthetic data have {value} times the energy of real data, another half of the real data {real_vs_real} "
            "times (less is blur; more is noise, contrast or seams)",
        )
        for name, (low, high) in zip(SHARPNESS, pairwise(BANDS), strict=True)
    ),
    FidelityMeasure(
        "detail_kurtosis",
        "Concentration of fine detail (kurtosis; 3: noise)",
        None,
        lambda c: detail_kurtosis(c.samples.values),
    ),
    FidelityMeasure(
        "seams",
        "Seams between patches",
        None,
        lambda c: seams(c.samples.values, c.patch, c.modality.std),
        applies=lambda c: c.patch is not None,
    ),
    FidelityMeasure(
        "ms_ssim",
        "Similarity within classes (MS-SSIM)",
        "lower",
        lambda c: ms_ssim_within_class(c.modality, c.samples, seed=c.seed),
        (0.0, 1.0),
        within_class=True,
    ),
    _in_space(
        "frechet",
        "Fréchet distance",
        "lower",
        lambda c: frechet_distance(c.real_features, c.features),
        note=lambda c: bias_note(len(c.samples), c.features.shape[1], "kernel_distance"),
    ),
    _in_space(
        "kernel_distance",
        "Kernel distance (KID)",
        "lower",
        lambda c: kernel_distance(c.real_features, c.features, seed=c.seed),
        _DISTANCE,
        note=lambda _: UNBIASED,
    ),
    _in_space(
        "frechet_within_class",
        "Fréchet distance within classes",
        "lower",
        lambda c: class_mean(frechet_distance, c.real_features, c.features, c.real.labels),
        within_class=True,
        note=lambda c: bias_note(c.smallest_class, c.features.shape[1], "kernel_distance_within_class"),
    ),
    _in_space(
        "kernel_distance_within_class",
        "Kernel distance (KID) within classes",
        "lower",
        lambda c: class_mean(partial(kernel_distance, seed=c.seed), c.real_features, c.features, c.real.labels),
        _DISTANCE,
        within_class=True,
        note=lambda _: UNBIASED,
    ),
    _in_space("precision", "Precision", "higher", _manifold, (0.0, 1.0)),
    _in_space("recall", "Recall", "higher", _manifold, (0.0, 1.0)),
    _in_space("density", "Density", "higher", _manifold),
    _in_space("coverage", "Coverage", "higher", _manifold, (0.0, 1.0)),
    FidelityMeasure(
        "waveform_round_trip_db",
        "Round trip through sound (dB)",
        "lower",
        lambda c: waveform_round_trip(c.samples.at_most(_SOUNDS, c.seed).values[:], c.settings),
        applies=lambda c: c.settings is not None and not kind_of(c.settings).is_picture,
        most_samples=_SOUNDS,
    ),
)
MEASURES = {measure.name: measure for measure in _ALL}
"""Measures by name, in the order of reports."""
