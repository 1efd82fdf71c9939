"""CoronaHack chest X-rays, as Kaggle publishes them."""

from __future__ import annotations

import logging
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
    read_table,
    refuse_rows,
    table_manifest,
)
from mmgen.data.table import Manifest
from mmgen.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

_TABLE = "Chest_xray_Corona_Metadata.csv"
_PICTURES = "Coronahack-Chest-XRay-Dataset"  # twice, one in the other, after unpacking
_PARTS = ("train", "test")
# The published names of one person's films: person1019_virus_1708.jpeg, IM-0429-0001-0002.jpeg, NORMAL2-IM-0927-...
_PERSON = r"(?i)^(person\d+_[a-z]+|(?:normal\d*-)?im-\d+)"


def read(csv: Path, suffixes: tuple[str, ...], options: LayoutOptions) -> Manifest:
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
    parts, labels = frame["Dataset_type"].str.lower(), _labels(csv, frame)
    refuse_rows(csv, ~parts.isin(_PARTS), "Dataset_type", "TRAIN or TEST")
    names = parts + "/" + frame["X_ray_image_name"]
    paths = pd.Series(locate(csv, names, names.str.lower(), _pictures(csv.parent, suffixes)), frame.index)
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


def _labels(csv: Path, frame: pd.DataFrame) -> pd.Series:
    published = frame["Label"].str.lower()
    normal, ill = published == "normal", published.isin(["pnemonia", "pneumonia"])  # the first is how they spell it
    refuse_rows(csv, ~(normal | ill), "Label", "Normal or Pnemonia")
    covid = frame["Label_2_Virus_category"].str.lower() == "covid-19"
    return covid.map({True: "covid", False: "pneumonia"}).mask(normal, "healthy")


def _pictures(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Paths relative to ``folder`` by part and file name in lower case."""
    tree = LocalTree(folder)
    homes = [inner for inner in (f"{_PICTURES}/{_PICTURES}/", f"{_PICTURES}/", "") if (folder / inner).is_dir()]
    parts = {inner: [name for name in tree.subfolders(inner) if name.lower() in _PARTS] for inner in homes}
    inner = next((inner for inner in homes if parts[inner]), None)
    if inner is None:
        raise UserError(
            f"{folder} holds no pictures of CoronaHack; expected {_PICTURES}/{_PICTURES}/train and test there."
        )
    return {
        f"{part}/{name}".lower(): f"{inner}{part}/{name}"
        for part in parts[inner]
        for name in tree.files_in(f"{inner}{part}")
        if name.lower().endswith(suffixes)
    }


LAYOUT = Published("image", _TABLE, lambda path: find_tables(path, _TABLE), read)
