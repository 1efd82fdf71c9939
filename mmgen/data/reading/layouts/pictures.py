"""Published data sets of pictures: CoronaHack chest X-rays as Kaggle has them, ISIC 2019 as its challenge does."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmgen.data.reading.folders import LocalTree
from mmgen.data.reading.layouts.published import (
    LayoutOptions,
    Published,
    drop_repeats,
    find_tables,
    locate,
    numbers,
    read_table,
    refuse_rows,
    table_manifest,
)
from mmgen.data.table import Manifest, shown, subjects_or_paths
from mmgen.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

_CORONAHACK = "Chest_xray_Corona_Metadata.csv"
_X_RAYS = "Coronahack-Chest-XRay-Dataset"  # twice, one in the other, after unpacking
_PARTS = ("train", "test")
# The published names of one person's films: person1019_virus_1708.jpeg, IM-0429-0001-0002.jpeg, NORMAL2-IM-0927-...
_PERSON = r"(?i)^(person\d+_[a-z]+|(?:normal\d*-)?im-\d+)"

_ISIC2019 = "ISIC_2019_Training_GroundTruth.csv"
_ISIC2019_METADATA = "ISIC_2019_Training_Metadata.csv"
_LESIONS = "ISIC_2019_Training_Input"
_DIAGNOSES = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC"]
_OTHER_DIAGNOSIS = "UNK"  # none of the above; no training picture is


def read_coronahack(csv: Path, suffixes: tuple[str, ...], options: LayoutOptions) -> Manifest:
    """Manifest of the pictures named in ``Chest_xray_Corona_Metadata.csv``.

    Normal is "healthy", COVID-19 is "covid", and every other pneumonia is "pneumonia": bacterial, of other viruses or
    of unknown cause. The table knows no patients; file names that begin with the same person are one subject. TRAIN and
    TEST are the splits, unless a label is in only one of them: the published TEST has no COVID-19, and nothing can be
    measured on a label without test samples, so the data are then left to be split anew (a warning says so).

    Raises:
        UserError: if the table is not the published one, or pictures are missing.
    """
    import pandas as pd

    frame = read_table(csv, ["X_ray_image_name", "Label", "Dataset_type", "Label_2_Virus_category"])
    parts, labels = frame["Dataset_type"].str.lower(), _x_ray_labels(csv, frame)
    refuse_rows(csv, ~parts.isin(_PARTS), "Dataset_type", "TRAIN or TEST")
    names = parts + "/" + frame["X_ray_image_name"]
    paths = pd.Series(locate(csv, names, names.str.lower(), _x_rays(csv.parent, suffixes)), frame.index)
    kept = drop_repeats(csv, paths, labels)
    paths, labels, parts = paths[kept], labels[kept], parts[kept]

    subjects = frame["X_ray_image_name"][kept].str.extract(_PERSON, expand=False).to_numpy(dtype=object)
    subjects = np.where(pd.isna(subjects), paths.to_numpy(dtype=object), subjects)
    one_sided = [label for label in sorted(set(labels)) if parts[labels == label].nunique() < len(_PARTS)]
    if one_sided:
        logger.warning(
            "%s has %s in only one of TRAIN and TEST: the published splits are not used, the data are split anew.",
            csv,
            " and ".join(one_sided),
        )
    splits = None if one_sided else parts.to_numpy(dtype=object)
    return table_manifest(csv.parent, paths.tolist(), labels, np.flatnonzero(kept), subjects, splits)


def _x_ray_labels(csv: Path, frame: pd.DataFrame) -> pd.Series:
    published = frame["Label"].str.lower()
    normal, ill = published == "normal", published.isin(["pnemonia", "pneumonia"])  # the first is how they spell it
    refuse_rows(csv, ~(normal | ill), "Label", "Normal or Pnemonia")
    covid = frame["Label_2_Virus_category"].str.lower() == "covid-19"
    return covid.map({True: "covid", False: "pneumonia"}).mask(normal, "healthy")


def _x_rays(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Paths relative to ``folder`` by part and file name in lower case."""
    tree = LocalTree(folder)
    homes = [inner for inner in (f"{_X_RAYS}/{_X_RAYS}/", f"{_X_RAYS}/", "") if (folder / inner).is_dir()]
    parts = {inner: [name for name in tree.subfolders(inner) if name.lower() in _PARTS] for inner in homes}
    inner = next((inner for inner in homes if parts[inner]), None)
    if inner is None:
        raise UserError(f"{folder} holds no pictures of CoronaHack; expected {_X_RAYS}/{_X_RAYS}/train and test there.")
    return {
        f"{part}/{name}".lower(): f"{inner}{part}/{name}"
        for part in parts[inner]
        for name in tree.files_in(f"{inner}{part}")
        if name.lower().endswith(suffixes)
    }


CORONAHACK = Published("image", _CORONAHACK, lambda path: find_tables(path, _CORONAHACK), read_coronahack)


def read_isic2019(csv: Path, suffixes: tuple[str, ...], options: LayoutOptions) -> Manifest:
    """Manifest of the pictures named in ``ISIC_2019_Training_GroundTruth.csv``.

    Labels are the published abbreviations (MEL, NV, ...) of which there are pictures. Subjects are the lesions of
    ``ISIC_2019_Training_Metadata.csv``: of a lesion there may be several pictures, and one whose lesion is not known
    stands for itself. Without that file subjects are unknown, and a warning says so.

    Raises:
        UserError: if a table is not the published one, a row has not exactly one label, or pictures are missing.
    """
    import pandas as pd

    frame = read_table(csv, ["image", *_DIAGNOSES], optional=[_OTHER_DIAGNOSIS])
    columns = [name for name in (*_DIAGNOSES, _OTHER_DIAGNOSIS) if name in frame]
    values = np.stack([numbers(csv, frame[name]) for name in columns], axis=1)  # (n, labels)
    wrong = ((values == 1).sum(axis=1) != 1) | ~np.isin(values, (0, 1)).all(axis=1)
    if wrong.any():
        raise UserError(
            f"{wrong.sum()} rows of {csv} do not have exactly one label ({shown(frame['image'][wrong])}); "
            "restore the published file or remove them."
        )
    labels = pd.Series(np.array(columns)[values.argmax(axis=1)], frame.index)
    pictures = _lesions(csv.parent, suffixes)
    keys = [key if (key := image.lower()) in pictures else f"{key}_downsampled" for image in frame["image"]]
    paths = np.array(locate(csv, frame["image"], keys, pictures), dtype=object)
    kept = np.flatnonzero(drop_repeats(csv, paths, labels))
    paths, images = paths[kept].tolist(), frame["image"].iloc[kept]
    subjects = _lesion_subjects(csv.parent / _ISIC2019_METADATA, images, paths)
    return table_manifest(csv.parent, paths, labels.iloc[kept], kept, subjects)


def _lesions(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Paths relative to ``folder`` by file name in lower case without the ending."""
    if not (folder / _LESIONS).is_dir():
        raise UserError(f"{folder} holds no pictures of ISIC 2019; expected the folder {_LESIONS} beside {_ISIC2019}.")
    paths = sorted(LocalTree(folder).files_below(_LESIONS, suffixes))
    return {path.rpartition("/")[2].rpartition(".")[0].lower(): path for path in reversed(paths)}


def _lesion_subjects(csv: Path, images: Iterable[str], paths: list[str]) -> np.ndarray | None:
    if not csv.is_file():
        logger.warning("%s is missing: the subjects of ISIC 2019 are unknown, a lesion may be on two sides.", csv)
        return None
    metadata = read_table(csv, ["image", "lesion_id"])
    lesion_of = dict(zip(metadata["image"], metadata["lesion_id"], strict=True))
    return subjects_or_paths([lesion_of.get(image, "") for image in images], paths)


ISIC2019 = Published("image", _ISIC2019, lambda path: find_tables(path, _ISIC2019), read_isic2019)
