"""The one way from paths to samples: recipes, ``generate``, ``condense``, ``evaluate`` and ``audit`` read through here.

:func:`prepare` makes the three splits that a training needs; :func:`load` reads one side of data as they are split.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmgen.data.cells import to_cell
from mmgen.data.decoded import WORTHLESS, Remark
from mmgen.data.decoding import DecodedFiles, remark_text, unusable
from mmgen.data.images import ImageSettings
from mmgen.data.labels import keep_labels
from mmgen.data.manifest import SPLITS, Manifest, label_key
from mmgen.data.overview import count_lines, look, read_matched
from mmgen.data.samples import ENOUGH, Samples, samples_of, set_fingerprint
from mmgen.data.settings import Settings
from mmgen.data.sources import Reading, Source
from mmgen.data.splits import shared_subjects, with_validation
from mmgen.data.writing.atomic import new_file
from mmgen.errors import UserError, first_few
from mmgen.names import IMAGE

logger = logging.getLogger(__name__)

# More files of one sample each are decoded when training first meets them, so that it can start at once.
DECODE_AHEAD = 100_000

SplitRule = Literal["given", "trained", "cut"]
"""Meaning of a split: "given" by the data alone; as it was "trained" on, that is without what a recipe holds out where
there is no "val" split; or, where nothing is split, what a recipe would "cut" the data into."""


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
        files: those of the manifests' rows, by modality.
    """

    manifests: dict[str, Manifest]
    splits: dict[str, dict[str, Samples]]
    left_out: dict[str, list[str]]
    skipped: tuple[SkippedFile, ...] = ()
    files: Mapping[str, DecodedFiles] = field(default_factory=dict)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the common labels."""
        return next(iter(self.manifests.values())).label_names

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """:func:`fingerprint` of each modality."""
        return {name: fingerprint(manifest) for name, manifest in self.manifests.items()}

    @cached_property
    def members(self) -> dict[str, str]:
        """:func:`mmgen.data.samples.set_fingerprint` of the training samples of each modality."""
        return {name: set_fingerprint(samples.values) for name, samples in self.splits["train"].items()}

    def largest_class(self) -> int:
        """Training samples of the largest label of any modality."""
        return max(int(np.bincount(samples.labels).max()) for samples in self.splits["train"].values())

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
        with new_file(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
            table = csv.writer(text, lineterminator="\n")
            table.writerow(("modality", "file", "reason"))
            table.writerows(map(to_cell, (skipped.modality, skipped.file, skipped.reason)) for skipped in self.skipped)
            text.detach()


def fingerprint(manifest: Manifest) -> str:
    """SHA-256 over file names, sizes, labels and splits: changes when the data do, without reading them all."""
    digest = hashlib.sha256()
    splits = manifest.splits if manifest.splits is not None else [""] * len(manifest)
    for path, label, split in zip(manifest.paths, manifest.labels.tolist(), splits, strict=True):
        size = manifest.files.size(path)
        digest.update(f"{path}\0{size}\0{manifest.label_names[label]}\0{split}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def prepare(sources: Mapping[str, Source], reading: Reading | None = None) -> PairedData:
    """Look, match, split by subject where splits are missing, and decode.

    Raises:
        UserError: all of what a first look finds wrong, or all files that cannot be decoded, in one message.
    """
    reading = reading or Reading()
    found = look(sources, reading, check_files=not reading.skip_bad)
    for name, manifest in found.manifests.items():
        for line in count_lines(name, manifest):
            logger.info("%s", line)
    found.log_warnings()
    found.refuse_problems()
    decoded: dict[str, DecodedFiles] = {}
    skipped: list[SkippedFile] = []
    for name, manifest in found.manifests.items():
        result = found.attempt(lambda n=name, m=manifest: _decode(n, m, sources[n].settings, reading))
        if result is None:
            continue
        found.manifests[name], decoded[name], left_out = result
        skipped.extend(left_out)
        for warning in found.note_missing_labels(name, found.manifests[name]) if left_out else ():
            logger.warning("%s", warning)
    found.refuse_problems()
    splits = {
        split: {
            name: samples_of(manifest, decoded[name], np.flatnonzero(manifest.splits == split))
            for name, manifest in found.manifests.items()
        }
        for split in SPLITS
    }
    return PairedData(found.manifests, splits, found.left_out, tuple(skipped), decoded)


def load(
    sources: Mapping[str, Source],
    reading: Reading | None = None,
    split: str | None = None,
    labels: Sequence[str] = (),
    rule: SplitRule = "given",
    foreign: bool = False,
) -> dict[str, Samples]:
    """Samples of all modalities, restricted to their common labels.

    Args:
        reading: label names, bad files, cache, and the seed of what a recipe holds out.
        split: the one to read, where there are splits; None: everything.
        labels: those that are wanted; others are left out, and missing ones are logged.
        rule: what the split is, see :data:`SplitRule`.
        foreign: a label that is to be renamed may be missing: it may be that of another set.

    Raises:
        UserError: data that cannot be read, lack the split, or have none of the labels.
    """
    reading = reading or Reading()
    manifests = read_matched(sources, reading, foreign)
    if labels:
        present = next(iter(manifests.values())).label_names
        here, wanted = set(map(label_key, present)), set(map(label_key, labels))
        if unknown := [name for name in present if label_key(name) not in wanted]:
            logger.warning("Left out, because the model was not trained on them: %s.", first_few(unknown))
        if absent := [name for name in labels if label_key(name) not in here]:
            logger.warning("Not made, because the data have no samples of them: %s.", first_few(absent))
        if not (known := [name for name in labels if label_key(name) in here]):
            raise UserError(f"The model was trained on the labels {labels}; the data have {list(present)}.")
    samples = {}
    for name, manifest in manifests.items():
        chosen = manifest if split is None else _part(manifest, split, rule, reading)
        if labels:
            chosen = keep_labels(chosen, known)
        usable, files, _ = _decode(name, chosen, sources[name].settings, reading)
        samples[name] = samples_of(usable, files)
    return samples


def _part(manifest: Manifest, split: str, rule: SplitRule, reading: Reading) -> Manifest:
    """The rows of a split."""
    if manifest.splits is None and rule != "cut":
        if rule == "given":
            logger.warning("%s has no splits: every file is used, also any that a training held out.", manifest.files)
        return manifest
    # A test split alone is enough for a side that nothing was trained on.
    if rule != "given" and (split != "test" or manifest.splits is None):
        manifest = with_validation(manifest, reading.validation_fraction, reading.seed)
    return manifest.of_split(split)


def _decode(
    name: str, manifest: Manifest, settings: Settings, reading: Reading
) -> tuple[Manifest, DecodedFiles, list[SkippedFile]]:
    """The files of one modality, decoded ahead unless very many: usable rows, their files, what is left out."""
    files = DecodedFiles(manifest.files, manifest.paths, settings, reading.cache)
    if files.kind.most_samples(settings) == 1 and len(manifest) > DECODE_AHEAD and not reading.skip_bad:
        logger.info("%d images of '%s' are decoded when they are first read.", len(manifest), name)
        return manifest, files, []
    reasons = files.fill()
    if reasons and not reading.skip_bad:
        raise UserError(unusable([f"{manifest.name(row)} ({reason})" for row, reason in reasons.items()]))
    worthless = {row: remark_text(Remark(int(files.remarks[row]))) for row in np.flatnonzero(files.remarks & WORTHLESS)}
    if worthless and not reading.skip_bad:
        logger.warning(
            "%d files of '%s' are blank, silent or shorter than 0.1 seconds (%s); --skip-bad leaves them out.",
            len(worthless),
            name,
            first_few((manifest.name(row) for row in worthless), 3),
        )
    if not reading.skip_bad or not (reasons or worthless):
        return manifest, files, []
    reasons = dict(sorted((worthless | reasons).items()))
    keep = np.ones(len(manifest), dtype=bool)
    keep[list(reasons)] = False
    skipped = [SkippedFile(name, manifest.name(row), reason) for row, reason in reasons.items()]
    logger.warning(
        "%d of %d files of '%s' are left out: %s.",
        len(reasons),
        len(manifest),
        name,
        first_few((f"{file.file} ({file.reason})" for file in skipped), 3),
    )
    return manifest.select(keep), files.select(keep), skipped


def are_grey(source: Source) -> bool:
    """Whether none of some images, all over the set, has a colour; those that cannot be read are passed over."""
    source = replace(source, settings=ImageSettings(32, 3))
    manifest = read_matched({IMAGE: source}, Reading(skip_bad=True))[IMAGE]
    rows = np.unique(np.linspace(0, len(manifest) - 1, 32).round().astype(int))
    files = DecodedFiles(manifest.files, [manifest.paths[row] for row in rows], source.settings, None)
    unreadable = files.fill(progress=False)
    readable = np.array([number for number in range(len(rows)) if number not in unreadable], dtype=np.int64)
    if not len(readable):
        return False
    values = files.read(readable, np.zeros_like(readable))
    return bool((values == values[:, :1]).all())
