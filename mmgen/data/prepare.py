"""From paths to split and label-matched samples of all modalities, decoded when they are read."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmgen.data.cache import Cache
from mmgen.data.decoded import WORTHLESS, Remark
from mmgen.data.decoding import DecodedFiles, remark_text, unusable
from mmgen.data.images import ImageSettings
from mmgen.data.manifest import SPLITS, Manifest
from mmgen.data.overview import Overview, Source, count_lines, look
from mmgen.data.samples import ENOUGH, Samples, samples_of
from mmgen.data.settings import Settings
from mmgen.data.splits import shared_subjects
from mmgen.errors import UserError, first_few

logger = logging.getLogger(__name__)

# More pictures than these are decoded when training first meets them, so that it can start at once.
DECODE_AHEAD = 100_000


@dataclass(frozen=True)
class Preparation:
    """How data are prepared.

    Attributes:
        label_map: new names of labels; the empty name leaves a label out.
        refuse_unpaired: refuse a label that a modality lacks, instead of leaving it out.
        skip_bad: go on without files that cannot be decoded, are blank, silent or shorter than 0.1 seconds.
        validation_fraction: share of the training subjects held out where there is no "val" split.
        seed: seed of splits.
        cache: where decoded files are kept; None: they are decoded each time they are read.
    """

    label_map: Mapping[str, str] = field(default_factory=dict)
    refuse_unpaired: bool = False
    skip_bad: bool = False
    validation_fraction: float = 0.1
    seed: int = 0
    cache: Cache | None = None


@dataclass(frozen=True)
class SkippedFile:
    """A file that was left out: its modality, its name and why."""

    modality: str
    file: str
    reason: str


@dataclass(frozen=True, eq=False)
class PairedData:
    """Data whose modalities share their labels.

    Attributes:
        manifests: rows of each modality with splits, restricted to common labels and usable files.
        splits: samples, split -> modality -> :class:`Samples`.
        left_out: labels that were left out and the modalities that lack them.
        skipped: files that were left out.
    """

    manifests: dict[str, Manifest]
    splits: dict[str, dict[str, Samples]]
    left_out: dict[str, list[str]]
    skipped: tuple[SkippedFile, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the common labels."""
        return next(iter(self.manifests.values())).label_names

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """:func:`fingerprint` of each modality."""
        return {name: fingerprint(manifest) for name, manifest in self.manifests.items()}

    def training_counts(self) -> dict[str, dict[str, int]]:
        """Training files by modality and label."""
        return {
            name: {label: counts.get("train", 0) for label, counts in manifest.counts().items()}
            for name, manifest in self.manifests.items()
        }

    def at_most(self, count: int = ENOUGH) -> PairedData:
        """The same with ``count`` random samples of each split and modality where there are more, for measuring."""
        splits = {split: {n: s.at_most(count) for n, s in by_name.items()} for split, by_name in self.splits.items()}
        return replace(self, splits=splits)

    def summary(self) -> dict[str, dict[str, Any]]:
        """Counts by modality for a report: files by label and split, samples by split, subjects, labels left out,
        subjects on two sides, files left out."""
        return {
            name: {
                "counts": manifest.counts(),
                "samples": {split: len(samples[name]) for split, samples in self.splits.items()},
                "subjects": None if manifest.subjects is None else len(set(manifest.subjects)),
                "left_out_labels": [label for label, lacking in self.left_out.items() if name not in lacking],
                "shared_subjects": len(shared_subjects(manifest)),
                "skipped_files": sum(skipped.modality == name for skipped in self.skipped),
            }
            for name, manifest in self.manifests.items()
        }

    def write_skipped(self, path: Path) -> None:
        """Write a CSV of the files that were left out (modality, file, reason), if there are any."""
        if not self.skipped:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("modality", "file", "reason"))
            table.writerows((skipped.modality, skipped.file, skipped.reason) for skipped in self.skipped)


def fingerprint(manifest: Manifest) -> str:
    """SHA-256 over file names, sizes, labels and splits: changes when the data do, without reading them all."""
    digest = hashlib.sha256()
    splits = manifest.splits if manifest.splits is not None else [""] * len(manifest)
    for path, label, split in zip(manifest.paths, manifest.labels.tolist(), splits, strict=True):
        size = manifest.files.size(path)
        digest.update(f"{path}\0{size}\0{manifest.label_names[label]}\0{split}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def prepare(sources: Mapping[str, Source], how: Preparation | None = None) -> PairedData:
    """Look, match, split by subject where splits are missing, and decode.

    Raises:
        UserError: all of what a first look finds wrong, or all files that cannot be decoded, in one message.
    """
    how = how or Preparation()
    found = look(
        sources, how.label_map, how.refuse_unpaired, how.validation_fraction, how.seed, check_files=not how.skip_bad
    )
    for name, manifest in found.manifests.items():
        for line in count_lines(name, manifest):
            logger.info("%s", line)
    found.log_warnings()
    found.refuse_problems()
    decoded, skipped = {}, []
    for name in found.manifests:
        decoded[name], left_out = _decode(name, found, sources[name].settings, how)
        skipped.extend(left_out)
    found.refuse_problems()
    splits: dict[str, dict[str, Samples]] = {
        split: {
            name: samples_of(manifest, decoded[name], np.flatnonzero(manifest.splits == split))
            for name, manifest in found.manifests.items()
        }
        for split in SPLITS
    }
    return PairedData(found.manifests, splits, found.left_out, tuple(skipped))


def decode_files(
    name: str, manifest: Manifest, settings: Settings, cache: Cache | None, skip_bad: bool
) -> tuple[Manifest, DecodedFiles, list[SkippedFile]]:
    """The files of one modality, decoded ahead unless they are very many pictures.

    Returns:
        The manifest without the files that are left out (``skip_bad``), its decoded files, and what was left out.

    Raises:
        UserError: naming all files that cannot be decoded, without ``skip_bad``.
    """
    files = DecodedFiles(manifest.files, manifest.paths, settings, cache)
    if isinstance(settings, ImageSettings) and len(manifest) > DECODE_AHEAD and not skip_bad:
        logger.info("%d images of '%s' are decoded when they are first read.", len(manifest), name)
        return manifest, files, []
    reasons = files.fill()
    if reasons and not skip_bad:
        raise UserError(unusable([f"{manifest.name(row)} ({reason})" for row, reason in reasons.items()]))
    worthless = {row: remark_text(Remark(int(files.remarks[row]))) for row in np.flatnonzero(files.remarks & WORTHLESS)}
    if worthless and not skip_bad:
        logger.warning(
            "%d files of '%s' are blank, silent or shorter than 0.1 seconds (%s); --skip-bad leaves them out.",
            len(worthless),
            name,
            first_few((manifest.name(row) for row in worthless), 3),
        )
    if not skip_bad or not (reasons or worthless):
        return manifest, files, []
    reasons = dict(sorted((worthless | reasons).items()))
    keep = np.ones(len(manifest), dtype=bool)
    keep[list(reasons)] = False
    logger.warning(
        "%d of %d files of '%s' are left out: %s.",
        len(reasons),
        len(manifest),
        name,
        first_few((f"{manifest.name(row)} ({reason})" for row, reason in reasons.items()), 3),
    )
    skipped = [SkippedFile(name, manifest.name(row), reason) for row, reason in reasons.items()]
    kept = manifest.select(keep)
    return kept, files.select(keep), skipped


def _decode(
    name: str, found: Overview, settings: Settings, how: Preparation
) -> tuple[DecodedFiles | None, list[SkippedFile]]:
    manifest = found.manifests[name]
    result = found.attempt(lambda: decode_files(name, manifest, settings, how.cache, how.skip_bad))
    if result is None:
        return None, []
    found.manifests[name], files, skipped = result
    if skipped:
        for warning in found.note_missing_labels(name, found.manifests[name]):
            logger.warning("%s", warning)
    return files, skipped
