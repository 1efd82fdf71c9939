"""Real and synthetic samples for the page of a report: some of every label, and the pairs that are most alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from mmgen.data.mel import mel_to_waveform
from mmgen.data.samples import Samples, Sliceable
from mmgen.data.settings import Settings, kind_of
from mmgen.evaluation.privacy.results import CopiesResult, DisguisedCopiesResult, DisguisedPair
from mmgen.evaluation.report.figures import histograms, spectra
from mmgen.evaluation.report.figures_privacy import pair_grid
from mmgen.evaluation.report.media import Figure, ReportMedia, Sample

PAIRS, PER_LABEL = 12, 4


def compared_media(
    real: Mapping[str, Samples], synthetic: Mapping[str, Samples], settings: Mapping[str, Settings]
) -> ReportMedia:
    """Distributions of the values and power spectra of each modality, and some samples of every label, real ones first.

    Args:
        real, synthetic: by modality, with the same label names. Synthetic modalities of one data set are shown row by
            row together, real ones are not of the same subjects anyway.
        settings: how each modality relates to files.
    """
    distributions = []
    for name, samples in synthetic.items():
        sides = [values.at_most(500).values[:] for values in (real[name], samples)]
        distributions += [
            Figure(
                f"Intensities: {name}",
                "Distribution of values in real test data and in the synthetic set.",
                f"Histograms of {name} values, real and synthetic, one over the other.",
                histograms(*sides, name),
                section="fidelity",
            ),
            Figure(
                f"Sharpness: {name}",
                "Power at coarse (left) to fine structure (right). Synthetic below real is blur; peaks are seams.",
                f"Power of {name} against spatial frequency, real and synthetic.",
                spectra(*sides, name),
                section="fidelity",
            ),
        ]
    names, shown = next(iter(synthetic.values())).label_names, []
    for source, sets in (("real", real), ("synthetic", synthetic)):
        for label, label_name in enumerate(names):
            members = {name: np.flatnonzero(samples.labels == label) for name, samples in sets.items()}
            count = min(PER_LABEL, *map(len, members.values()))
            for place in range(count):
                sample = Sample(label_name, source)
                for name, how in reversed(list(settings.items())):  # the first of each kind is shown
                    row = members[name][np.linspace(0, len(members[name]) - 1, count).astype(int)[place]]
                    value = sets[name].values[row : row + 1][0]
                    if not kind_of(how).is_picture:
                        log_mel = value[0].astype(np.float32)
                        waveform = mel_to_waveform(torch.from_numpy(log_mel), how).numpy()
                        sample = replace(sample, log_mel=log_mel, waveform=waveform, sample_rate=how.sample_rate)
                    else:
                        sample = replace(sample, image=value)
                shown.append(sample)
    return ReportMedia(distributions, shown)


def pairs_figure(name: str, copies: CopiesResult, synthetic: Sliceable, training: Sliceable) -> Figure | None:
    """The synthetic records of a modality that lie nearest to training records, each beside its nearest; None without
    any.

    Args:
        copies: those of the modality.
        synthetic, training: (N, C, H, W) that its rows count.
    """
    pairs = copies.pairs[:PAIRS]
    if not pairs:
        return None
    copied = [_drawn(_record(synthetic, pair.synthetic)) for pair in pairs]
    originals = [_drawn(_record(training, pair.training)) for pair in pairs]
    words = {"exact": "exact copy", "near": "near copy", "by_ratio": "copy by ratio", "nearest": "distance"}
    return Figure(
        f"Nearest pairs: {name}",
        "Synthetic records (dashed frame), the nearest first, each beside the training record that it is nearest to. "
        "A pair that looks the same is a copy.",
        f"Pairs of a synthetic and a training record of {name}, with their distance.",
        pair_grid(copied, originals, [f"{words[pair.kind]}, {pair.distance:.3g}" for pair in pairs]),
        shows_real=True,
        section="privacy",
    )


def disguised_figure(
    name: str, copies: DisguisedCopiesResult, synthetic: Sliceable, training: Sliceable
) -> Figure | None:
    """The disguised copies of a modality, each beside its training record, laid upon it, and the difference; None
    without any. Arguments as those of :func:`pairs_figure`."""
    shown = []
    for pair in copies.pairs[:PAIRS]:
        copy = _record(synthetic, pair.synthetic)
        moved = laid_on(_record(training, pair.training), pair)
        shown.append((_drawn(copy), _drawn(moved), _drawn(difference(copy, moved))))
    if not shown:
        return None
    copied, originals, differences = zip(*shown, strict=True)
    captions = [f"score {pair.score:.2g}{', inverted' * pair.inverted}" for pair in copies.pairs[:PAIRS]]
    return Figure(
        f"Disguised copies: {name}",
        "Synthetic records (dashed frame), the most alike first, each beside the training record that it seems to be a "
        "copy of, moved onto it and inverted where dark and bright are exchanged, and the difference of both at equal "
        "brightness and contrast (dark: none).",
        f"Synthetic records of {name}, training records laid upon them, and their difference, with their score.",
        pair_grid(copied, originals, captions, 2, differences),
        shows_real=True,
        section="privacy",
    )


def laid_on(record: np.ndarray, pair: DisguisedPair) -> np.ndarray:
    """A training record (C, H, W) as it lies upon the synthetic one of its pair, of the same type."""
    values = torch.from_numpy(record.astype(np.float32))[None]
    grid = functional.affine_grid(torch.tensor(pair.transform).float().reshape(1, 2, 3), list(values.shape), False)
    moved = functional.grid_sample(values, grid, padding_mode="border", align_corners=False)[0].numpy()
    if pair.inverted:
        moved = (255.0 if record.dtype == np.uint8 else moved.max() + moved.min()) - moved
    return _typed(moved, record.dtype)


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """|one - other| of (C, H, W) once the other has the mean and deviation of the first, of the same type."""
    first, second = one.astype(np.float32), other.astype(np.float32)
    alike = (second - second.mean()) / max(float(second.std()), 1e-3) * first.std() + first.mean()
    return _typed(np.abs(first - alike), one.dtype)


def _typed(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return values.round().clip(0, 255).astype(dtype) if dtype == np.uint8 else values.astype(dtype)


def _record(records: Sliceable, row: int) -> np.ndarray:
    return np.asarray(records[row : row + 1])[0]


def _drawn(record: np.ndarray) -> np.ndarray:
    """(C, H, W) of bytes, or a log-mel (bands, frames)."""
    return record if record.dtype == np.uint8 else record[0].astype(np.float32)
