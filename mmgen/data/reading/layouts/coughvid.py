"""COUGHVID coughs, as Zenodo publishes them: recordings with one table, or with a JSON file beside each."""

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

_TABLE = "metadata_compiled.csv"
_RECORDINGS = "public_dataset"
_FOLDERS = ("", _RECORDINGS, f"{_RECORDINGS}/{_RECORDINGS}", "coughvid_20211012", "coughvid_20211012/coughvid_20211012")
# The first of these that a recording has: wav is what people convert the others to. Whether webm can be decoded here is
# for the decoder to say, so the accepted endings do not matter.
_ENDINGS = (".wav", ".ogg", ".webm")
_LABELS = {"covid-19": "covid", "healthy": "healthy", "symptomatic": "symptomatic"}
_UUID_JSON = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.json", re.IGNORECASE)


def find(path: Path) -> list[Path]:
    """The table, or else the first folder with JSON files named as the recordings are."""
    if (tables := find_tables(path, _TABLE)) or not path.is_dir():
        return tables
    folders = (path / name for name in _FOLDERS if (path / name).is_dir())
    return list(islice(filter(_json_names, folders), 1))


def read(source: Path, suffixes: tuple[str, ...], options: LayoutOptions) -> Manifest:
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
    labels = frame["status"].str.lower().map(_LABELS)
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
    paths = np.array(locate(listed, uuids, uuids.str.lower(), _recordings(folder)), dtype=object)
    once = drop_repeats(listed, paths, labels.iloc[kept])
    return table_manifest(folder, paths[once].tolist(), labels.iloc[kept[once]], kept[once])


def _recordings(folder: Path) -> dict[str, str]:
    """Paths relative to ``folder`` by name in lower case without the ending, of the preferred ending."""
    tree, inner = LocalTree(folder), f"{_RECORDINGS}/"
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


LAYOUT = Published("audio", f"{_TABLE}, or UUID.json beside each recording,", find, read)
