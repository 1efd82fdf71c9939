"""Section ``fidelity`` of one modality: every measure of the list, each beside real against real."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mmgen.data.labels import align_labels
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings
from mmgen.errors import UserError, first_few
from mmgen.evaluation.fidelity.comparison import Comparison, matched_rows
from mmgen.evaluation.fidelity.features import PIXELS, Extractor, make_extractor
from mmgen.evaluation.fidelity.measures import MEASURES, FidelityMeasure
from mmgen.evaluation.fidelity.result import FidelityResult
from mmgen.models.modality import Modality

logger = logging.getLogger(__name__)


def measure_fidelity(
    modality: Modality,
    real: Samples,
    synthetic: Samples,
    extractor: Extractor,
    settings: Settings | None = None,
    subjects: np.ndarray | None = None,
    seed: int = 0,
    patch: tuple[int, int] | None = None,
) -> dict[str, FidelityResult]:
    """How near synthetic samples are to real ones and how diverse, by name in :data:`MEASURES`.

    ``value`` compares a real half with synthetic samples, or is of the synthetic samples alone (the variances, seams,
    MS-SSIM, the round trip). ``real_vs_real`` compares that half with the other real half, or is of this other half: it
    is what a perfect set would reach. All three have the same number of samples of every label, see
    :func:`~mmgen.evaluation.fidelity.comparison.matched_rows`. A measure that needs more or larger samples has None for
    both, and a note.

    Measures over all samples cannot see that labels are wrong. Those ``within_class`` do: they are means over classes
    of the distance between real and synthetic samples of one class.

    Args:
        real: real samples, best ones that nothing was trained on.
        extractor: feature space of the distances and of precision, recall, density and coverage.
        settings: of the modality; :class:`AudioSettings` add ``waveform_round_trip_db``.
        subjects: (N,) whose real sample each is, see :meth:`.Samples.subject_numbers`. None: files are split.
        seed: of every random choice.
        patch: (h, w) of those that a model put the synthetic samples together from, if known; it adds ``seams``.

    Raises:
        UserError: an empty set, other shapes or label names, a label that one side lacks, real samples of one subject
            (or file) only, or values or features that are NaN or infinite.
    """
    _check(modality, real, synthetic)
    rows = matched_rows(real, synthetic, subjects, seed)
    if not len(rows[0]):
        raise UserError(
            f"The real samples of {modality.name!r} cannot be split in two, as every label is that of a single "
            f"{'file' if subjects is None else 'person'}; compare with more."
        )
    parts = [source.select(chosen) for source, chosen in zip((real, real, synthetic), rows, strict=True)]
    for part, origin in zip(parts, ("real", "real", "synthetic"), strict=True):
        _check_finite(modality, origin, part)
    half, second_half, matched = parts
    features = [extractor(part) for part in parts]
    of_synthetic = Comparison(modality, half, matched, features[0], features[2], settings, patch, seed)
    of_real = replace(of_synthetic, samples=second_half, features=features[1])
    notes = _left_out(real, half, "files" if subjects is None else "people")
    computed: dict[Any, list[Any] | str] = {}
    results = {}
    for measure in MEASURES.values():
        if not measure.applies(of_synthetic):
            continue
        if measure.compute not in computed:
            try:
                computed[measure.compute] = [measure.compute(comparison) for comparison in (of_synthetic, of_real)]
            except UserError as error:
                computed[measure.compute] = str(error)
        results[measure.name] = _result(measure, computed[measure.compute], of_synthetic, notes, extractor.name)
    return results


def measure_by_pixels(
    modality: Modality,
    real: Samples,
    synthetic: Samples,
    settings: Settings | None = None,
    subjects: np.ndarray | None = None,
    seed: int = 0,
    patch: tuple[int, int] | None = None,
) -> dict[str, FidelityResult]:
    """:func:`measure_fidelity` by pixels at the end of a run, where too few real samples are a reason to measure
    nothing and not to fail: {}, with a warning."""
    try:
        sets = real, align_labels(synthetic, real), make_extractor(PIXELS, modality)
        return measure_fidelity(modality, *sets, settings, subjects, seed, patch)
    except UserError as error:
        logger.warning("Closeness of '%s' is not measured: %s", modality.name, error)
        return {}


def _result(
    measure: FidelityMeasure,
    computed: list[Any] | str,
    comparison: Comparison,
    left_out: Mapping[bool, Sequence[str]],
    features: str,
) -> FidelityResult:
    """One measure's part of what was computed, with what a reader must know of it."""
    samples = len(comparison.samples)
    note, values = computed, [None, None]
    if not isinstance(computed, str):
        note = " ".join(filter(None, [measure.note(comparison), *left_out[measure.within_class]]))
        values = [value[measure.name] if isinstance(value, Mapping) else value for value in computed]
    return FidelityResult(
        *values,
        measure.better,
        measure.range,
        samples if measure.most_samples is None else min(samples, measure.most_samples),
        features if measure.of_features else None,
        note or None,
    )


def _left_out(real: Samples, half: Samples, kinds: str) -> dict[bool, list[str]]:
    """Notes on labels that are left out: of all measures (False), and of those within a class (True)."""
    labels, counts = np.unique(half.labels, return_counts=True)
    single = [real.label_names[label] for label in labels[counts == 1]]
    absent = [real.label_names[label] for label in np.setdiff1d(real.labels, labels)]
    lone = [f"Without {first_few(single)}, with one sample on each side."] if single else []
    missing = [f"Without {first_few(absent)}, whose real samples are not of two {kinds}."] if absent else []
    return {False: missing, True: lone + missing}


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
    for origin, samples, opposite in (("real", real, synthetic), ("synthetic", synthetic, real)):
        if absent := [real.label_names[label] for label in np.setdiff1d(opposite.labels, samples.labels)]:
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
