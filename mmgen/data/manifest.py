"""Manifests read from wherever the data are: a folder per class, a CSV, or shards, on this machine or behind a URL."""

from __future__ import annotations

import os
from collections.abc import Collection

from mmgen.data.files import LocalFiles, RemoteFiles
from mmgen.data.reading.csv_table import read_csv
from mmgen.data.reading.folders import LocalTree, RemoteTree, read_folder
from mmgen.data.reading.shards import names_shards, read_shards
from mmgen.data.table import SPLITS, Columns, Manifest, label_key
from mmgen.data.urls import locate
from mmgen.errors import UserError

__all__ = ["SPLITS", "Columns", "Manifest", "label_key", "read_manifest"]

CSV_IN_FOLDER = "manifest.csv"
_SHARDS_IN_FOLDER = "shards"
_CSV_ENDINGS = (".csv", ".tsv", ".txt")


def read_manifest(
    path: str | os.PathLike[str], suffixes: Collection[str], columns: Columns | None = None, check_files: bool = True
) -> Manifest:
    """Read the samples of one modality.

    Args:
        path: One of the following, as a path or as a URL (``s3://BUCKET/...``, ``https://HOST/...``, whatever fsspec
            has a package for):

            * a CSV file (behind a URL: .csv, .tsv or .txt). Its paths are relative to its folder, absolute, or all of
              them URLs. Without a split column they tell the splits, if each starts with train/, val/ or test/;
            * a folder that holds ``manifest.csv``; paths in it do not leave the folder;
            * a folder with one folder per class, optionally below train/val/test folders;
            * WebDataset shards (:func:`~mmgen.data.reading.shards.read_shards`): a .tar archive, a folder of them, a
              folder whose only folder is ``shards``, or a pattern (``shards/{000..099}.tar``, ``shards/*.tar``).
        suffixes: File name endings to accept, with the dot, in lower case (``{".png", ".jpg"}``).
        columns: Names of the CSV's columns, or of the values in the shards' .json, where they are not the usual ones.
        check_files: Check that the files named in a CSV exist.

    Returns:
        The manifest, sorted by path for a folder and in the order of the rows or archives otherwise. Labels that differ
        only in case are one label, spelled as the first in sorted order. A row without a subject is a subject of its
        own. Rows of a CSV that repeat another are left out (a warning names them).

    Raises:
        UserError: if the path, a column, a label or files are missing, damaged or unreadable, a file is listed with two
            labels, or nothing is found.
    """
    columns = columns or Columns()
    place = locate(path)
    suffixes = tuple(sorted(suffix.lower() for suffix in suffixes))
    if isinstance(place, str):
        return _read_remote(place, suffixes, columns, check_files)
    if names_shards(place.name) and not place.is_dir():
        return read_shards(place, suffixes, columns)
    if place.is_file():
        return read_csv(LocalFiles(place.parent), place.name, suffixes, columns, check_files)
    if not place.is_dir():
        raise UserError(
            f"{place} does not exist; give a folder with one folder per class, a CSV file, or .tar shards "
            "(a folder of them, or a pattern such as shards/{000..099}.tar)."
        )
    if (place / CSV_IN_FOLDER).is_file():
        return read_csv(LocalFiles(place), CSV_IN_FOLDER, suffixes, columns, check_files, trusted=False)
    tree = LocalTree(place)
    shards = _shard_folder(tree)
    return read_shards(place / shards, suffixes, columns) if shards is not None else _classes(tree, suffixes, columns)


def _read_remote(url: str, suffixes: tuple[str, ...], columns: Columns, check_files: bool) -> Manifest:
    if names_shards(url):
        return read_shards(url, suffixes, columns)
    path, mark, query = url.partition("?")
    if path.lower().endswith(_CSV_ENDINGS):
        folder, _, name = path.rpartition("/")
        return read_csv(RemoteFiles(folder), name + mark + query, suffixes, columns, check_files)
    files = RemoteFiles(url)
    try:
        has_csv = not files.missing([CSV_IN_FOLDER])
    except OSError as error:
        raise UserError(f"{error}; check the URL, and whether you may read it.") from None
    if has_csv:
        return read_csv(files, CSV_IN_FOLDER, suffixes, columns, check_files, trusted=False)
    tree = RemoteTree(files)
    shards = _shard_folder(tree)
    if shards is not None:
        return read_shards("/".join(filter(None, (files.url, shards, "*.tar"))), suffixes, columns)
    return _classes(tree, suffixes, columns)


def _shard_folder(tree: LocalTree | RemoteTree) -> str | None:
    """The folder of a tree that holds shards, if it is made of shards: itself, or its only folder."""
    top = tree.subfolders()
    folder = {(): "", (_SHARDS_IN_FOLDER,): _SHARDS_IN_FOLDER}.get(tuple(top))
    if folder is not None and any(name.lower().endswith(".tar") for name in tree.files_in(folder)):
        return folder
    return None


def _classes(tree: LocalTree | RemoteTree, suffixes: tuple[str, ...], columns: Columns) -> Manifest:
    if columns != Columns():
        raise UserError(
            f"{tree.files} holds no {CSV_IN_FOLDER}, so column names mean nothing there; "
            "leave them out or give a CSV file."
        )
    return read_folder(tree, suffixes)
