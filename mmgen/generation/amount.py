"""The space that synthetic samples take, known before they are made."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmgen.data.settings import Settings, kind_of
from mmgen.models.memory import refuse_beyond, refuse_beyond_memory

# Bytes of a file for each number of its array: few pictures are compressed further, a log-mel is written as it is.
_PICTURE, _LOG_MEL = 1 / 16, 4


def refuse_too_much(
    settings: Mapping[str, Settings],
    count: int,
    folder: Path,
    in_memory: int = 0,
    lengths: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Refuse a data set that does not fit on the disk of its folder; what is there already counts as free.

    Args:
        settings: how each modality's arrays relate to files.
        count: samples.
        in_memory: samples that are held in memory on the way, such as draws that a set is chosen from.
        lengths: segments of each sample, by modality; one if absent.

    Raises:
        UserError: with the space and the time that the samples would take at least.
    """
    numbers = {name: math.prod(own.shape) for name, own in settings.items()}
    refuse_beyond_memory(in_memory, sum(numbers.values()), "samples in memory")
    size = 0.0
    for name, own in settings.items():
        segments = count if lengths is None or name not in lengths else int(lengths[name].sum())
        size += segments * numbers[name] * (_PICTURE if kind_of(own).is_picture else _LOG_MEL)
    disk = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(disk).free
    if size > free:
        there = (os.path.join(root, name) for root, _, names in os.walk(folder) for name in names)
        refuse_beyond(count, size, f"the disk of {folder}", free + sum(os.lstat(path).st_size for path in there))
