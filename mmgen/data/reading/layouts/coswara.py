"""Coswara recordings, as their repository unpacks them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from mmgen.data.reading.folders import LocalTree
from mmgen.data.reading.layouts.published import (
    LayoutOptions,
    Published,
    drop_repeats,
    find_tables,
    read_table,
    table_manifest,
)
from mmgen.data.table import Manifest
from mmgen.errors import UserError

logger = logging.getLogger(__name__)

_TABLE = "combined_data.csv"
_COLUMNS = ["id", "covid_status"]
_POSITIVE = {name: "covid" for name in ("positive_mild", "positive_moderate", "positive_asymp")}


def find(path: Path) -> list[Path]:
    """The tables; many data sets have a ``combined_data.csv``, so the header must fit too."""
    return [table for table in find_tables(path, _TABLE) if set(_COLUMNS) <= _header(table)]


def _header(csv: Path) -> set[str]:
    with csv.open(encoding="utf-8-sig", errors="replace") as file:
        return {name.strip(' "\r\n') for name in file.readline(10_000).split(",")}


def read(csv: Path, suffixes: tuple[str, ...], options: LayoutOptions) -> Manifest:
    """Manifest of ``options.coswara_recordings`` of the participants in ``combined_data.csv``, who are the subjects.

    The three kinds of positive test are "covid"; other values of ``covid_status``, "healthy" among them, are labels as
    they are. A participant is a folder at any depth beside the table. Participants who lack all of these recordings are
    left out, as those without a status are, and one line of the log counts them: not everybody recorded everything, and
    the set is published in parts by date, of which few people want all.

    Raises:
        UserError: if the table is not the published one, or none of the recordings is there.
    """
    frame = read_table(csv, _COLUMNS)
    status = frame["covid_status"].str.lower()
    labels = status.replace(_POSITIVE)
    kept = np.flatnonzero(drop_repeats(csv, frame["id"], labels))
    found = _recordings(csv.parent, suffixes, options.coswara_recordings)
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


def _recordings(folder: Path, suffixes: tuple[str, ...], recordings: tuple[str, ...]) -> dict[tuple[str, str], str]:
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


LAYOUT = Published("audio", f"{_TABLE} with the columns {' and '.join(_COLUMNS)}", find, read)
