"""Real and synthetic samples for the page of a report: some of every label, and the pairs that are most alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.mel import mel_to_waveform
from mmgen.data.samples import Samples, Sliceable
from mmgen.data.settings import Settings
from mmgen.evaluation.privacy.results import CopiesResult
from mmgen.evaluation.report.figures import histograms
from mmgen.evaluation.report.figures_privacy import pair_grid
from mmgen.evaluation.report.media import Figure, ReportMedia, Sample

PAIRS = 12


def compared_media(
    real: Mapping[str, Samples], synthetic: Mapping[str, Samples], settings: Mapping[str, Settings]
) -> ReportMedia:
    """Distributions of the values of each modality, and samples of every label; see :func:`shown_samples`."""
    return ReportMedia(
        [value_figure(name, real[name], samples) for name, samples in synthetic.items()],
        shown_samples(real, synthetic, settings),
    )


def shown_samples(
    real: Mapping[str, Samples],
    synthetic: Mapping[str, Samples],
    settings: Mapping[str, Settings],
    per_label: int = 4,
) -> list[Sample]:
    """Some samples of every label, real ones first.

    Args:
        real, synthetic: by modality, with the same label names. Synthetic modalities of one data set are shown row by
            row together, real ones are not of the same subjects anyway.
        settings: how each modality relates to files.
    """
    names, shown = next(iter(synthetic.values())).label_names, []
    for source, sets in (("real", real), ("synthetic", synthetic)):
        for label, label_name in enumerate(names):
            members = {name: np.flatnonzero(samples.labels == label) for name, samples in sets.items()}
            count = min(per_label, *map(len, members.values()))
            for place in range(count):
                rows = {name: of[np.linspace(0, len(of) - 1, count).astype(int)[place]] for name, of in members.items()}
                values = {name: sets[name].values[row : row + 1][0] for name, row in rows.items()}
                shown.append(_sample(source, label_name, values, settings))
    return shown


def _sample(source: str, label: str, values: Mapping[str, np.ndarray], settings: Mapping[str, Settings]) -> Sample:
    sample = Sample(label, source)
    for name, of_modality in reversed(list(settings.items())):  # the first of each kind is shown
        if isinstance(of_modality, AudioSettings):
            log_mel = values[name][0].astype(np.float32)
            waveform = mel_to_waveform(torch.from_numpy(log_mel), of_modality).numpy()
            sample = replace(sample, log_mel=log_mel, waveform=waveform, sample_rate=of_modality.sample_rate)
        else:
            sample = replace(sample, image=values[name])
    return sample


def value_figure(name: str, real: Samples, synthetic: Samples) -> Figure:
    """How the values of a modality are distributed, in some real and some synthetic samples."""
    return Figure(
        f"Intensities: {name}",
        "Distribution of values in real test data and in the synthetic set.",
        f"Histograms of {name} values, real and synthetic, one over the other.",
        histograms(*(samples.at_most(500).values[:] for samples in (real, synthetic)), name),
        section="fidelity",
    )


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
    copied = [_shown(np.asarray(synthetic[pair.synthetic : pair.synthetic + 1])[0]) for pair in pairs]
    originals = [_shown(np.asarray(training[pair.training : pair.training + 1])[0]) for pair in pairs]
    words = {"exact": "exact copy", "near": "near copy", "nearest": "distance"}
    return Figure(
        f"Nearest pairs: {name}",
        "Synthetic records (dashed frame), the nearest first, each beside the training record that it is nearest to. "
        "A pair that looks the same is a copy.",
        f"Pairs of a synthetic and a training record of {name}, with their distance.",
        pair_grid(copied, originals, [f"{words[pair.kind]}, {pair.distance:.3g}" for pair in pairs]),
        shows_real=True,
        section="privacy",
    )


def _shown(record: np.ndarray) -> np.ndarray:
    """A picture (C, H, W) of bytes, or a log-mel (bands, frames)."""
    return record if record.dtype == np.uint8 else record[0].astype(np.float32)
