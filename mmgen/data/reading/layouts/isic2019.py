"""ISIC 2019 dermoscopic pictures, as the challenge publishes its training set."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

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
    table_manifest,
)
from mmgen.data.table import Manifest, shown, subjects_or_paths
from mmgen.errors import UserError

logger = logging.getLogger(__name__)

_TABLE = "ISIC_2019_Training_GroundTruth.csv"
_METADATA = "ISIC_2019_Training_Metadata.csv"
_PICTURES = "ISIC_2019_Training_Input"
_LABELS = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC"]
_OTHER = "UNK"  # none of the above; no training picture is


def read(csv: Path, suffixes: tuple[str, ...], options: LayoutOptions) -> Manifest:
    """Manifest of the pictures named in ``ISIC_2019_Training_GroundTruth.csv``.

    Labels are the published abbreviations (MEL, NV, ...) of which there are pictures. Subjects are the lesions of
    ``ISIC_2019_Training_Metadata.csv``: of a lesion there may be several pictures, and one whose lesion is not known
    stands for itself. Without that file subjects are unknown, and a warning says so.

    Raises:
        UserError: if a table is not the published one, a row has not exactly one label, or pictures are missing.
    """
    import pandas as pd

    frame = read_table(csv, ["image", *_LABELS], optional=[_OTHER])
    columns = [name for name in (*_LABELS, _OTHER) if name in frame]
    values = np.stack([numbers(csv, frame[name]) for name in columns], axis=1)  # (n, labels)
    wrong = ((values == 1).sum(axis=1) != 1) | ~np.isin(values, (0, 1)).all(axis=1)
    if wrong.any():
        raise UserError(
            f"{wrong.sum()} rows of {csv} do not have exactly one label ({shown(frame['image'][wrong])}); "
            "restore the published file or remove them."
        )
    labels = pd.Series(np.array(columns)[values.argmax(axis=1)], frame.index)
    pictures = _pictures(csv.parent, suffixes)
    keys = [key if (key := image.lower()) in pictures else f"{key}_downsampled" for image in frame["image"]]
    paths = np.array(locate(csv, frame["image"], keys, pictures), dtype=object)
    kept = np.flatnonzero(drop_repeats(csv, paths, labels))
    paths, images = paths[kept].tolist(), frame["image"].iloc[kept]
    subjects = _subjects(csv.parent / _METADATA, images, paths)
    return table_manifest(csv.parent, paths, labels.iloc[kept], kept, subjects)


def _pictures(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Paths relative to ``folder`` by file name in lower case without the ending."""
    if not (folder / _PICTURES).is_dir():
        raise UserError(f"{folder} holds no pictures of ISIC 2019; expected the folder {_PICTURES} beside {_TABLE}.")
    paths = sorted(LocalTree(folder).files_below(_PICTURES, suffixes))
    return {path.rpartition("/")[2].rpartition(".")[0].lower(): path for path in reversed(paths)}


def _subjects(csv: Path, images: Iterable[str], paths: list[str]) -> np.ndarray | None:
    if not csv.is_file():
        logger.warning("%s is missing: the subjects of ISIC 2019 are unknown, a lesion may be on two sides.", csv)
        return None
    metadata = read_table(csv, ["image", "lesion_id"])
    lesion_of = dict(zip(metadata["image"], metadata["lesion_id"], strict=True))
    return subjects_or_paths([lesion_of.get(image, "") for image in images], paths)


LAYOUT = Published("image", _TABLE, lambda path: find_tables(path, _TABLE), read)
