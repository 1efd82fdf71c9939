"""Published data sets of recordings: Coswara as its repository unpacks it, COUGHVID coughs as Zenodo has them."""

from __future__ import annotations

import json
import logging
import re
from itertools import islice
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
from mmgen.data.table import Manifest, shown
from mmgen.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

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


def find_coswara(path: Path) -> list[Path]:
    """The tables; many data sets have a ``combined_data.csv``, so the header must fit too."""
    return [table for table in find_tables(path, _COSWARA) if set(_COSWARA_COLUMNS) <= _header(table)]


def _header(csv: Path) -> set[str]:
    with csv.open(encoding="utf-8-sig", errors="replace") as file:
        return {name.strip(' "\r\n') for name in file.readline(10_000).split(",")}


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
    found = _coswara_recordings(csv.parent, suffixes, options.coswara_recordings)
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


def _coswara_recordings(
    folder: Path, suffixes: tuple[str, ...], recordings: tuple[str, ...]
) -> dict[tuple[str, str], str]:
    """Paths relative to ``folder`` by participant and recording; the first in sorted order where there are several."""
    spellings = {name.lower(): name for name in recordings}
    found: dict[tuple[str, str], str] = {}
    tree = LocalTree(folder)
    for path in sorted(path for child in tree.subfolders() for path in tree.files_below(child, suffixes)):
        parent, _, name = path.rpartition("/")
        recording = spellings.get(name.lower().rpartition(".")[0])
        if recording is not None:
            found.setdefault((parent.rpartition("/")[2], recording), path)
    return found


COSWARA = Published(
    "audio", f"{_COSWARA} with the columns {' and '.join(_COSWARA_COLUMNS)}", find_coswara, read_coswara
)


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
    uuids = frame["uuid"].iloc[kept]
    paths = np.array(locate(listed, uuids, uuids.str.lower(), _coughvid_recordings(folder)), dtype=object)
    once = drop_repeats(listed, paths, labels.iloc[kept])
    return table_manifest(folder, paths[once].tolist(), labels.iloc[kept[once]], kept[once])


def _coughvid_recordings(folder: Path) -> dict[str, str]:
    """Paths relative to ``folder`` by name in lower case without the ending, of the preferred ending."""
    tree, inner = LocalTree(folder), f"{_COUGHVID_FOLDER}/"
    names = tree.files_in()
    if (folder / inner).is_dir():
        names += [inner + name for name in tree.files_in(inner)]
    found: dict[str, str] = {}
    for ending in _ENDINGS:
        for name in names:
            if name.lower().endswith(ending):
                found.setdefault(name.rpartition("/")[2].lower().removesuffix(ending), name)
    return found


def _json_names(folder: Path) -> list[str]:
    return [name for name in LocalTree(folder).files_in() if _UUID_JSON.fullmatch(name)]


def _read_json(folder: Path) -> pd.DataFrame:
    """uuid, cough_detected and status of each JSON file, as text."""
    import pandas as pd

    names = _json_names(folder)
    rows, broken = [], []
    for name in names:
        try:
            values = json.loads((folder / name).read_bytes())
            rows.append(
                (name[: -len(".json")], str(values.get("cough_detected") or ""), str(values.get("status") or ""))
            )
        except (ValueError, AttributeError, RecursionError):  # no JSON, no UTF-8, no object
            broken.append(name)
    if broken:
        raise UserError(
            f"{len(broken)} of {len(names)} JSON files in {folder} cannot be read ({shown(broken)}); "
            "restore the published files or remove them."
        )
    index = pd.Index(names, name="files")
    return pd.DataFrame(rows, index, columns=["uuid", "cough_detected", "status"], dtype="str")


COUGHVID = Published("audio", f"{_COUGHVID}, or UUID.json beside each recording,", find_coughvid, read_coughvid)
