"""The table of samples of one modality: file, label, subject and split, and how their spellings become indices."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike

from mmgen.data.files import Files
from mmgen.errors import UserError, first_few, is_clean, shown

SPLITS = ("train", "val", "test")
SPLIT_SPELLINGS = {
    **{name: "train" for name in ("train", "training")},
    **{name: "val" for name in ("val", "valid", "validation", "dev")},
    **{name: "test" for name in ("test", "testing")},
}
_AUDIO = ("audio", "audio_path")
USUAL_NAMES = {
    "path": [*("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"), *_AUDIO],
    "label": ["label", "class", "diagnosis"],
    "subject": ["subject", "subject_id", "patient", "patient_id", "participant", "participant_id", "lesion_id"],
    "split": ["split"],
    "subset": [],  # counts only where it is named
}
SUBSET_SPELLINGS = {**dict.fromkeys(("1", "true", "yes"), True), **dict.fromkeys(("0", "false", "no", ""), False)}
_LONGEST_LABEL = 200


@dataclass(frozen=True)
class Columns:
    """Names of a CSV's columns, or of the values in a shard's .json; None looks for the usual ones, in any case.

    Usual are path, file, filename, image, audio; label, class, diagnosis; subject, patient, participant; split. The
    subset has no usual name: without one every row is used, with one the rows that say 1, true or yes there.
    """

    path: str | None = None
    label: str | None = None
    subject: str | None = None
    split: str | None = None
    subset: str | None = None


@dataclass(frozen=True, eq=False)
class Manifest:
    """Samples of one modality, as columns of equal length n.

    Attributes:
        files: Where the files are.
        paths: n paths as ``files`` opens them: relative to its folder (with forward slashes) or absolute.
        labels: (n,) int64, index into ``label_names``.
        label_names: Names of the classes, sorted; a selection keeps them all, so that indices keep their meaning.
        subjects: (n,) object array of subject names, or None where subjects are unknown.
        splits: (n,) object array of "train", "val" or "test", or None where nothing is split.
        rows: (n,) int64 row of each sample in the file or listing that was read, kept by selections. None: 0..n-1.

    Raises:
        ValueError: if the columns differ in length, or a label index or split name is unknown.
    """

    files: Files
    paths: list[str]
    labels: np.ndarray
    label_names: tuple[str, ...]
    subjects: np.ndarray | None = None
    splits: np.ndarray | None = None
    rows: np.ndarray | None = None

    def __post_init__(self) -> None:
        columns = (self.paths, self.labels, self.subjects, self.splits, self.rows)
        lengths = {len(column) for column in columns if column is not None}
        if len(lengths) != 1:
            raise ValueError(f"The columns of a manifest differ in length: {sorted(lengths)}.")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.label_names):
            raise ValueError(f"Label indices run outside 0..{len(self.label_names) - 1}.")
        if self.splits is not None and not set(self.splits) <= set(SPLITS):
            raise ValueError(f"Splits are named {SPLITS}, not {sorted(set(self.splits) - set(SPLITS))}.")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def origins(self) -> np.ndarray:
        """(n,) int64 row of each sample in the file or folder listing that was read."""
        return np.arange(len(self)) if self.rows is None else self.rows

    def open(self, index: int) -> BinaryIO:
        """File of sample ``index``, to be closed by the caller; raises OSError if it is gone."""
        return self.files.open(self.paths[index])

    def name(self, index: int) -> str:
        """The name in messages of the file of sample ``index``."""
        return self.files.name(self.paths[index])

    def select(self, rows: ArrayLike) -> Manifest:
        """The samples at integer indices, in their order, or where a boolean mask (n,) is true."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        return replace(
            self,
            paths=[self.paths[row] for row in rows.tolist()],
            labels=self.labels[rows],
            subjects=None if self.subjects is None else self.subjects[rows],
            splits=None if self.splits is None else self.splits[rows],
            rows=self.origins[rows],
        )

    def with_splits(self, splits: Sequence[str] | np.ndarray | None) -> Manifest:
        """The same samples with other splits: (n,) of "train", "val", "test", or None for no splits."""
        return replace(self, splits=None if splits is None else np.asarray(splits, dtype=object))

    def of_split(self, name: str) -> Manifest:
        """The samples of one split; raises UserError if there are none."""
        found = set() if self.splits is None else set(self.splits)
        if name not in found:
            present = ", ".join(split for split in SPLITS if split in found)
            raise UserError(
                f"The data in {self.files} have no '{name}' split (present: {present or 'no splits'}); "
                "add one to the folders or the split column, or let the data be split by subject."
            )
        return self.select(self.splits == name)

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of samples {label: {split: n}}, in the order train, val, test; without splits {label: {"all": n}}."""
        if self.splits is None:
            masks = {"all": np.ones(len(self), dtype=bool)}
        else:
            masks = {split: mask for split in SPLITS if (mask := self.splits == split).any()}
        per_split = {
            split: np.bincount(self.labels[mask], minlength=len(self.label_names)) for split, mask in masks.items()
        }
        return {name: {s: int(n[index]) for s, n in per_split.items()} for index, name in enumerate(self.label_names)}


def label_key(label: str) -> str:
    """Form of a label in which spellings that mean the same are equal (case, surrounding space, composed accents)."""
    return unicodedata.normalize("NFC", label.strip()).casefold()


def check_labels(where: str, labels: Iterable[object], hint: str) -> None:
    """Raise UserError, which names ``where`` and ends with ``hint``, for labels that are no plain text or too long."""
    odd = [x for x in labels if not isinstance(x, str) or len(x) > _LONGEST_LABEL or not is_clean(x)]
    if odd:
        raise UserError(
            f"{where} holds labels that are longer than {_LONGEST_LABEL} characters or not plain text "
            f"({first_few(map(shown, odd))}); {hint}"
        )


def encode_labels(where: str, labels: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Label indices and names of samples.

    Args:
        where: the name of the source in messages.
        labels: n labels as they are spelled.

    Returns:
        (n,) int64, -1 where a label is empty, and the sorted names. Labels that differ only in case are one, spelled
        as the first in sorted order.

    Raises:
        UserError: a label that is too long to be one or holds control characters.
    """
    codes, spellings = _numbered(labels)
    stripped = [text.strip() for text in spellings]
    check_labels(where, stripped, "is another column the label, or a quotation mark missing?")
    names: dict[str, str] = {}
    for label in sorted(label for label in stripped if label):
        names.setdefault(label_key(label), label)
    index = {key: number for number, key in enumerate(sorted(names))}
    numbers = [index[label_key(label)] if label else -1 for label in stripped]
    return np.array(numbers, dtype=np.int64)[codes], tuple(names[key] for key in index)


def encode_splits(where: str, splits: Sequence[str]) -> np.ndarray:
    """Split names (n,) in the spelling of SPLITS, for samples with splits of any spelling.

    Raises:
        UserError: an unknown or empty split; ``where`` names the source.
    """
    codes, texts = _numbered(splits)
    spellings = [SPLIT_SPELLINGS.get(text.strip().casefold()) for text in texts]
    unknown = [text.strip() for text, known in zip(texts, spellings, strict=True) if known is None]
    if unknown:
        listed = first_few(repr(text) if text else "empty" for text in unknown)
        raise UserError(
            f"{where} has values other than train, val and test ({listed}); correct them or name another split column."
        )
    return np.array(spellings, dtype=object)[codes]


def _numbered(texts: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """The number (n,) of each text among the distinct ones, and these in the order in which they come."""
    import pandas as pd

    codes, distinct = pd.factorize(np.array(texts, dtype=object))
    return codes, distinct.tolist()


def subset_mark(text: str) -> bool | None:
    """Whether a row with this text in its subset column is used (1, true, yes) or left out (0, false, no, empty).

    Case and surrounding space do not matter. None: the text says neither.
    """
    return SUBSET_SPELLINGS.get(text.strip().casefold())


def splits_from_paths(paths: Collection[str]) -> np.ndarray | None:
    """Splits (n,) from the paths' first folders, or None unless every path starts with one."""
    folders = [path.partition("/")[0] for path in paths]
    spellings = {folder: SPLIT_SPELLINGS.get(folder.casefold()) for folder in set(folders)}
    if None in spellings.values():
        return None
    return np.array([spellings[folder] for folder in folders], dtype=object)


def subjects_or_paths(subjects: list[str], paths: list[str]) -> np.ndarray:
    """(n,) object array of subjects: a sample without one is a subject of its own, named by its path."""
    return np.array([subject or path for subject, path in zip(subjects, paths, strict=True)], dtype=object)
