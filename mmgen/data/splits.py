"""Splits by subject: nobody is on two sides, every class is on every side, and the same seed gives the same split."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from mmgen.data.manifest import SPLITS, Manifest
from mmgen.errors import UserError, first_few

logger = logging.getLogger(__name__)

TEST_FRACTION = 0.2


def split_by_subject(manifest: Manifest, fractions: Mapping[str, float], seed: int) -> Manifest:
    """Assign every subject to one split, stratified by label.

    Each label's subjects are shared out in proportion to ``fractions``. A label with at least as many subjects as
    there are splits reaches every split; this is certain where a subject has one label, and sought where subjects have
    several. A label with fewer subjects goes to the larger splits (logged). Where subjects are unknown each file is its
    own subject. The order of the rows does not matter.

    Args:
        manifest: What to split; its own splits are ignored.
        fractions: Share of the subjects by split name ("train", "val", "test"), each above 0, summing to 1.
        seed: Seed of the assignment.

    Raises:
        UserError: if the fractions are not of this kind.
    """
    unknown = sorted(set(fractions) - set(SPLITS))
    if unknown or not fractions:
        raise UserError(f"Splits are named {', '.join(SPLITS)}, not {first_few(unknown) or 'nothing'}.")
    if min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        listed = ", ".join(f"{name} {fraction:g}" for name, fraction in fractions.items())
        raise UserError(f"The fractions of the splits must each be above 0 and sum to 1, not {listed}.")
    names = sorted(fractions, key=lambda name: -fractions[name])  # stable: equal fractions keep their order
    shares = np.array([fractions[name] for name in names])
    subject_of_row, subjects = _sorted_subjects(manifest)
    n_subjects = len(subjects)
    # Distinct (label, subject) pairs, so that a subject with many files weighs as one.
    pairs = np.sort(manifest.labels * n_subjects + subject_of_row)
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # much quicker than np.unique
    pair_label, pair_subject = np.divmod(pairs, max(n_subjects, 1))
    order = np.random.default_rng(seed).permutation(n_subjects)
    subjects_of_label = {}
    for label in np.unique(pair_label):
        members = pair_subject[pair_label == label]
        subjects_of_label[int(label)] = members[np.argsort(order[members])]
    # Rare labels choose first: a subject with several labels then goes where its rarest label needs it.
    by_rarity = sorted(subjects_of_label, key=lambda label: (len(subjects_of_label[label]), label))

    side = np.full(n_subjects, -1)
    for members in (subjects_of_label[label] for label in by_rarity):  # reach every split, largest first
        missing = [split for split in range(len(names)) if split not in side[members]]
        for subject, split in zip(members[side[members] < 0], missing, strict=False):
            side[subject] = split
    for label in by_rarity:
        _fill(side, subjects_of_label[label], shares)

    short = [manifest.label_names[label] for label in by_rarity if len(subjects_of_label[label]) < len(names)]
    if short:
        logger.warning(
            "Too few subjects to have these labels in each of %s: %s.", "/".join(fractions), first_few(short)
        )
    return manifest.with_splits(np.array(names, dtype=object)[side[subject_of_row]])


def with_validation(manifest: Manifest, fraction: float, seed: int) -> Manifest:
    """Make sure that there is a "val" split.

    A manifest that has one is returned as it is. Otherwise ``fraction`` of the training subjects become "val" and
    test stays untouched; a manifest without any splits is split into train, val (``fraction``) and test (0.2).

    Raises:
        UserError: if there are splits but no "train", or the fraction leaves nothing to train on.
    """
    if manifest.splits is None:
        return split_by_subject(
            manifest, {"train": 1 - fraction - TEST_FRACTION, "val": fraction, "test": TEST_FRACTION}, seed
        )
    if "val" in manifest.splits:
        return manifest
    train = manifest.of_split("train")
    splits = manifest.splits.copy()
    splits[manifest.splits == "train"] = split_by_subject(train, {"train": 1 - fraction, "val": fraction}, seed).splits
    return manifest.with_splits(splits)


def shared_subjects(manifest: Manifest) -> list[str]:
    """Subjects (files, where subjects are unknown) on more than one side, sorted; empty where nothing is split."""
    if manifest.splits is None or not len(manifest):
        return []
    subject_of_row, subjects = _sorted_subjects(manifest)
    on_side = np.zeros((len(subjects), len(SPLITS)), dtype=bool)
    for column, split in enumerate(SPLITS):
        on_side[subject_of_row[manifest.splits == split], column] = True
    return sorted({str(subjects[number]) for number in np.flatnonzero(on_side.sum(axis=1) > 1)})


def _sorted_subjects(manifest: Manifest) -> tuple[np.ndarray, list[str]]:
    """Index of each row's subject (n,) among the sorted subjects, and these."""
    import pandas as pd

    names = np.array(manifest.paths, dtype=object) if manifest.subjects is None else manifest.subjects
    codes, distinct = pd.factorize(names)
    # Python's sort is quicker here than NumPy's: names mostly come in order, and it notices.
    order = sorted(range(len(distinct)), key=distinct.tolist().__getitem__)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[codes], [distinct[number] for number in order]


def _fill(side: np.ndarray, members: np.ndarray, shares: np.ndarray) -> None:
    """Assign a label's free subjects, in place, so that all its subjects come as near to ``shares`` as they can."""
    free = members[side[members] < 0]
    taken = np.bincount(side[members][side[members] >= 0], minlength=len(shares))
    wanted = np.maximum(shares * len(members) - taken, 0)
    wanted = wanted * len(free) / max(wanted.sum(), 1e-9)
    counts = np.floor(wanted + 1e-9).astype(np.int64)
    largest_remainders = np.argsort(counts - wanted, kind="stable")
    counts[largest_remainders[: len(free) - counts.sum()]] += 1
    side[free] = np.repeat(np.arange(len(shares)), counts)
