"""A synthetic data set on disk in folder form: files by label, ``metadata.csv`` and ``dataset.json``."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmgen.data.audio import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.samples import Settings
from mmgen.errors import UserError


class DatasetWriter:
    """Writes samples as files that any tool opens; every file is a function of its sample alone.

    Pictures go to ``images/LABEL/000000.png``, sounds to ``audio/LABEL/000000.flac`` (16 bit) with their log-mel in
    ``spectrograms/LABEL/000000.npy`` (float32, bands x frames). ``datasets.load_dataset`` looks for columns ending in
    ``_file_name``.

    Args:
        folder: the data set's folder.
        settings: how each modality's arrays relate to files, by modality name.
        labels: class names; those that cannot be folder names are spelled with underscores on disk.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Settings], labels: Sequence[str]) -> None:
        self.folder = folder
        self.settings = dict(settings)
        self.labels = list(labels)
        self._directories = safe_names(self.labels)

    def files(self, label: int, number: int) -> dict[str, str]:
        """Columns that name the files of sample ``number`` of a label: {column: relative path}."""
        columns = {}
        for name, settings in self.settings.items():
            stem = f"{self._directories[label]}/{number:06d}"
            if isinstance(settings, ImageSettings):
                columns[f"{name}_file_name"] = f"{'images' if name == 'image' else name}/{stem}.png"
            else:
                columns[f"{name}_file_name"] = f"{name}/{stem}.flac"
                columns[f"{name}_spectrogram"] = (
                    f"{'spectrograms' if name == 'audio' else name + '_spectrograms'}/{stem}.npy"
                )
        return columns

    def write(
        self,
        label: int,
        number: int,
        images: Mapping[str, np.ndarray],
        sounds: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """Write one sample: uint8 pictures (C, H, W); log-mels (bands, frames) and waveforms (samples,)."""
        import soundfile
        from PIL import Image

        files = self.files(label, number)
        for name, pixels in images.items():
            picture = pixels.transpose(1, 2, 0)
            Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(
                self._path(files[f"{name}_file_name"])
            )
        for name, (log_mel, waveform) in sounds.items():
            settings = self.settings[name]
            assert isinstance(settings, AudioSettings)
            soundfile.write(self._path(files[f"{name}_file_name"]), waveform, settings.sample_rate, subtype="PCM_16")
            np.save(self._path(files[f"{name}_spectrogram"]), log_mel.astype(np.float32))

    def finish(self, rows: Iterable[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
        """Write ``metadata.csv``, ``README.md`` and last ``dataset.json``: ``about``, counts, SHA-256 of every file."""
        rows = list(rows)
        with (self.folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
        sounds = [name for name, settings in self.settings.items() if isinstance(settings, AudioSettings)]
        counts = {label: sum(row["label"] == label for row in rows) for label in self.labels}
        (self.folder / "README.md").write_text(_readme(counts, about, sounds), encoding="utf-8")
        names = sorted(str(p.relative_to(self.folder).as_posix()) for p in self.folder.rglob("*") if p.is_file())
        checksums = {name: sha256(self.folder / name) for name in names if name not in ("dataset.json", INCOMPLETE)}
        document = {"synthetic": True, "licence": None, "counts": counts, **about, "checksums": checksums}
        temporary = self.folder / "dataset.json.tmp"
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
        os.replace(temporary, self.folder / "dataset.json")
        (self.folder / INCOMPLETE).unlink(missing_ok=True)  # last: a killed run can be told from other people's files

    def _path(self, relative: str) -> Path:
        path = self.folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def prepare_folder(folder: Path, overwrite: bool) -> None:
    """Make room for a data set: an empty folder, or with ``overwrite`` one cleared of an earlier data set.

    Raises:
        UserError: the folder holds something, and ``overwrite`` is off or it is no synthetic data set.
    """
    import shutil

    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder; choose another --out.")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise UserError(
                f"{folder} is not empty; choose another --out, or add --overwrite to replace the data set in it."
            )
        if not _is_data_set(folder):
            raise UserError(
                f"{folder} holds files that are no synthetic data set and are not deleted; choose another --out."
            )
        for child in folder.iterdir():  # not the folder itself, which may be a link or a mount point
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INCOMPLETE).write_text(_INCOMPLETE_TEXT, encoding="utf-8")


INCOMPLETE = "INCOMPLETE"
_INCOMPLETE_TEXT = "This data set is still being written, or its writing was interrupted.\n"


def _is_data_set(folder: Path) -> bool:
    """Whether this writer filled the folder; other software (nnU-Net) calls its files dataset.json too."""
    marker, about = folder / INCOMPLETE, folder / "dataset.json"
    try:
        if marker.is_file() and marker.read_text(encoding="utf-8") == _INCOMPLETE_TEXT:
            return True
        return json.loads(about.read_text(encoding="utf-8"))["synthetic"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def safe_names(labels: Sequence[str]) -> list[str]:
    """A folder name for each label: never hidden, never a way out of the folder, all different in any case."""
    names: list[str] = []
    for label in labels:
        name = re.sub(r"[^\w.\- ]", "_", label).strip(" .") or "label"
        taken = {other.casefold() for other in names}
        while name.casefold() in taken:
            name += "_"
        names.append(name)
    return names


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_SYNTHETIC = "Made by a generative model; no file in it is a recording or picture of a person."
_PASTED = (
    "**Parts of real samples are copied into these files** (visible patches were pasted): treat them as real data."
)
_README = """# Synthetic data set

{origin}

| label | samples |
|---|---|
{counts}

`metadata.csv` has a row a sample; `dataset.json` says how it was made and holds checksums. Whether it may be shared is
decided by a privacy audit, not by the word synthetic.

    from datasets import Audio, load_dataset

    load_dataset("imagefolder", data_dir="this folder"){casts}
"""


def _readme(counts: Mapping[str, int], about: Mapping[str, Any], sounds: Sequence[str]) -> str:
    rows = "\n".join(f"| {label} | {count} |" for label, count in counts.items())
    casts = "".join(f'.cast_column("{name}", Audio())' for name in sounds)  # imagefolder takes every file for an image
    origin = _PASTED if about.get("copies_real_data") else _SYNTHETIC
    return _README.format(origin=origin, counts=rows, casts=casts)
