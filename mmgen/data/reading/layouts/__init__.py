"""Data as they come: folders per class, a CSV, or a public data set as it is published."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, get_args

from mmgen.data.files import RemoteFiles
from mmgen.data.manifest import CSV_IN_FOLDER, read_manifest
from mmgen.data.reading.folders import LocalTree, RemoteTree, read_folder
from mmgen.data.reading.layouts.data_sets import PUBLISHED
from mmgen.data.reading.layouts.published import LayoutOptions
from mmgen.data.table import Columns, Manifest
from mmgen.data.urls import locate, without_secrets
from mmgen.errors import UserError, first_few

__all__ = ["LayoutName", "LayoutOptions", "choose_layout", "read_layout"]

logger = logging.getLogger(__name__)

LayoutName = Literal["auto", "folders", "csv", "coronahack", "coughvid", "coswara", "isic2019"]


def read_layout(
    path: str | Path,
    kind: str,
    suffixes: Collection[str],
    layouts: Sequence[LayoutName] = ("auto",),
    columns: Columns | None = None,
    options: LayoutOptions = LayoutOptions(),  # noqa: B008, it is frozen
    check_files: bool = True,
) -> Manifest:
    """Read the samples of one modality, laid out by the user or as a public data set is published.

    Args:
        path: What :func:`~mmgen.data.manifest.read_manifest` reads, or the folder or table of a published data set;
            its files may also lie one folder below, as archives unpack.
        kind: "image" or "audio".
        suffixes: File name endings to accept, with the dot.
        layouts: Names of layouts for all modalities; see :func:`choose_layout`. "auto" takes a published data set if
            its table is there (the log says so), and otherwise a CSV or folders. A ``manifest.csv`` in the folder, or
            column names for a CSV file, mean that the user has laid out the data: published tables are not looked for.
        columns: Names of a CSV's columns, where they are not the usual ones; other layouts have no use for them.
        options: What is taken from published data sets.
        check_files: Check that the files named in a CSV exist; published data sets always are.

    Raises:
        UserError: if the layout does not fit what is there, two layouts do, or files or labels are wrong or missing.
    """
    name = choose_layout(kind, layouts)
    columns = columns or Columns()
    place = locate(path)
    endings = tuple(sorted(suffix.lower() for suffix in suffixes))
    if name in PUBLISHED:
        return _read_published(name, place, endings, options)
    if name == "folders":
        if isinstance(place, Path) and not place.is_dir():
            raise UserError(f"{place} is no folder; the layout 'folders' expects FOLDER/LABEL/FILE.")
        return read_folder(LocalTree(place) if isinstance(place, Path) else RemoteTree(RemoteFiles(place)), endings)
    if isinstance(place, Path):
        own_table = (place / CSV_IN_FOLDER).is_file()
        if name == "csv" and place.is_dir() and not own_table:
            raise UserError(
                f"{place} holds no {CSV_IN_FOLDER}; the layout 'csv' expects one, or the path of a CSV file."
            )
        if name == "auto" and not own_table and not (place.is_file() and columns != Columns()):
            found = [known for known, layout in PUBLISHED.items() if layout.kind == kind and layout.find(place)]
            if len(found) > 1:
                raise UserError(f"{place} fits the layouts {' and '.join(found)}; name the one that is meant.")
            if found:
                logger.info("%s is read as published data, layout %s.", place, found[0])
                return _read_published(found[0], place, endings, options)
    return read_manifest(path, suffixes, columns, check_files)


def _read_published(name: LayoutName, path: Path | str, suffixes: tuple[str, ...], options: LayoutOptions) -> Manifest:
    if isinstance(path, str):
        raise UserError(f"The layout '{name}' is read from this machine; download {without_secrets(path)}.")
    layout = PUBLISHED[name]
    sources = [path] if path.is_file() else layout.find(path)
    if not sources:
        raise UserError(
            f"{path} does not fit the layout '{name}': {layout.expected} was expected there or one folder below; "
            "give that folder or name another layout."
        )
    if len(sources) > 1:
        raise UserError(f"{path} holds the layout '{name}' several times ({first_few(sources)}); give one of them.")
    return layout.read(sources[0], suffixes, options)


def choose_layout(kind: str, layouts: Sequence[LayoutName]) -> LayoutName:
    """The one of ``layouts`` that a modality of this kind has.

    A published data set's layout goes to the kind of its files. "folders", "csv" and "auto" go to every kind that no
    published layout is named for, and a kind that nothing is named for is "auto".

    Raises:
        UserError: if a name is unknown, or two are left for the kind.
    """
    unknown = [name for name in layouts if name not in get_args(LayoutName)]
    if unknown:
        raise UserError(f"There is no layout {first_few(unknown)}; there are {', '.join(get_args(LayoutName))}.")
    names = dict.fromkeys(layouts)
    own = [name for name in names if name in PUBLISHED and PUBLISHED[name].kind == kind]
    chosen = own or [name for name in names if name not in PUBLISHED] or ["auto"]
    if len(chosen) > 1:
        raise UserError(f"The layouts {' and '.join(chosen)} are both for {kind} files; name one of them.")
    return chosen[0]
