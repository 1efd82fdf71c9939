from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmgen.data.files import LocalFiles
from mmgen.data.images import IMAGE_SUFFIXES
from mmgen.data.manifest import Columns, Manifest, read_manifest
from mmgen.data.splits import shared_subjects, split_by_subject, with_validation
from mmgen.errors import UserError

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}


def make_manifest(rng: np.random.Generator, subjects_per_label: list[int], known_subjects: bool = True) -> Manifest:
    """Rows in random order; each subject has one label and one to four files."""
    rows = [
        (label, f"subject_{label}_{subject}")
        for label, n in enumerate(subjects_per_label)
        for subject in range(n)
        for _ in range(rng.integers(1, 5))
    ]
    rng.shuffle(rows)
    return Manifest(
        LocalFiles(Path("data")),
        [f"{index}.png" for index in range(len(rows))],
        np.array([int(label) for label, _ in rows], dtype=np.int64),
        tuple("abcdefgh"[: len(subjects_per_label)]),
        np.array([subject for _, subject in rows], dtype=object) if known_subjects else None,
    )


def subjects_on(manifest: Manifest, split: str, label: int | None = None) -> set[str]:
    rows = manifest.splits == split
    if label is not None:
        rows &= manifest.labels == label
    return set(manifest.subjects[rows])


@pytest.mark.parametrize("seed", range(20))
def test_split_is_disjoint_stratified_and_complete(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 60, size=rng.integers(1, 6)).tolist()
    manifest = split_by_subject(make_manifest(rng, sizes), FRACTIONS, seed)
    assert shared_subjects(manifest) == []
    for label, n in enumerate(sizes):
        for split, fraction in FRACTIONS.items():
            on_split = len(subjects_on(manifest, split, label))
            assert on_split >= 1
            assert abs(on_split - fraction * n) <= 1 or on_split == 1 or n < 10


def test_split_depends_on_the_seed_and_not_on_the_order_of_rows():
    manifest = make_manifest(np.random.default_rng(0), [20, 30])
    split = split_by_subject(manifest, FRACTIONS, seed=1)
    shuffled = np.random.default_rng(1).permutation(len(manifest))
    again = split_by_subject(manifest.select(shuffled), FRACTIONS, seed=1)
    assert again.splits.tolist() == split.splits[shuffled].tolist()
    assert split_by_subject(manifest, FRACTIONS, seed=2).splits.tolist() != split.splits.tolist()


def test_files_are_their_own_subjects_where_none_are_known():
    manifest = split_by_subject(make_manifest(np.random.default_rng(0), [40, 40], known_subjects=False), FRACTIONS, 0)
    counts = manifest.counts()
    for label in (0, 1):
        n = int((manifest.labels == label).sum())
        assert all(abs(counts["ab"[label]][split] - fraction * n) <= 1 for split, fraction in FRACTIONS.items())


def test_labels_with_few_subjects_go_to_the_larger_splits_and_are_named(caplog):
    manifest = split_by_subject(make_manifest(np.random.default_rng(0), [1, 2, 3]), FRACTIONS, 0)
    sides = [{split for split in FRACTIONS if subjects_on(manifest, split, label)} for label in range(3)]
    assert sides == [{"train"}, {"train", "test"}, {"train", "val", "test"}]
    assert "a, b" in caplog.text


@pytest.mark.parametrize("seed", range(10))
def test_subjects_with_several_labels_stay_on_one_side(seed):
    rng = np.random.default_rng(seed)
    subjects = rng.integers(0, 30, size=200).astype(str).astype(object)
    labels = rng.integers(0, 3, size=200)
    manifest = Manifest(
        LocalFiles(Path("data")), [f"{index}.png" for index in range(200)], labels, ("a", "b", "c"), subjects
    )
    manifest = split_by_subject(manifest, FRACTIONS, seed)
    assert shared_subjects(manifest) == []
    assert all(subjects_on(manifest, split, label) for split in FRACTIONS for label in range(3))


@pytest.mark.parametrize(
    "fractions",
    [{}, {"train": 0.5, "holdout": 0.5}, {"train": 0.7, "test": 0.2}, {"train": 1.2, "test": -0.2}, {"train": 0}],
)
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(UserError):
        split_by_subject(make_manifest(np.random.default_rng(0), [5]), fractions, 0)


def test_no_rows_split_into_nothing():
    empty = make_manifest(np.random.default_rng(0), [3]).select([])
    assert len(split_by_subject(empty, FRACTIONS, 0)) == 0
    assert shared_subjects(empty.with_splits([])) == []


def test_shared_subjects_finds_a_planted_one_and_files_listed_twice():
    manifest = Manifest(
        LocalFiles(Path("data")),
        ["1.png", "2.png", "3.png", "1.png"],
        np.zeros(4, dtype=np.int64),
        ("a",),
        np.array(["p", "q", "p", "r"], dtype=object),
        np.array(["train", "train", "test", "val"], dtype=object),
    )
    assert shared_subjects(manifest) == ["p"]
    files = Manifest(manifest.files, manifest.paths, manifest.labels, ("a",), None, manifest.splits)
    assert shared_subjects(files) == ["1.png"]
    assert shared_subjects(files.with_splits(None)) == []


class TestWithValidation:
    def test_takes_validation_from_train_and_leaves_test_alone(self):
        manifest = split_by_subject(make_manifest(np.random.default_rng(0), [50, 50]), {"train": 0.8, "test": 0.2}, 0)
        validated = with_validation(manifest, 0.1, seed=0)
        assert ((validated.splits == "test") == (manifest.splits == "test")).all()
        assert shared_subjects(validated) == []
        assert [len(subjects_on(validated, "val", label)) for label in (0, 1)] == [4, 4]

    def test_keeps_a_validation_split_that_is_there(self):
        manifest = split_by_subject(make_manifest(np.random.default_rng(0), [20]), FRACTIONS, 0)
        assert with_validation(manifest, 0.5, seed=1).splits.tolist() == manifest.splits.tolist()

    def test_splits_three_ways_where_nothing_is_split(self):
        manifest = with_validation(make_manifest(np.random.default_rng(0), [50]), 0.1, seed=0)
        assert [len(subjects_on(manifest, split)) for split in ("train", "val", "test")] == [35, 5, 10]

    def test_refuses_data_without_train_and_fractions_that_leave_none(self):
        manifest = make_manifest(np.random.default_rng(0), [5])
        with pytest.raises(UserError, match="no 'train' split"):
            with_validation(manifest.with_splits(["test"] * len(manifest)), 0.1, 0)
        with pytest.raises(UserError, match="sum to 1"):
            with_validation(manifest, 0.9, 0)


class TestRealData:
    def test_the_published_alzheimer_split_shares_its_subjects_and_the_honest_one_none(self, real_data):
        csv = real_data / "alzheimer" / "manifest.csv"
        leaking = read_manifest(csv, IMAGE_SUFFIXES, Columns(split="kaggle_split"), check_files=False)
        honest = read_manifest(csv, IMAGE_SUFFIXES, Columns(split="subject_split"), check_files=False)
        assert len(shared_subjects(leaking)) == len(set(leaking.subjects)) == 200
        assert shared_subjects(honest) == []
        assert shared_subjects(with_validation(honest, 0.1, seed=0)) == []

    def test_participants_with_three_labels_each(self, real_data):
        manifest = read_manifest(real_data / "coswara_sounds", {".flac"}, check_files=False).with_splits(None)
        manifest = split_by_subject(manifest, FRACTIONS, seed=0)
        assert shared_subjects(manifest) == []
        assert all(n > 0 for per_split in manifest.counts().values() for n in per_split.values())
