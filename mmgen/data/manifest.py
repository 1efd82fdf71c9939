"""The table of samples of one modality: file, label, subject and split, read from a folder per class or from a CSV."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import ArrayLike

from mmgen.data.files import Files, LocalFiles
from mmgen.errors import UserError, first_few

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
_SPLIT_SPELLINGS = {
    **{name: "train" for name in ("train", "training")},
    **{name: "val" for name in ("val", "valid", "validation", "dev")},
    **{name: "test" for name in ("test", "testing")},
}
_USUAL_NAMES = {
    "path": (
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "audio",
        "audio_path",
    ),
    "label": ("label", "class", "diagnosis"),
    "subject": ("subject", "subject_id", "patient", "patient_id", "participant", "participant_id", "lesion_id"),
    "split": ("split",),
}
_REQUIRED = ("path", "label")
_CSV_IN_FOLDER = "manifest.csv"


@dataclass(frozen=True)
class Columns:
    """Names of a CSV's columns; None looks for the usual ones, in any case.

    Usual are path, file, filename, image, audio; label, class, diagnosis; subject, patient, participant; split.
    """

    path: str | None = None
    label: str | None = None
    subject: str | None = None
    split: str | None = None


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
        lengths = {
            len(column) for column in (self.paths, self.labels, self.subjects, self.splits) if column is not None
        }
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
        """What messages call the file of sample ``index``."""
        return self.files.name(self.paths[index])

    def select(self, rows: ArrayLike) -> Manifest:
        """The samples at integer indices, in their order, or where a boolean mask (n,) is true."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        return replace(
            self,
            paths=[self.paths[row] for row in rows],
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
        present = [] if self.splits is None else [split for split in SPLITS if split in set(self.splits)]
        if name not in present:
            raise UserError(
                f"The data in {self.files} have no '{name}' split (present: {', '.join(present) or 'no splits'}); "
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


def read_manifest(
    path: str | os.PathLike[str],
    suffixes: Collection[str],
    columns: Columns | None = None,
    check_files: bool = True,
) -> Manifest:
    """Read the samples of one modality.

    Args:
        path: A CSV file; a folder that holds ``manifest.csv``; or a folder with one folder per class, optionally below
            train/val/test folders. Paths in a CSV are absolute or relative to the CSV's folder. A CSV without a split
            column takes the splits from the paths if each of them starts with train/, val/ or test/.
        suffixes: File name endings to accept, with the dot, in lower case (``{".png", ".jpg"}``).
        columns: Names of the CSV's columns, where they are not the usual ones.
        check_files: Check that the files named in a CSV exist.

    Returns:
        The manifest, sorted by path for a folder and in the order of the rows for a CSV. Labels that differ only in
        case are one label, spelled as the first in sorted order. A row without a subject is a subject of its own.

    Raises:
        UserError: if the path, a column, a label or files are missing, or nothing is found.
    """
    path = Path(path).expanduser()
    columns = columns or Columns()
    suffixes = tuple(sorted(suffix.lower() for suffix in suffixes))
    if path.is_dir() and (path / _CSV_IN_FOLDER).is_file():
        path = path / _CSV_IN_FOLDER
    if path.is_file():
        return _read_csv(path, suffixes, columns, check_files)
    if not path.is_dir():
        raise UserError(f"{path} does not exist; give a folder with one folder per class, or a CSV file.")
    if columns != Columns():
        raise UserError(
            f"{path} holds no {_CSV_IN_FOLDER}, so column names mean nothing there; leave them out or give a CSV file."
        )
    return _read_folder(path, suffixes)


def label_key(label: str) -> str:
    """Form of a label in which spellings that mean the same are equal (case, surrounding space, composed accents)."""
    return unicodedata.normalize("NFC", label.strip()).casefold()


def _encode_labels(labels: pd.Categorical) -> tuple[np.ndarray, tuple[str, ...]]:
    """Indices (n,) int64, -1 where a label is empty, and the sorted names; all text work is on the distinct labels."""
    stripped = [str(label).strip() for label in labels.categories]
    names: dict[str, str] = {}
    for label in sorted(label for label in stripped if label):
        names.setdefault(label_key(label), label)
    keys = sorted(names)
    # One entry more than there are categories: pandas' code -1 (no value) picks the last.
    index = [keys.index(label_key(label)) if label else -1 for label in stripped] + [-1]
    return np.array(index, dtype=np.int64)[labels.codes], tuple(names[key] for key in keys)


# --- CSV


def _read_csv(csv: Path, suffixes: tuple[str, ...], columns: Columns, check_files: bool) -> Manifest:
    frame, used = _load_columns(csv, columns)
    paths: list[str] = frame["path"].str.strip().str.removeprefix("./").tolist()
    labels, label_names = _encode_labels(frame["label"].array)
    _refuse_empty(csv, used["path"], np.array([not path for path in paths]))
    _refuse_empty(csv, used["label"], labels < 0)
    wrong = [path for path in paths if not path.lower().endswith(suffixes)]
    if wrong:
        raise UserError(
            f"Column '{used['path']}' of {csv} names {len(wrong)} files that do not end in {', '.join(suffixes)} "
            f"({first_few(wrong)}); choose another path column or another CSV."
        )
    if check_files:
        missing = [path for path in paths if not os.path.isfile(os.path.join(csv.parent, path))]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(paths)} files named in {csv} do not exist ({first_few(missing)}); "
                "restore them or remove their rows."
            )
    subjects = None
    if "subject" in used:
        names = frame["subject"].str.strip().to_numpy(dtype=object)
        subjects = np.where(names == "", np.array(paths, dtype=object), names)
    splits = _encode_splits(csv, used["split"], frame["split"].array) if "split" in used else _splits_from_paths(paths)
    return Manifest(LocalFiles(csv.parent), paths, labels, label_names, subjects, splits)


def _load_columns(csv: Path, columns: Columns) -> tuple[pd.DataFrame, dict[str, str]]:
    """The columns in use, renamed to path, label, subject, split, and the names they have in the file."""
    import pandas as pd

    try:
        with csv.open(encoding="utf-8-sig") as file:
            first_line = file.readline()
        separator = max(",;\t", key=first_line.count)
        options = {"sep": separator, "encoding": "utf-8-sig", "keep_default_na": False}  # "None" and "NA" are labels
        header = pd.read_csv(csv, nrows=0, **options).columns
        used = _find_columns(csv, list(header), columns)
        dtypes = {name: "category" if role in ("label", "split") else "str" for role, name in used.items()}
        frame = pd.read_csv(csv, usecols=list(used.values()), dtype=dtypes, index_col=False, **options)
    except UnicodeDecodeError as error:
        raise UserError(f"{csv} is not UTF-8 text; save it as a CSV in UTF-8.") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{csv} cannot be read as a CSV ({error}); save it as a CSV with a header line.") from error
    if frame.empty:
        raise UserError(f"{csv} has a header but no rows; give a CSV with one row per file.")
    frame = pd.DataFrame({role: frame[name] for role, name in used.items()})
    texts = [role for role in ("path", "subject") if role in used]
    frame[texts] = frame[texts].fillna("")
    return frame, {role: name.strip() for role, name in used.items()}


def _find_columns(csv: Path, header: list[str], columns: Columns) -> dict[str, str]:
    """The header's name of each role (path, label, subject, split) that the CSV has."""
    exact = {name.strip(): name for name in header}
    folded = {name.strip().casefold(): name for name in header}
    present = f"its columns are {first_few(exact, limit=20)}"
    used = {}
    for role, usual in _USUAL_NAMES.items():
        wanted = getattr(columns, role)
        if wanted is not None and wanted not in exact:
            raise UserError(f"{csv} has no column '{wanted}' for the {role}; {present}.")
        found = exact[wanted] if wanted is not None else next((folded[name] for name in usual if name in folded), None)
        if found is not None:
            used[role] = found
        elif role in _REQUIRED:
            raise UserError(f"{csv} has no column named {' or '.join(usual)}; name its {role} column ({present}).")
    return used


def _refuse_empty(csv: Path, column: str, empty: np.ndarray) -> None:
    if empty.any():
        rows = first_few(np.flatnonzero(empty) + 1)
        raise UserError(f"Column '{column}' of {csv} is empty in data rows {rows}; fill it in or remove the rows.")


def _encode_splits(csv: Path, column: str, splits: pd.Categorical) -> np.ndarray:
    """Split names (n,) in the spelling of SPLITS."""
    spellings = [_SPLIT_SPELLINGS.get(str(split).strip().casefold()) for split in splits.categories]
    unknown = [repr(split) for split, known in zip(splits.categories, spellings, strict=True) if known is None]
    if unknown or (splits.codes < 0).any():
        raise UserError(
            f"Column '{column}' of {csv} has values other than train, val and test "
            f"({first_few(unknown or ['empty'])}); correct them or name another split column."
        )
    return np.array(spellings, dtype=object)[splits.codes]


def _splits_from_paths(paths: list[str]) -> np.ndarray | None:
    """Splits (n,) from the paths' first folders, or None unless every path starts with one."""
    folders = [path.partition("/")[0] for path in paths]
    spellings = {folder: _SPLIT_SPELLINGS.get(folder.casefold()) for folder in set(folders)}
    if None in spellings.values():
        return None
    return np.array([spellings[folder] for folder in folders], dtype=object)


# --- folder


def _read_folder(root: Path, suffixes: tuple[str, ...]) -> Manifest:
    import pandas as pd

    top = _subfolders(root)
    in_splits = [name for name in top if name.casefold() in _SPLIT_SPELLINGS]
    stray = [name for name in top if name not in in_splits and in_splits and _files_below(root, name, suffixes)]
    if stray:
        raise UserError(
            f"{root} holds the folders {first_few(stray)} beside {first_few(in_splits)}; "
            "put every class folder below train, val or test, or none."
        )
    if in_splits:
        classes = [(split, name) for split in in_splits for name in _subfolders(root / split)]
    else:
        classes = [("", name) for name in top]

    rows: list[tuple[str, str]] = []
    for split, label in classes:
        files = _files_below(root, f"{split}/{label}" if split else label, suffixes)
        if not files:
            logger.warning(
                "Class folder %s holds no %s files and is left out.", root / split / label, "/".join(suffixes)
            )
        rows.extend((file, label) for file in files)
    if not rows:
        raise UserError(
            f"No files that end in {', '.join(suffixes)} were found in class folders of {root}; "
            "expected FOLDER/LABEL/FILE or FOLDER/train/LABEL/FILE."
        )
    rows.sort()
    paths = [path for path, _ in rows]
    labels, label_names = _encode_labels(pd.Categorical([label for _, label in rows]))
    return Manifest(
        LocalFiles(root), paths, labels, label_names, None, _splits_from_paths(paths) if in_splits else None
    )


def _subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones and the leavings of macOS archives."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith(".") and e.name != "__MACOSX")


def _files_below(root: Path, folder: str, suffixes: tuple[str, ...]) -> list[str]:
    """Paths relative to ``root``, with forward slashes, of the accepted files at any depth below ``folder``."""
    found, seen = [], set()
    for parent, children, names in os.walk(root / folder, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:  # a link that leads back up
            children.clear()
            continue
        seen.add(real)
        children[:] = [child for child in children if not child.startswith(".")]
        base = Path(parent).relative_to(root).as_posix()
        found.extend(f"{base}/{name}" for name in names if name.lower().endswith(suffixes) and not name.startswith("."))
    return found
