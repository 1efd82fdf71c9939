"""From paths to decoded, split and label-matched samples of all modalities."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmgen.data.audio import AUDIO_SUFFIXES
from mmgen.data.images import IMAGE_SUFFIXES, ImageSettings
from mmgen.data.labels import match_labels
from mmgen.data.manifest import SPLITS, Columns, Manifest, read_manifest
from mmgen.data.samples import Samples, Settings, load_samples
from mmgen.data.splits import shared_subjects, with_validation
from mmgen.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """One modality on disk: a folder or CSV, and how its files are decoded."""

    path: Path
    settings: Settings
    columns: Columns = field(default_factory=Columns)


@dataclass(frozen=True, eq=False)
class PairedData:
    """Decoded data whose modalities share their labels.

    Attributes:
        manifests: rows of each modality with splits, restricted to common labels.
        splits: decoded samples, split -> modality -> :class:`Samples`.
        left_out: labels that were left out and the modalities that lack them.
    """

    manifests: dict[str, Manifest]
    splits: dict[str, dict[str, Samples]]
    left_out: dict[str, list[str]]

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the common labels."""
        return next(iter(self.manifests.values())).label_names

    def fingerprints(self) -> dict[str, str]:
        """:func:`fingerprint` of each modality."""
        return {name: fingerprint(manifest) for name, manifest in self.manifests.items()}

    def training_counts(self) -> dict[str, dict[str, int]]:
        """Training files by modality and label."""
        return {
            name: {label: counts.get("train", 0) for label, counts in manifest.counts().items()}
            for name, manifest in self.manifests.items()
        }

    def summary(self) -> dict[str, dict[str, Any]]:
        """Counts by modality for a report: files by label and split, samples by split, subjects, labels left out,
        subjects on two sides."""
        return {
            name: {
                "counts": manifest.counts(),
                "samples": {split: len(samples[name]) for split, samples in self.splits.items()},
                "subjects": None if manifest.subjects is None else len(set(manifest.subjects)),
                "left_out_labels": [label for label, lacking in self.left_out.items() if name not in lacking],
                "shared_subjects": len(shared_subjects(manifest)),
            }
            for name, manifest in self.manifests.items()
        }


def fingerprint(manifest: Manifest) -> str:
    """SHA-256 over file names, sizes, labels and splits: changes when the data do, without reading them all."""
    digest = hashlib.sha256()
    splits = manifest.splits if manifest.splits is not None else [""] * len(manifest)
    for path, label, split in zip(manifest.paths, manifest.labels.tolist(), splits, strict=True):
        size = manifest.files.size(path)
        digest.update(f"{path}\0{size}\0{manifest.label_names[label]}\0{split}\n".encode())
    return digest.hexdigest()


def read_matched(sources: Mapping[str, Source]) -> tuple[dict[str, Manifest], dict[str, list[str]]]:
    """Manifests of all modalities restricted to their common labels, and the labels left out (a warning names them)."""
    manifests = {
        name: read_manifest(
            source.path,
            IMAGE_SUFFIXES if isinstance(source.settings, ImageSettings) else AUDIO_SUFFIXES,
            source.columns,
        )
        for name, source in sources.items()
    }
    matched, left_out = match_labels(manifests)
    for label, lacking in left_out.items():
        logger.warning("Label '%s' is left out: there are no samples of it among %s.", label, " and ".join(lacking))
    return matched, left_out


def prepare(
    sources: Mapping[str, Source], validation_fraction: float = 0.1, seed: int = 0, refuse_unpaired: bool = False
) -> PairedData:
    """Read, match, split by subject where splits are missing, and decode.

    Args:
        validation_fraction: share of the training subjects held out where there is no "val" split.
        seed: seed of splits.
        refuse_unpaired: raise where a modality lacks a label, instead of leaving the label out.

    Raises:
        UserError: unreadable files or manifests, no common label, or a label without samples in some split.
    """
    manifests, left_out = read_matched(sources)
    if left_out and refuse_unpaired:
        lacking = ", ".join(f"'{label}' ({' and '.join(names)})" for label, names in left_out.items())
        raise UserError(f"Labels without samples of a modality: {lacking}; add files, or allow to leave labels out.")
    manifests = {name: with_validation(manifest, validation_fraction, seed) for name, manifest in manifests.items()}
    for name, manifest in manifests.items():
        _check_splits(name, manifest)
        shared = shared_subjects(manifest)
        if shared:
            logger.warning(
                "%d subjects of '%s' are in more than one split, e.g. %s: results will be too good.",
                len(shared),
                name,
                shared[0],
            )
    _warn_of_crossing_subjects(manifests)
    splits: dict[str, dict[str, Samples]] = {split: {} for split in SPLITS}
    for name, manifest in manifests.items():
        for split in SPLITS:
            splits[split][name] = load_samples(manifest.of_split(split), sources[name].settings)
    return PairedData(manifests, splits, left_out)


def _warn_of_crossing_subjects(manifests: Mapping[str, Manifest]) -> None:
    """Subjects named alike in two modalities may be one person, who should be on one side in all of them."""
    sides: dict[str, dict[str, str]] = {}
    for name, manifest in manifests.items():
        if manifest.subjects is not None:
            for subject, split in zip(manifest.subjects, manifest.splits, strict=True):
                sides.setdefault(str(subject), {})[name] = "test" if split == "test" else "train"
    crossing = [subject for subject, by_name in sides.items() if len(set(by_name.values())) > 1]
    if crossing:
        logger.warning(
            "%d subjects, e.g. %s, are test subjects in one modality and training subjects in another; give both data "
            "sets one split column if these are the same people.",
            len(crossing),
            crossing[0],
        )


def _check_splits(name: str, manifest: Manifest) -> None:
    for split in SPLITS:
        present = np.unique(manifest.of_split(split).labels)
        missing = [label for index, label in enumerate(manifest.label_names) if index not in present]
        if missing:
            raise UserError(
                f"The {split} split of '{name}' has no sample of the label {missing[0]!r}; "
                "add files, move some over, or leave the label out."
            )
