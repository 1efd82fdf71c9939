"""``mmgen check``: everything that is wrong with data, named once, before a training meets it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mmgen.data.decoded import WORTHLESS, Remark
from mmgen.data.decoding import DecodedFiles, in_threads, remark_text, unusable
from mmgen.data.manifest import CSV_IN_FOLDER, Manifest, read_manifest
from mmgen.data.overview import Overview, count_lines, look
from mmgen.data.progress import progress_bar
from mmgen.data.settings import kind_of
from mmgen.data.sources import Reading, Source
from mmgen.errors import UserError, first_few


@dataclass(frozen=True)
class Inspection:
    """Findings of reading every file of one modality, by row of its manifest.

    Attributes:
        unusable: why files cannot be decoded.
        remarks: what was noticed about files that can.
        duplicates: groups of rows whose files hold the same bytes.
    """

    unusable: dict[int, str]
    remarks: dict[int, Remark]
    duplicates: list[list[int]]


@dataclass
class Findings:
    """Result of :func:`check_data`.

    Attributes:
        overview: the first look.
        inspections: what the files hold, by modality; empty after a first look only.
    """

    overview: Overview
    inspections: dict[str, Inspection] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether training could start."""
        return not self.overview.problems

    def lines(self) -> Iterator[str]:
        """The findings as text: counts, every file by name, warnings, and the verdict."""
        for name, manifest in self.overview.manifests.items():
            yield from count_lines(name, manifest)
            if name in self.inspections:
                inspection = self.inspections[name]
                for row, reason in inspection.unusable.items():
                    yield f"  unusable: {manifest.name(row)} ({reason})"
                for row, remarks in inspection.remarks.items():
                    yield f"  {remark_text(remarks)}: {manifest.name(row)}"
                for rows in inspection.duplicates:
                    yield f"  duplicates: {', '.join(manifest.name(row) for row in rows)}"
                kinds = {
                    "unusable": len(inspection.unusable),
                    **{
                        remark_text(r): sum(bool(r & remarks) for remarks in inspection.remarks.values())
                        for r in Remark
                    },
                    "duplicates": sum(len(rows) - 1 for rows in inspection.duplicates),
                }
                noticed = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
                yield f"  {noticed or 'nothing wrong with the files'}"
        for warning in self.overview.warnings:
            yield f"warning: {warning}"
        for problem in self.overview.problems:
            yield f"problem: {problem}"
        yield "Training can start." if self.ok else "Training would fail."


def check_data(sources: Mapping[str, Source], reading: Reading | None = None) -> Findings:
    """Look at labels, splits and subjects, then decode every file and compare their bytes.

    With ``reading.skip_bad`` files that cannot be used are no problem, unless too few are left without them.
    """
    reading = reading or Reading()
    skip_bad = reading.skip_bad
    findings = Findings(look(sources, reading, check_files=False))
    overview = findings.overview
    overview.warnings.extend(sentence for source in sources.values() for sentence in _unlisted(source))
    for name, manifest in overview.manifests.items():
        files = DecodedFiles(manifest.files, manifest.paths, sources[name].settings)
        problems = files.fill()
        remarks = {int(row): Remark(int(files.remarks[row])) for row in np.flatnonzero(files.remarks)}
        inspection = findings.inspections[name] = Inspection(problems, remarks, find_duplicates(manifest, problems))
        duplicates, splits = inspection.duplicates, manifest.splits
        if labels := sum(len(set(manifest.labels[rows].tolist())) > 1 for rows in duplicates):
            overview.warnings.append(
                f"{labels} files of '{name}' are there under several labels, byte for byte; keep the right one."
            )
        if sides := 0 if splits is None else sum(len(set(splits[rows])) > 1 for rows in duplicates):
            overview.warnings.append(
                f"{sides} files of '{name}' are in several splits, byte for byte: results will be too good; keep one "
                "of each."
            )
        if inspection.unusable and not skip_bad:
            names = [f"{manifest.name(row)} ({reason})" for row, reason in inspection.unusable.items()]
            overview.problems.append(unusable(names))
        bad = {*inspection.unusable, *(row for row, remarks in inspection.remarks.items() if remarks & WORTHLESS)}
        if bad and skip_bad and overview.split:
            kept = manifest.select(~np.isin(np.arange(len(manifest)), list(bad)))
            overview.note_missing_labels(name, kept)
    return findings


def find_duplicates(manifest: Manifest, but: Collection[int] = ()) -> list[list[int]]:
    """Groups of rows, but for some, whose files hold the same bytes, in the order of the rows; only files of equal size
    are read."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for row, path in enumerate(manifest.paths):
        if row in but:
            continue
        try:
            by_size[manifest.files.size(path)].append(row)
        except (OSError, ValueError):  # gone: decoding says so
            continue
    candidates = [row for rows in by_size.values() if len(rows) > 1 for row in rows]

    def digest_of(row: int) -> bytes:
        try:
            with manifest.open(row) as file:
                return hashlib.file_digest(file, "sha256").digest()
        except (OSError, ValueError):
            return b""

    groups: dict[bytes, list[int]] = defaultdict(list)
    shown = progress_bar(
        in_threads(digest_of, candidates, manifest.files), total=len(candidates), description="comparing files"
    )
    for row, digest in zip(candidates, shown, strict=True):
        if digest:
            groups[digest].append(row)
    return sorted(sorted(rows) for rows in groups.values() if len(rows) > 1)


def _unlisted(source: Source) -> list[str]:
    """A sentence on files that lie in a folder and are missing from its ``manifest.csv``."""
    folder = Path(source.path).expanduser()
    if not (folder / CSV_IN_FOLDER).is_file():
        return []
    suffixes = tuple(kind_of(source.settings).suffixes)
    try:
        every_row = replace(source.columns, subset=None)
        listed = set(read_manifest(folder, suffixes, every_row, check_files=False).paths)
    except UserError:  # the first look says so, unless it is in rows outside the subset
        return []
    places = (path for path in folder.rglob("*") if path.name.lower().endswith(suffixes) and path.is_file())
    unlisted = sorted(p for p in places if p.relative_to(folder).as_posix() not in listed and str(p) not in listed)
    names = first_few((path.relative_to(folder) for path in unlisted), 3)
    sentence = f"{len(unlisted)} files in {folder} are not in its {CSV_IN_FOLDER} and are not used ({names})."
    return [sentence] if unlisted else []
