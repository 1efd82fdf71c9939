"""Section ``fidelity`` of one modality: every measure of this package, each beside real against real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings
from mmgen.errors import UserError, first_few
from mmgen.evaluation.fidelity.features import Extractor
from mmgen.evaluation.fidelity.frechet import frechet_distance
from mmgen.evaluation.fidelity.intensities import intensity_kl
from mmgen.evaluation.fidelity.kernel import kernel_distance
from mmgen.evaluation.fidelity.manifold import manifold_measures
from mmgen.evaluation.fidelity.matching import matched_rows
from mmgen.evaluation.fidelity.sound import waveform_round_trip
from mmgen.evaluation.fidelity.structure import ms_ssim_within_class
from mmgen.evaluation.fidelity.variance import patch_variance, sample_variance
from mmgen.models.modality import Modality


class Kind(NamedTuple):
    """How a measure is read: better direction (None: best is the real value), greatest value, feature space or not.

    The least value is 0, but for kernel distances, which are unbiased.
    """

    better: str | None
    most: float | None = None
    of_features: bool = False


MEASURES = {
    "kl_intensity": Kind("lower"),
    "sample_variance": Kind("higher"),
    "patch_variance": Kind(None),
    "ms_ssim": Kind("lower", 1.0),
    "frechet": Kind("lower", None, True),
    "kernel_distance": Kind("lower", None, True),
    "frechet_within_class": Kind("lower", None, True),
    "kernel_distance_within_class": Kind("lower", None, True),
    "precision": Kind("higher", 1.0, True),
    "recall": Kind("higher", 1.0, True),
    "density": Kind("higher", None, True),
    "coverage": Kind("higher", 1.0, True),
    "waveform_round_trip_db": Kind("lower"),
}
"""Measures by name, as reports hold them."""

_SOUNDS = 64  # that are made audible


class _Side(NamedTuple):
    """One side of a comparison: samples, and their features (N, F)."""

    samples: Samples
    features: np.ndarray


# A side -> value of each of the measures that are computed together.
_Measure = Callable[[_Side], Sequence[float]]


def measure_fidelity(
    modality: Modality,
    real: Samples,
    synthetic: Samples,
    extractor: Extractor,
    settings: Settings | None = None,
    people: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """How near synthetic samples are to real ones and how diverse: {name in :data:`MEASURES`: entry}.

    ``value`` compares a real half with synthetic samples, or is of the synthetic samples alone (the variances, MS-SSIM,
    the round trip). ``real_vs_real`` compares that half with the other real half, or is of this other half: it is what
    a perfect set would reach. All three have the same number of samples of every label, see
    :func:`~mmgen.evaluation.fidelity.matching.matched_rows`.

    Measures over all samples cannot see that labels are wrong. Those ``within_class`` do: they are means over classes
    of the distance between real and synthetic samples of one class.

    Args:
        real: real samples, best ones that nothing was trained on.
        extractor: feature space of the distances and of precision, recall, density and coverage.
        settings: of the modality; :class:`AudioSettings` add ``waveform_round_trip_db``.
        people: (N,) whose real sample each is, see :meth:`.Samples.subject_numbers`. None: files are split.
        seed: of every random choice.

    Returns:
        Entries {"value", "real_vs_real", "better": "lower", "higher" or None (best is the real value), "range": [low or
        None, high or None], "samples": of each side, "features": for measures in a feature space, "note": what to know
        about this value, if anything}. A measure that needs more or larger samples has None for both, and a note.

    Raises:
        UserError: an empty set, other shapes or label names, a label that one side lacks, real samples of one person
            (or file) only, or values or features that are NaN or infinite.
    """
    _check(modality, real, synthetic)
    rows = matched_rows(real, synthetic, people, seed)
    if not len(rows[0]):
        raise UserError(
            f"The real samples of {modality.name!r} cannot be split in two, as every label is that of a single "
            f"{'file' if people is None else 'person'}; compare with more."
        )
    parts = [source.select(chosen) for source, chosen in zip((real, real, synthetic), rows, strict=True)]
    for part, origin in zip(parts, ("real", "real", "synthetic"), strict=True):
        _check_finite(modality, origin, part)
    half, other, made = (_Side(part, extractor(part)) for part in parts)

    measures = _measures(modality, half, settings, seed)
    found = {
        name: entry for names, measure in measures.items() for name, entry in _entries(names, measure, made, other)
    }
    for name, entry in found.items():
        entry["samples"] = min(len(made.samples), _SOUNDS if name == "waveform_round_trip_db" else len(made.samples))
        if MEASURES[name].of_features:
            entry["features"] = extractor.name
    _add_notes(found, real, half, "files" if people is None else "people")
    return {name: found[name] for name in MEASURES if name in found}


def class_mean(
    distance: Callable[[np.ndarray, np.ndarray], float], a: np.ndarray, b: np.ndarray, labels: np.ndarray
) -> float:
    """Mean over classes of a distance between features (N, F) and (N, F) of equal labels (N,), classes weighing the
    same; those with a single sample a side are left out. Raises UserError if that leaves none."""
    classes = [label for label, count in zip(*np.unique(labels, return_counts=True), strict=True) if count > 1]
    if not classes:
        raise UserError("Distances within a class need a class with at least 2 samples on either side.")
    return float(np.mean([distance(a[labels == label], b[labels == label]) for label in classes]))


def _measures(modality: Modality, half: _Side, settings: Settings | None, seed: int) -> dict[tuple[str, ...], _Measure]:
    """Measures by the names of what they give; where two sets are compared, the first is the real ``half``."""
    kernel, labels = partial(kernel_distance, seed=seed), half.samples.labels
    measures: dict[tuple[str, ...], _Measure] = {
        ("kl_intensity",): lambda side: [intensity_kl(half.samples.values, side.samples.values)],
        ("sample_variance",): lambda side: [sample_variance(modality, side.samples.values)],
        ("patch_variance",): lambda side: [patch_variance(modality, side.samples.values)],
        ("ms_ssim",): lambda side: [ms_ssim_within_class(modality, side.samples, seed=seed)],
        ("frechet",): lambda side: [frechet_distance(half.features, side.features)],
        ("kernel_distance",): lambda side: [kernel(half.features, side.features)],
        ("frechet_within_class",): lambda side: [class_mean(frechet_distance, half.features, side.features, labels)],
        ("kernel_distance_within_class",): lambda side: [class_mean(kernel, half.features, side.features, labels)],
        ("precision", "recall", "density", "coverage"): lambda side: [
            *manifold_measures(half.features, side.features).values()
        ],
    }
    if isinstance(settings, AudioSettings):
        measures["waveform_round_trip_db",] = lambda side: [
            waveform_round_trip(side.samples.at_most(_SOUNDS, seed).values[:], settings)
        ]
    return measures


def _entries(names: tuple[str, ...], measure: _Measure, made: _Side, other: _Side) -> list[tuple[str, dict[str, Any]]]:
    """(name, entry) of measures that are computed together; what they need and lack becomes a note."""
    try:
        values, references, notes = measure(made), measure(other), {}
    except UserError as error:
        values = references = [None] * len(names)
        notes = {"note": str(error)}
    return [
        (
            name,
            {
                "value": value,
                "real_vs_real": reference,
                "better": MEASURES[name].better,
                # An unbiased distance may come out just below 0.
                "range": [None if name.startswith("kernel") else 0.0, MEASURES[name].most],
                **notes,
            },
        )
        for name, value, reference in zip(names, values, references, strict=True)
    ]


def _add_notes(entries: dict[str, dict[str, Any]], real: Samples, half: _Side, kinds: str) -> None:
    """What a reader must know, in place: labels left out, biased distances, unbiased ones below 0."""
    labels, counts = np.unique(half.samples.labels, return_counts=True)
    smallest = min((count for count in counts.tolist() if count > 1), default=0)
    dimensions = half.features.shape[1]
    notes: dict[str, list[str]] = {name: [] for name in entries}
    for name, count in (("frechet", len(half.samples)), ("frechet_within_class", smallest)):
        if count < dimensions:
            unbiased = name.replace("frechet", "kernel_distance")
            notes[name].append(f"Biased: {count} samples in {dimensions} dimensions; prefer {unbiased}.")
    for name in ("kernel_distance", "kernel_distance_within_class"):
        notes[name].append("Unbiased: about 0 for equal distributions, at times just below.")
    if single := [real.label_names[label] for label in labels[counts == 1]]:
        for name in ("ms_ssim", "frechet_within_class", "kernel_distance_within_class"):
            notes[name].append(f"Without {first_few(single)}, with one sample on each side.")
    if absent := [real.label_names[label] for label in np.setdiff1d(real.labels, labels)]:
        for about in notes.values():
            about.append(f"Without {first_few(absent)}, whose real samples are not of two {kinds}.")
    for name, about in notes.items():
        if about:
            # A measure that could not be had says why, and no more.
            entries[name].setdefault("note", " ".join(about))


def _check(modality: Modality, real: Samples, synthetic: Samples) -> None:
    for origin, samples in (("real", real), ("synthetic", synthetic)):
        if not len(samples):
            raise UserError(
                f"There are no {origin} samples of {modality.name!r}; fidelity needs both real and synthetic."
            )
        if tuple(samples.values.shape[1:]) != modality.shape:
            raise UserError(
                f"The {origin} samples of {modality.name!r} have shape {tuple(samples.values.shape[1:])}, "
                f"not {modality.shape}; prepare both sets with the same settings."
            )
    if real.label_names != synthetic.label_names:
        raise UserError(
            f"Real labels {real.label_names} and synthetic labels {synthetic.label_names} differ; rename them."
        )
    for origin, samples, others in (("real", real, synthetic), ("synthetic", synthetic, real)):
        if absent := [real.label_names[label] for label in np.setdiff1d(others.labels, samples.labels)]:
            raise UserError(
                f"There are no {origin} samples of {first_few(absent)} in {modality.name!r}; add some, or leave the "
                "label out of both sets."
            )


def _check_finite(modality: Modality, origin: str, samples: Samples, chunk: int = 256) -> None:
    if np.issubdtype(samples.values.dtype, np.integer):
        return
    bad = 0
    for start in range(0, len(samples), chunk):
        bad += int((~np.isfinite(samples.values[start : start + chunk]).all(axis=(1, 2, 3))).sum())
    if bad:
        raise UserError(
            f"{bad} of {len(samples)} {origin} samples of {modality.name!r} hold values that are NaN or infinite; "
            "remove or mend them."
        )
