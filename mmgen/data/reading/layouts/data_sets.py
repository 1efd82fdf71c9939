"""Public data sets as they are published: CoronaHack, ISIC 2019 (pictures), Coswara and COUGHVID (recordings)."""

from __future__ import annotations

import logging
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmgen.data.opening import MIB, read_json
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
from mmgen.data.table import Manifest, subjects_or_paths
from mmgen.errors import UserError, first_few

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

_COSWARA = "combined_data.csv"
_COSWARA_COLUMNS = ["id", "covid_status"]
_POSITIVE = {name: "covid" for name in ("positive_mild", "positive_moderate", "positive_asymp")}

_COUGHVID = "metadata_compiled.csv"
_COUGHVID_FOLDER = "public_dataset"
_FOLDERS = [""] + [place for name in (_COUGHVID_FOLDER, "coughvid_20211012") for place in (name, f"{name}/{name}")]
# The first of these that a recording has: wav is what people convert the others to. Whether webm can be decoded here is
# for the decoder to say, so the accepted endings do not matter.
_ENDINGS = (".wav", ".ogg", ".webm")
_STATUS_LABELS = {"covid-19": "covid", "healthy": "healthy", "symptomatic": "symptomatic"}
_UUID_JSON = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.json", re.IGNORECASE)


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
    published = frame["Label"].str.lower()
    normal, ill = published == "normal", published.isin(["pnemonia", "pneumonia"])  # the first is how they spell it
    refuse_rows(csv, ~(normal | ill), "Label", "Normal or Pnemonia")
    covid = frame["Label_2_Virus_category"].str.lower() == "covid-19"
    labels = covid.map({True: "covid", False: "pneumonia"}).mask(normal, "healthy")
    parts = frame["Dataset_type"].str.lower()
    refuse_rows(csv, ~parts.isin(_PARTS), "Dataset_type", "TRAIN or TEST")
    names = parts + "/" + frame["X_ray_image_name"]
    tree = LocalTree(csv.parent)
    homes = [home for home in (f"{_X_RAYS}/{_X_RAYS}/", f"{_X_RAYS}/", "") if (csv.parent / home).is_dir()]
    folders = {home: [name for name in tree.subfolders(home) if name.lower() in _PARTS] for home in homes}
    home = next((home for home in homes if folders[home]), None)
    if home is None:
        raise UserError(
            f"{csv.parent} holds no pictures of CoronaHack; expected {_X_RAYS}/{_X_RAYS}/train and test there."
        )
    pictures = {
        f"{part}/{name}".lower(): f"{home}{part}/{name}"
        for part in folders[home]
        for name in tree.files_in(f"{home}{part}")
        if name.lower().endswith(suffixes)
    }
    paths = pd.Series(locate(csv, names, names.str.lower(), pictures), frame.index)
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
            f"{wrong.sum()} rows of {csv} do not have exactly one label ({first_few(frame['image'][wrong])}); "
            "restore the published file or remove them."
        )
    labels = pd.Series(np.array(columns)[values.argmax(axis=1)], frame.index)
    if not (csv.parent / _LESIONS).is_dir():
        raise UserError(
            f"{csv.parent} holds no pictures of ISIC 2019; expected the folder {_LESIONS} beside {_ISIC2019}."
        )
    files = sorted(LocalTree(csv.parent).files_below(_LESIONS, suffixes), reverse=True)
    pictures = {path.rpartition("/")[2].rpartition(".")[0].lower(): path for path in files}
    keys = [key if (key := image.lower()) in pictures else f"{key}_downsampled" for image in frame["image"]]
    paths = np.array(locate(csv, frame["image"], keys, pictures), dtype=object)
    kept = np.flatnonzero(drop_repeats(csv, paths, labels))
    paths, images = paths[kept].tolist(), frame["image"].iloc[kept]
    subjects = None
    if (metadata := csv.parent / _ISIC2019_METADATA).is_file():
        table = read_table(metadata, ["image", "lesion_id"])
        lesion_of = dict(zip(table["image"], table["lesion_id"], strict=True))
        subjects = subjects_or_paths([lesion_of.get(image, "") for image in images], paths)
    else:
        logger.warning("%s is missing: the subjects of ISIC 2019 are unknown, a lesion may be on two sides.", metadata)
    return table_manifest(csv.parent, paths, labels.iloc[kept], kept, subjects)


def find_coswara(path: Path) -> list[Path]:
    """The tables; many data sets have a ``combined_data.csv``, so the header must fit too."""

    def fits(table: Path) -> bool:
        with table.open(encoding="utf-8-sig", errors="replace") as file:
            return set(_COSWARA_COLUMNS) <= {name.strip(' "\r\n') for name in file.readline(10_000).split(",")}

    return list(filter(fits, find_tables(path, _COSWARA)))


def read_coswara(csv: Path, suffixes: tuple[str, ...], options: LayoutOptions) -> Manifest:
    """Manifest of ``options.coswara_recordings`` of the participants in ``combined_data.csv``, who are the subjects.

    The three kinds of positive test are "covid"; other values of ``covid_status``, "healthy" among them, are labels as
    they are. A participant is a folder at any depth beside the table. Participants who lack all of these recordings are
    left out, as those without a status are, and one line of the log counts them: not everybody recorded everything, and
    the set is published in parts by date, of which few people want all.

    Raises:
        UserError: if the table is not the published one, or none of the recordings is there.
    """
    frame = read_table(csv, _COSWARA_COLUMNS)
    status = frame["covid_status"].str.lower()
    labels = status.replace(_POSITIVE)
    kept = np.flatnonzero(drop_repeats(csv, frame["id"], labels))
    spellings = {name.lower(): name for name in options.coswara_recordings}
    found: dict[tuple[str, str], str] = {}  # path of a participant and recording, the first in sorted order
    tree = LocalTree(csv.parent)
    for path in sorted(path for child in tree.subfolders() for path in tree.files_below(child, suffixes)):
        *_, person, name = ("", *path.split("/"))
        if recording := spellings.get(name.lower().rpartition(".")[0]):
            found.setdefault((person, recording), path)
    samples = [
        (row, found[person, recording])
        for row, person in zip(kept.tolist(), frame["id"].iloc[kept], strict=True)
        if labels.iat[row]
        for recording in options.coswara_recordings
        if (person, recording) in found
    ]
    wanted = " or ".join(options.coswara_recordings)
    if not samples:
        raise UserError(
            f"No participant in {csv} has a recording {wanted} in a folder beside the table; expected "
            f"Extracted_data/DATE/ID/{options.coswara_recordings[0]}.wav."
        )
    rows = np.array([row for row, _ in samples])
    unstated = int((labels.iloc[kept] == "").sum())
    logger.info(
        "Coswara: %d of %d participants are used; left out are %d without a status and %d without a recording %s.",
        used := len(set(rows.tolist())),
        len(kept),
        unstated,
        len(kept) - unstated - used,
        wanted,
    )
    subjects = frame["id"].to_numpy(dtype=object)[rows]
    return table_manifest(csv.parent, [path for _, path in samples], labels.iloc[rows], rows, subjects)


def find_coughvid(path: Path) -> list[Path]:
    """The table, or else the first folder with JSON files named as the recordings are."""
    if (tables := find_tables(path, _COUGHVID)) or not path.is_dir():
        return tables
    folders = (path / name for name in _FOLDERS if (path / name).is_dir())
    return list(islice(filter(_json_names, folders), 1))


def read_coughvid(source: Path, suffixes: tuple[str, ...], options: LayoutOptions) -> Manifest:
    """Manifest of the recordings in ``metadata_compiled.csv``, or of those with a JSON file if ``source`` is a folder.

    Labels are the participant's own words: COVID-19 is "covid", beside "healthy" and "symptomatic". Recordings without
    a status, or in which a cough is less likely than ``options.cough_detected``, are left out; one line of the log
    counts them. There are no subjects: people are not known, each recording stands for itself. Of the metadata only
    these two values are used.

    Raises:
        UserError: if the metadata are not the published ones, recordings are missing, or none is left.
    """
    if source.is_dir():
        frame, folder, listed = _read_json(source), source, source / "*.json"
    else:
        frame, folder, listed = read_table(source, ["uuid", "cough_detected", "status"]), source.parent, source
    likely = numbers(listed, frame["cough_detected"]) >= options.cough_detected
    stated = frame["status"] != ""
    labels = frame["status"].str.lower().map(_STATUS_LABELS)
    refuse_rows(listed, stated & labels.isna(), "status", "COVID-19, healthy, symptomatic or empty")
    logger.info(
        "COUGHVID: %d of %d recordings are used; left out are %d in which a cough is less likely than %g, "
        "and %d others without a status.",
        (likely & stated).sum(),
        len(frame),
        (~likely).sum(),
        options.cough_detected,
        (likely & ~stated).sum(),
    )
    kept = np.flatnonzero(likely & stated)
    if not len(kept):
        raise UserError(f"No recording in {listed} has a status and a likely cough; lower the least cough_detected.")
    tree, inner = LocalTree(folder), f"{_COUGHVID_FOLDER}/"
    names = tree.files_in() + ([inner + n for n in tree.files_in(inner)] if (folder / inner).is_dir() else [])
    recordings: dict[str, str] = {}  # by name in lower case without the ending, of the preferred ending
    for name, ending in ((name, ending) for ending in _ENDINGS for name in names if name.lower().endswith(ending)):
        recordings.setdefault(name.rpartition("/")[2].lower().removesuffix(ending), name)
    uuids = frame["uuid"].iloc[kept]
    paths = np.array(locate(listed, uuids, uuids.str.lower(), recordings), dtype=object)
    once = drop_repeats(listed, paths, labels.iloc[kept])
    return table_manifest(folder, paths[once].tolist(), labels.iloc[kept[once]], kept[once])


def _json_names(folder: Path) -> list[str]:
    return [name for name in LocalTree(folder).files_in() if _UUID_JSON.fullmatch(name)]


def _read_json(folder: Path) -> pd.DataFrame:
    """uuid, cough_detected and status of each JSON file, as text."""
    import pandas as pd

    names = _json_names(folder)
    rows, broken = [], []
    for name in names:
        try:
            values = read_json(folder / name, limit=MIB)
            rows.append(
                (name[: -len(".json")], str(values.get("cough_detected") or ""), str(values.get("status") or ""))
            )
        except (ValueError, AttributeError):  # no JSON, no UTF-8, no object
            broken.append(name)
    if broken:
        raise UserError(
            f"{len(broken)} of {len(names)} JSON files in {folder} cannot be read ({first_few(broken)}); "
            "restore the published files or remove them."
        )
    index = pd.Index(names, name="files")
    return pd.DataFrame(rows, index, columns=["uuid", "cough_detected", "status"], dtype="str")


_COSWARA_TABLE = f"{_COSWARA} with the columns {' and '.join(_COSWARA_COLUMNS)}"
PUBLISHED: dict[str, Published] = {
    "coronahack": Published("image", _CORONAHACK, lambda path: find_tables(path, _CORONAHACK), read_coronahack),
    "coughvid": Published("audio", f"{_COUGHVID}, or UUID.json beside each recording,", find_coughvid, read_coughvid),
    "coswara": Published("audio", _COSWARA_TABLE, find_coswara, read_coswara),
    "isic2019": Published("image", _ISIC2019, lambda path: find_tables(path, _ISIC2019), read_isic2019),
}
