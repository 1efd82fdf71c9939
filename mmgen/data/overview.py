"""The first look at data, before a file is decoded: labels, splits, subjects, and all that would make training fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from mmgen.data.labels import apply_label_map, keep_labels, match_labels
from mmgen.data.manifest import SPLITS, Manifest, label_key
from mmgen.data.reading.layouts import read_layout
from mmgen.data.settings import kind_of
from mmgen.data.sources import Reading, Source
from mmgen.data.splits import shared_subjects, with_validation
from mmgen.errors import EnvironmentProblem, UserError, first_few

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Overview:
    """Findings of a first look at all modalities.

    Attributes:
        manifests: rows of each modality that could be read, by name: matched by label and split, as far as that went.
        left_out: labels that were left out and the modalities that lack them.
        problems: sentences on what makes training fail.
        warnings: sentences on what makes its results worse than they look.
        split: whether it came to the point that every modality has its three splits.
    """

    manifests: dict[str, Manifest] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    split: bool = False

    def attempt(self, step: Callable[[], T]) -> T | None:
        """The result of ``step``; its UserError becomes a problem."""
        try:
            return step()
        except EnvironmentProblem:
            raise
        except UserError as error:
            self.problems.append(str(error))
            return None

    def note_missing_labels(self, name: str, manifest: Manifest) -> list[str]:
        """Add a sentence for every label that a split of a modality lacks, and return those that are new warnings.

        It is a problem, but for a label that only "val" lacks while there is one modality: then a warning. Without any
        "val" no weights could be chosen, so that is a problem then, too.
        """
        counts_of, fresh = manifest.counts(), []
        may_lack_val = len(self.manifests) == 1 and any(counts.get("val") for counts in counts_of.values())
        for label, counts in counts_of.items():
            lacking = [split for split in SPLITS if not counts.get(split)]
            if lacking == ["val"] and may_lack_val:
                fresh.append(
                    f"The val split of '{name}' has no sample of the label '{label}': it is trained and tested on, but "
                    "not used for choosing weights."
                )
            elif lacking:
                self.problems.append(
                    f"The {' and '.join(lacking)} split of '{name}' has no sample of the label '{label}' (it has "
                    f"{sum(counts.values())} in all); add files, move some over, or leave it out: "
                    f"--label-map '{label}='."
                )
        fresh = [warning for warning in fresh if warning not in self.warnings]
        self.warnings.extend(fresh)
        return fresh

    def log_warnings(self) -> None:
        """Log each warning."""
        for warning in self.warnings:
            logger.warning("%s", warning)

    def refuse_problems(self) -> None:
        """Raise UserError with all problems, if there are any."""
        if self.problems:
            raise UserError(" ".join(self.problems))


def look(sources: Mapping[str, Source], reading: Reading | None = None, check_files: bool = True) -> Overview:
    """Read, rename, match and split; nothing is raised for what a user can mend, everything is collected.

    Args:
        sources: where each modality is.
        reading: label names, whether a label that a modality lacks is a problem, and how splits are made.
        check_files: a file that a CSV names and that is gone is a problem; otherwise decoding notices it.
    """
    found, reading = Overview(), reading or Reading()
    _read(found, sources, reading.label_map, check_files)
    if found.problems:
        return found
    _match(found, reading.refuse_unpaired)
    if found.problems:
        return found
    for name, manifest in found.manifests.items():
        split = found.attempt(lambda m=manifest: with_validation(m, reading.validation_fraction, reading.seed))
        if split is not None:
            found.manifests[name] = split
            found.note_missing_labels(name, split)
            if shared := shared_subjects(split):
                found.warnings.append(
                    f"{len(shared)} subjects of '{name}' are in more than one split ({first_few(shared, 3)}): results "
                    "will be too good; split by subject."
                )
    found.split = not found.problems
    if not found.split or len(found.manifests) == 1:
        return found
    # Subjects named alike in two modalities may be one person, who should be on one side in all of them.
    on_side: dict[bool, set[str]] = {False: set(), True: set()}
    crossing: set[str] = set()
    for manifest in found.manifests.values():
        if manifest.subjects is not None:
            in_test = manifest.splits == "test"
            here = {side: set(manifest.subjects[in_test == side].tolist()) for side in (False, True)}
            crossing |= (here[True] & on_side[False]) | (here[False] & on_side[True])
            for side, subjects in here.items():
                on_side[side] |= subjects
    if crossing:
        found.warnings.append(
            f"{len(crossing)} subjects ({first_few(sorted(crossing), 3)}) are test subjects in one modality and "
            "training subjects in another; give both data sets one split column if these are the same people."
        )
    return found


def read_matched(
    sources: Mapping[str, Source], reading: Reading | None = None, foreign: bool = False
) -> dict[str, Manifest]:
    """Manifests of all modalities, renamed and restricted to their common labels; splits stay as they are.

    Warnings are logged; raises UserError with all problems. With ``foreign`` a label that is to be renamed may be
    missing, which is a warning: it may be that of another set.
    """
    found, reading = Overview(), reading or Reading()
    _read(found, sources, reading.label_map, not reading.skip_bad, foreign)
    found.refuse_problems()
    _match(found, refuse_unpaired=False)
    found.log_warnings()
    found.refuse_problems()
    return found.manifests


def count_lines(name: str, manifest: Manifest) -> Iterator[str]:
    """Files of a modality by label and split, as a table in text."""
    counts = manifest.counts()
    columns = [split for split in (*SPLITS, "all") if any(split in by_split for by_split in counts.values())]
    width = max([len("label"), *map(len, counts)])
    subjects = "" if manifest.subjects is None else f" of {len(set(manifest.subjects))} subjects"
    yield f"{name}: {len(manifest)} files{subjects} in {manifest.files}"
    yield f"  {'label':<{width}} " + " ".join(f"{column:>9}" for column in columns)
    for label, by_split in counts.items():
        yield f"  {label:<{width}} " + " ".join(f"{by_split.get(column, 0):>9}" for column in columns)


def _read(
    found: Overview,
    sources: Mapping[str, Source],
    label_map: Mapping[str, str],
    check_files: bool,
    foreign: bool = False,
) -> None:
    for name, source in sources.items():
        manifest = found.attempt(
            lambda s=source: read_layout(
                s.path,
                kind_of(s.settings).name,
                kind_of(s.settings).suffixes,
                s.layouts,
                s.columns,
                s.layout_options,
                check_files,
            )
        )
        if manifest is not None:
            found.manifests[name] = manifest
    if len(found.manifests) == len(sources):
        if foreign:
            present = {label_key(label) for manifest in found.manifests.values() for label in manifest.label_names}
            places = " and ".join(dict.fromkeys(str(source.path) for source in sources.values()))
            unknown = [old for old in label_map if label_key(old) not in present]
            found.warnings.extend(f"There is no label '{old}' to rename in {places}." for old in unknown)
            label_map = {old: new for old, new in label_map.items() if old not in unknown}
        found.manifests = found.attempt(lambda: apply_label_map(found.manifests, label_map)) or found.manifests


def _match(found: Overview, refuse_unpaired: bool) -> None:
    before = found.manifests
    matched = found.attempt(lambda: match_labels(before))
    if matched is None:
        return
    found.manifests, found.left_out = matched
    for label, lacking in found.left_out.items():
        sentence = f"there are no samples of it among {' and '.join(lacking)}"
        if refuse_unpaired:
            found.problems.append(f"Label '{label}': {sentence}; add files, or allow to leave labels out.")
        else:
            count = sum(len(keep_labels(manifest, [label])) for manifest in before.values())
            found.warnings.append(f"Label '{label}' is left out with its {count} files: {sentence}.")
    names = next(iter(found.manifests.values())).label_names
    if len(names) == 1:
        found.warnings.append(f"'{names[0]}' is the only label: what is made cannot be measured by classification.")
