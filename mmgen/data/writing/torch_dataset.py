"""A synthetic data set as a data set of torch."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmgen.data.decoded import UnusableFile
from mmgen.data.settings import kind_of, settings_from_dict
from mmgen.data.writing.encoding import decode_sound
from mmgen.data.writing.layout import DOCUMENT, read_document
from mmgen.data.writing.synthetic import Part, records
from mmgen.errors import UserError, shown


class SyntheticDataset(Dataset[dict[str, Any]]):
    """Samples of a data set that mmgen wrote, decoded when they are asked for; see :func:`load_dataset`.

    An item is a dictionary: by modality a picture uint8 (C, H, W), or a sound float32 (1, T) in [-1, 1]; and "label",
    the place of its label in :attr:`classes`.

    Attributes:
        classes: names of labels.
        targets: labels (N,) of all samples, int64.
        sample_rates: of the sounds, in Hz, by modality.
    """

    def __init__(self, folder: Path) -> None:
        try:
            about = read_document(folder)
            self._settings = {name: settings_from_dict(own) for name, own in about["preprocessing"].items()}
            self.classes = tuple(about["counts"])
            places = {label: place for place, label in enumerate(self.classes)}
            listed = list(records(folder, about, self._settings, dict.fromkeys(self._settings, "file_name")))
            self.targets = torch.tensor([places[label] for label, _ in listed], dtype=torch.int64)
        except UserError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"{folder} is no finished synthetic data set ({shown(error)}); give the folder of one that has a "
            raise UserError(f"{message}{DOCUMENT}.") from error
        counted = np.bincount(self.targets.numpy(), minlength=len(self.classes)).tolist()
        if not listed or not self._settings or counted != list(about["counts"].values()):
            expected = list(about["counts"].values())
            raise UserError(f"{folder} holds {counted} samples by label, not {expected}; generate it again.")
        self._files: list[dict[str, Part]] = [files for _, files in listed]
        sounds = {name: own for name, own in self._settings.items() if not kind_of(own).is_picture}
        self.sample_rates = {name: own.sample_rate for name, own in sounds.items()}

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        files = self._files[index]  # raises the IndexError at which iteration ends
        item: dict[str, Any] = {name: self._decode(name, part) for name, part in files.items()}
        return {**item, "label": int(self.targets[index])}

    def _decode(self, name: str, part: Part) -> Tensor:
        own = self._settings[name]
        try:
            content = part.read()
            if kind_of(own).is_picture:
                return torch.from_numpy(kind_of(own).decode(io.BytesIO(content), own).values[0])
            return torch.from_numpy(decode_sound(content, own.sample_rate)[None].astype(np.float32) / 32768)
        except (OSError, ValueError, UnusableFile) as error:
            raise UserError(f"Cannot read {shown(str(part), 1000)}: {error}; generate the data set again.") from error


def load_dataset(path: str | os.PathLike[str]) -> SyntheticDataset:
    """A data set that mmgen wrote, in folders or shards, for torch: to train on, or to look at.

    Nothing in the folder is trusted: no file outside of it is read, and none costs more memory or time than a sample.

    Args:
        path: folder of the data set.

    Raises:
        UserError: it is none, or is unfinished; also when an item is asked for whose file is missing or damaged.

    Example:
        >>> import mmgen
        >>> synthetic = mmgen.load_dataset("drawn")
        >>> len(synthetic), synthetic.classes
        (4, ('melanoma', 'nevus'))
        >>> item = synthetic[0]
        >>> item["image"].shape, item["image"].dtype, item["label"]
        (torch.Size([3, 32, 32]), torch.uint8, 0)
    """
    return SyntheticDataset(Path(path))
