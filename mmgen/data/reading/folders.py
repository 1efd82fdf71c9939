"""Manifests from folders: one folder per class, optionally below train, val and test."""

from __future__ import annotations

import logging
import os
import re
from bisect import bisect_left
from pathlib import Path

from mmgen.data.files import LocalFiles, RemoteFiles
from mmgen.data.table import SPLIT_SPELLINGS, Manifest, encode_labels, splits_from_paths
from mmgen.errors import UserError, first_few

logger = logging.getLogger(__name__)

_HIDDEN = re.compile(r"(^|/)(\.|__MACOSX(/|$))")


class LocalTree:
    """A folder with folders in it. Paths are relative to it, with forward slashes; hidden ones are left out, and so are
    the leavings of macOS archives. Folders that cannot be listed raise UserError."""

    def __init__(self, root: Path) -> None:
        self.files = LocalFiles(root)
        self._root = root

    def subfolders(self, folder: str = "") -> list[str]:
        """Names of the folders directly in a folder, sorted."""
        return sorted(e.name for e in self._entries(folder) if e.is_dir())

    def files_in(self, folder: str = "") -> list[str]:
        """Names of the files directly in a folder, sorted."""
        return sorted(e.name for e in self._entries(folder) if e.is_file())

    def files_below(self, folder: str, suffixes: tuple[str, ...]) -> list[str]:
        """Paths of the files with certain endings at any depth below a folder.

        Links are followed; raises UserError for those that lead nowhere.
        """
        found, broken, seen, waiting = [], [], set(), [folder]
        while waiting:
            here = waiting.pop()
            about = os.stat(self._root / here)
            if (identity := (about.st_dev, about.st_ino)) in seen:  # a link that leads back up
                continue
            seen.add(identity)
            for entry in self._entries(here):
                if entry.is_dir():
                    waiting.append(f"{here}/{entry.name}")
                elif entry.name.lower().endswith(suffixes):
                    (found if entry.is_file() else broken).append(f"{here}/{entry.name}")
        if broken:
            raise UserError(
                f"{len(broken)} entries of {self._root} are no files or lead nowhere ({first_few(sorted(broken))}); "
                "restore or remove them."
            )
        return found

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._root / folder) as entries:
                return [e for e in entries if not e.name.startswith(".") and e.name != "__MACOSX"]
        except OSError as error:
            raise UserError(f"{self._root / folder} cannot be listed ({error.strerror}); make it readable.") from None


class RemoteTree:
    """As :class:`LocalTree`. Everything is listed once, at the start; raises UserError if that fails."""

    def __init__(self, files: RemoteFiles) -> None:
        self.files = files
        try:
            paths = files.find()
        except OSError as error:
            raise UserError(f"{error}; check the URL, and whether you may list it.") from None
        self._paths = [path for path in paths if not _HIDDEN.search(path)]

    def subfolders(self, folder: str = "") -> list[str]:
        """See :class:`LocalTree`."""
        start = len(folder) + 1 if folder else 0
        return sorted({path[start:].partition("/")[0] for path in self._below(folder) if "/" in path[start:]})

    def files_in(self, folder: str = "") -> list[str]:
        """See :class:`LocalTree`."""
        start = len(folder) + 1 if folder else 0
        return [path[start:] for path in self._below(folder) if "/" not in path[start:]]

    def files_below(self, folder: str, suffixes: tuple[str, ...]) -> list[str]:
        """See :class:`LocalTree`."""
        return [path for path in self._below(folder) if path.lower().endswith(suffixes)]

    def _below(self, folder: str) -> list[str]:
        if not folder:
            return self._paths
        after = chr(ord("/") + 1)  # sorted paths: those below are in one piece
        return self._paths[bisect_left(self._paths, f"{folder}/") : bisect_left(self._paths, f"{folder}{after}")]


def read_folder(tree: LocalTree | RemoteTree, suffixes: tuple[str, ...]) -> Manifest:
    """Read a folder with one folder per class, sorted by path.

    Args:
        tree: the folder.
        suffixes: file name endings to accept, with the dot, in lower case.

    Raises:
        UserError: no files are found, class folders lie beside split folders, or something cannot be listed or used.
    """
    name = tree.files.name
    top = tree.subfolders()
    in_splits = [folder for folder in top if folder.casefold() in SPLIT_SPELLINGS]
    stray = [folder for folder in top if in_splits and folder not in in_splits and tree.files_below(folder, suffixes)]
    if stray:
        raise UserError(
            f"{tree.files} holds the folders {first_few(stray)} beside {first_few(in_splits)}; "
            "put every class folder below train, val or test, or none."
        )
    if in_splits:
        classes = [(f"{split}/{label}", label) for split in in_splits for label in tree.subfolders(split)]
    else:
        classes = [(label, label) for label in top]

    label_of_path: dict[str, str] = {}
    for folder, label in classes:
        found = tree.files_below(folder, suffixes)
        if not found:
            logger.warning("Class folder %s holds no %s files and is left out.", name(folder), "/".join(suffixes))
        label_of_path.update(dict.fromkeys(found, label))
    if not label_of_path:
        raise UserError(
            f"No files that end in {', '.join(suffixes)} were found in class folders of {tree.files}; "
            "expected FOLDER/LABEL/FILE or FOLDER/train/LABEL/FILE, a manifest.csv or .tar shards."
        )
    paths = sorted(label_of_path)
    try:
        "".join(paths).encode()
    except UnicodeEncodeError:  # names in another encoding could be opened, but neither logged nor written anywhere
        odd = [path for path in paths if any("\ud800" <= c <= "\udfff" for c in path)]
        raise UserError(
            f"{len(odd)} file names below {tree.files} are not UTF-8 ({first_few(odd)}); rename them."
        ) from None
    labels, label_names = encode_labels(f"{tree.files}", [label_of_path[path] for path in paths])
    return Manifest(tree.files, paths, labels, label_names, None, splits_from_paths(paths) if in_splits else None)
