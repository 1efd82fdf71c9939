"""Reading a synthetic data set back, as whoever receives it would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmgen.data.images import ImageSettings, read_image
from mmgen.data.samples import Samples, Settings
from mmgen.errors import UserError


def read_dataset(folder: Path, settings: Mapping[str, Settings]) -> dict[str, Samples]:
    """Samples of each modality of a data set in folder form; log-mels come from the stored spectrograms.

    Raises:
        UserError: the folder is no finished data set, lacks a modality, or a file is missing, damaged or of another
            shape.
    """
    import pandas as pd

    try:
        names = tuple(json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["counts"])
        table = pd.read_csv(folder / "metadata.csv", dtype={"label": str}, keep_default_na=False)
        labels = np.array([names.index(label) for label in table["label"]])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} is not a finished synthetic data set ({error}); generate it again.") from error
    samples = {}
    for name, how in settings.items():
        column = f"{name}_file_name" if isinstance(how, ImageSettings) else f"{name}_spectrogram"
        if column not in table:
            raise UserError(f"The data set {folder} has no column {column}, so no modality '{name}'.")
        values = np.stack([_read(folder, path, how) for path in table[column]])
        samples[name] = Samples(values, labels, names, np.arange(len(labels)))
    return samples


def _read(folder: Path, relative: str, settings: Settings) -> np.ndarray:
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UserError(f"{folder}/metadata.csv names {relative}, which is outside the data set; do not trust it.")
    if isinstance(settings, ImageSettings):
        return read_image(path, settings)
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)  # np.load would open archives, too
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read the spectrogram {path}: {error}; generate the data set again.") from error
    if array.shape != settings.shape[1:] or array.dtype.kind != "f":
        raise UserError(f"The spectrogram {path} has shape {array.shape}, not {settings.shape[1:]}.")
    return array[None].astype(np.float32)
