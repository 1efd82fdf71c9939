"""Manifests from CSV files, row by row as the standard library reads them: a million rows take about two seconds."""

from __future__ import annotations

import csv
import logging
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import chain, compress, islice

import numpy as np

from mmgen.data.cells import from_cell
from mmgen.data.files import Files, LocalFiles, RemoteFiles
from mmgen.data.opening import bounded_lines
from mmgen.data.table import (
    USUAL_NAMES,
    Columns,
    Manifest,
    encode_labels,
    encode_splits,
    splits_from_paths,
    subjects_or_paths,
    subset_mark,
)
from mmgen.data.urls import is_url, same_protocol, without_secrets
from mmgen.errors import UserError, first_few, shown

logger = logging.getLogger(__name__)

_REQUIRED = ("path", "label")
_CHUNK = 256  # rows: fewer lists than wake the garbage collector, which would look through all rows read so far
_MOST_COLUMNS = 10_000
_LARGEST = 1 << 30  # bytes
_WAY_OUT = "save it as a CSV in UTF-8 with a header line"


@dataclass
class _Rows:
    """Columns of the used rows by role, as they are read."""

    used: dict[str, str]
    origins: Sequence[int] = range(0)
    values: dict[str, list[str]] = field(default_factory=lambda: {role: [] for role in USUAL_NAMES})


def read_csv(
    files: LocalFiles | RemoteFiles,
    name: str,
    suffixes: tuple[str, ...],
    columns: Columns,
    check_files: bool = True,
    trusted: bool = True,
) -> Manifest:
    """Read a CSV with a header line; commas, semicolons or tabs separate its columns.

    Rows that repeat another row's path, label, subject and split are left out (a warning names them). Rows that the
    subset column, if one is named, leaves out are not looked at any further: their files and labels need not be there.

    Args:
        files: the folder that the CSV is in.
        name: the CSV's name there.
        suffixes: file name endings to accept, with the dot, in lower case.
        columns: names of the columns, where they are not the usual ones.
        check_files: check that the files exist.
        trusted: the user named this very CSV, so that its paths may lead out of its folder.

    Raises:
        UserError: the CSV cannot be read, or what it says cannot be used; the sentence says which rows or files.
    """
    where = files.name(name)
    rows = _rows_of(files, name, where, columns)
    paths = [_tidy(path) if "./" in path or "//" in path else path for path in rows.values["path"]]
    column = {role: f"Column '{used}' of {where}" for role, used in rows.used.items()}
    _check_paths(column["path"], paths, rows.origins, suffixes, trusted and isinstance(files, LocalFiles))
    labels, label_names = encode_labels(column["label"], rows.values["label"])
    _refuse_empty(column["label"], labels < 0, rows.origins)
    subjects = subjects_or_paths(rows.values["subject"], paths) if "subject" in column else None
    splits = encode_splits(column["split"], rows.values["split"]) if "split" in column else splits_from_paths(paths)
    files = _files_of(column["path"], files, paths, trusted)
    origins = np.array(rows.origins, dtype=np.int64) if "subset" in column else None
    manifest = Manifest(files, paths, labels, label_names, subjects, splits, origins)
    manifest = _without_repetitions(manifest, where)
    if not check_files:
        return manifest
    try:
        missing = manifest.files.missing(manifest.paths)
    except OSError as error:
        raise UserError(f"The files named in {where} cannot be looked up: {error}.") from None
    if missing:
        slashes = ", write \\ as / in paths" if any("\\" in path for path in missing) else ""
        raise UserError(
            f"{len(missing)} of {len(manifest)} files named in {where} do not exist "
            f"({first_few(map(without_secrets, missing))}); restore them{slashes} or remove their rows."
        )
    return manifest


def _rows_of(files: LocalFiles | RemoteFiles, name: str, where: str, columns: Columns) -> _Rows:
    """All rows of a CSV; whatever it is instead becomes a UserError."""
    try:
        if files.size(name) > _LARGEST:
            raise UserError(f"{where} is larger than {_LARGEST >> 30} GiB; cut it into several files.")
        with TextIOWrapper(files.open(name), encoding="utf-8-sig", newline="") as text:
            return _read_rows(text, where, columns)
    except UserError:
        raise
    except UnicodeDecodeError:
        raise UserError(f"{where} is not UTF-8 text; {_WAY_OUT}.") from None
    except ValueError as error:
        raise UserError(f"{where} cannot be read as a CSV ({error}); {_WAY_OUT}.") from None
    except FileNotFoundError:
        raise UserError(f"{where} does not exist; correct its path.") from None
    except OSError as error:
        told = f"{where} cannot be read ({error.strerror})" if error.strerror else str(error)
        raise UserError(f"{told}; make it readable for you.") from None


def _read_rows(text: TextIOWrapper, where: str, columns: Columns) -> _Rows:
    """All rows; raises UserError or UnicodeDecodeError."""
    lines = bounded_lines(text)
    first = next(filter(str.strip, lines), "")
    if "\0" in first:  # UTF-16 without a mark, or no text at all
        raise UserError(f"{where} is not UTF-8 text; {_WAY_OUT}.")
    if not first:
        raise UserError(f"{where} cannot be read as a CSV (it has no header line); {_WAY_OUT}.")
    reader = csv.reader(chain([first], lines), delimiter=max(",;\t", key=first.count), strict=True)
    known: dict[str, str] = {}
    used, n_rows = [], 0
    try:
        header = next(reader)
        if len(header) > _MOST_COLUMNS:
            raise UserError(f"{where} has more than {_MOST_COLUMNS} columns; leave out those that are not needed.")
        position = _find_columns(where, [name.strip() for name in header], columns)
        rows = _Rows({role: header[index].strip() for role, index in position.items()})
        for values in _chunks(reader, len(header), where):
            start, n_rows = n_rows, n_rows + len(values[0])
            if "subset" in position:
                marks = list(map(subset_mark, texts := values[position["subset"]]))
                if None in marks:
                    row = marks.index(None)
                    raise UserError(
                        f"Column '{rows.used['subset']}' of {where} is '{shown(texts[row].strip())}' in data row "
                        f"{start + row + 1}, neither 1, true or yes nor 0, false, no or empty; correct it or name "
                        "another subset column."
                    )
                used.extend(compress(range(start, n_rows), marks))
                values = [tuple(compress(column, marks)) for column in values]
            rows.values["path"].extend(map(from_cell, map(str.strip, values[position["path"]])))
            for role in position.keys() & {"label", "subject", "split"}:
                texts = [from_cell(text.strip()) for text in values[position[role]]]
                rows.values[role].extend(map(known.setdefault, texts, texts))  # each is in memory once
    except csv.Error as error:
        raise UserError(f"{where} cannot be read as a CSV at line {reader.line_num} ({error}); {_WAY_OUT}.") from None
    if not n_rows:
        raise UserError(f"{where} has a header but no rows; give a CSV with one row per file.")
    if not rows.values["path"]:
        raise UserError(f"Column '{rows.used['subset']}' of {where} marks no row; write 1 in the rows to use.")
    rows.origins = range(n_rows)
    if "subset" in position:
        rows.origins = used
        logger.info("%s: %d of %d rows are used, as column '%s' says.", where, len(used), n_rows, rows.used["subset"])
    return rows


def _chunks(rows: Iterator[list[str]], width: int, where: str) -> Iterator[list[tuple[str, ...]]]:
    """All ``width`` columns, some rows at a time; short rows are filled up, empty ones left out."""
    # Of fields that are too many no more is kept than that there are some: there may be very many.
    rows = (
        row if len(row) <= width else [*row[:width], *filter(None, row[width:])][: width + 1] for row in rows if row
    )
    start = 1
    while chunk := list(islice(rows, _CHUNK)):
        if set(map(len, chunk)) != {width}:
            ragged = [start + index for index, row in enumerate(chunk) if len(row) > width]
            if ragged:
                raise UserError(
                    f"Data rows {first_few(ragged)} of {where} have more fields than the header; "
                    "put fields that hold the separator in quotation marks."
                )
            chunk = [row + [""] * (width - len(row)) for row in chunk]
        start += len(chunk)
        yield list(zip(*chunk, strict=True))


def _find_columns(where: str, header: list[str], columns: Columns) -> dict[str, int]:
    """Position of each role (path, label, subject, split, subset) that the CSV has."""
    folded = [name.casefold() for name in header]
    present = f"its columns are {first_few(header, limit=20)}"
    position = {}
    for role, usual in USUAL_NAMES.items():
        wanted = getattr(columns, role)
        if wanted is not None and wanted not in header:
            raise UserError(f"{where} has no column '{wanted}' for the {role}; {present}.")
        found = wanted if wanted is not None else next((name for name in usual if name in folded), None)
        if found is not None:
            names = header if wanted is not None else folded
            if names.count(found) > 1:
                raise UserError(f"{where} has several columns named {found}; rename all but one.")
            position[role] = names.index(found)
        elif role in _REQUIRED:
            raise UserError(f"{where} has no column named {' or '.join(usual)}; name its {role} column ({present}).")
    return position


def _refuse_empty(column: str, empty: np.ndarray, origins: Sequence[int]) -> None:
    if empty.any():
        numbers = [origins[row] + 1 for row in np.flatnonzero(empty).tolist()]
        raise UserError(f"{column} is empty in data rows {first_few(numbers)}; fill it in or remove the rows.")


def _tidy(path: str) -> str:
    """A path without the parts that mean nothing, so that one file has one spelling; ``..`` stays."""
    if is_url(path):
        return path
    return ("/" if path.startswith("/") else "") + "/".join(part for part in path.split("/") if part not in ("", "."))


def _check_paths(
    column: str, paths: list[str], origins: Sequence[int], suffixes: tuple[str, ...], may_leave: bool
) -> None:
    _refuse_empty(column, np.array([not path for path in paths]), origins)
    unlike = [path for path in paths if not path.endswith(suffixes)]  # in capitals perhaps, or a URL with a query
    unlike = [without_secrets(path) if is_url(path) else path for path in unlike]
    wrong = [path for path in unlike if not path.lower().endswith(suffixes)]
    if wrong:
        raise UserError(
            f"{column} names {len(wrong)} files that do not end in {', '.join(suffixes)} "
            f"({first_few(wrong)}); choose another path column or another CSV."
        )
    odd = [path for path in paths if "\0" in path]
    if odd:
        raise UserError(f"{column} holds NUL characters ({first_few(odd)}), which no path has; export the CSV again.")
    above = [] if may_leave else [path for path in paths if ".." in path or path.startswith("/")]
    if leaving := [path for path in above if posixpath.normpath(path).partition("/")[0] in ("..", "")]:
        raise UserError(
            f"{column} names {len(leaving)} files outside its folder ({first_few(leaving)}); move them below it, or if "
            "it lies on this machine and you trust it name it instead of its folder."
        )


def _files_of(column: str, files: LocalFiles | RemoteFiles, paths: list[str], trusted: bool) -> Files:
    """Where the paths lead: ``files``, or elsewhere if a CSV on this machine is a list of URLs."""
    urls = [path for path in paths if is_url(path)]
    if not urls:
        return files
    if isinstance(files, RemoteFiles):
        foreign = [url for url in urls if not same_protocol(url, files.url)]
        if foreign:
            raise UserError(
                f"{column} names URLs of another protocol than its own ({first_few(map(without_secrets, foreign))}); "
                "download the CSV and check it, and use the copy if you trust it."
            )
        return files
    if not trusted:
        raise UserError(
            f"{column} names URLs ({first_few(map(without_secrets, urls))}); if you trust it name it instead of its "
            "folder."
        )
    if len(urls) < len(paths) or not all(same_protocol(url, urls[0]) for url in urls):
        raise UserError(f"{column} mixes URLs of several kinds, or URLs and paths; make a CSV for each.")
    return RemoteFiles(urls[0].rpartition("/")[0])


def _without_repetitions(manifest: Manifest, where: str) -> Manifest:
    if len(set(manifest.paths)) == len(manifest):
        return manifest
    first: dict[str, int] = {}
    earlier = np.array([first.setdefault(path, row) for row, path in enumerate(manifest.paths)])
    repeated = np.flatnonzero(earlier != np.arange(len(manifest)))
    for column in ("labels", "subjects", "splits"):
        values = getattr(manifest, column)
        if values is not None and (differ := values[repeated] != values[earlier[repeated]]).any():
            names = [manifest.paths[row] for row in repeated[differ]]
            raise UserError(
                f"{where} lists files more than once with different {column} ({first_few(dict.fromkeys(names))}); "
                "keep one row a file."
            )
    logger.warning(
        "%s lists %d files more than once (%s); the repetitions are left out.",
        where,
        len(set(repeated_paths := [manifest.paths[row] for row in repeated])),
        first_few(dict.fromkeys(repeated_paths)),
    )
    return manifest.select(np.unique(earlier))
