"""Soft labels of a synthetic data set, ``labels.safetensors`` beside its table: class probabilities of every sample, in
the order of the samples, as a classifier of real data (a teacher) gives them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmgen.data.opening import MIB, parse_json, read_bytes
from mmgen.errors import UserError, first_few, shown

SOFT_LABELS = "labels.safetensors"
# How far from 1 the probabilities of a sample may add up: float32 of many classes, or of a bf16 softmax.
_TOLERANCE = 1e-2


def encode_soft_labels(probabilities: np.ndarray, class_names: Sequence[str]) -> bytes:
    """A safetensors file of one float32 tensor ``probabilities`` (N, K), whose header holds the names of the K classes
    as JSON under ``classes``; it is a function of these alone.

    Raises:
        ValueError: they are no probabilities.
    """
    from safetensors.numpy import save

    values = np.ascontiguousarray(probabilities, dtype=np.float32)
    _check(values, (len(values), len(class_names)))
    return save({"probabilities": values}, {"classes": json.dumps(list(class_names))})


def decode_soft_labels(content: bytes, class_names: Sequence[str], count: int) -> np.ndarray:
    """Probabilities float32 (count, K) of such a file, with columns in the order of ``class_names``.

    Nothing in the file is trusted.

    Raises:
        ValueError: it is damaged, holds anything else, or is of other samples or classes.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 8 < end <= min(len(content), 8 + MIB):
        raise ValueError("it is no safetensors file")
    header = parse_json(content[8:end])
    about = header.pop("__metadata__", None) if isinstance(header, dict) else None
    shape, size = (count, len(class_names)), 4 * count * len(class_names)
    if header != {"probabilities": {"dtype": "F32", "shape": list(shape), "data_offsets": [0, size]}}:
        raise ValueError(f"it does not hold one float32 tensor 'probabilities' of shape {shape}")
    if len(content) != end + size:
        raise ValueError("it has another length than its header says")
    if not isinstance(about, dict) or not isinstance(about.get("classes"), str):
        raise ValueError("it does not name its classes")
    names = parse_json(about["classes"])
    if not isinstance(names, list) or sorted(map(str, names)) != sorted(class_names):
        raise ValueError(f"its classes are not {first_few(class_names)}")
    values = np.frombuffer(content, "<f4", offset=end).reshape(shape)
    _check(values, shape)
    return values[:, [names.index(name) for name in class_names]].astype(np.float32)


def read_soft_labels(folder: Path, class_names: Sequence[str], count: int) -> np.ndarray:
    """Probabilities float32 (count, K) of the samples of a data set, in their order.

    Raises:
        UserError: there is no such file, or it cannot be trusted, see :func:`decode_soft_labels`.
    """
    try:
        if not (folder / SOFT_LABELS).resolve().is_relative_to(folder.resolve()):
            raise ValueError("it is a link out of the data set")
        content = read_bytes(folder / SOFT_LABELS, 8 + MIB + 4 * count * len(class_names))
        return decode_soft_labels(content, class_names, count)
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} has no soft labels ({SOFT_LABELS}); make it with mmgen condense --soft-labels, or use its hard "
            "labels."
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"The soft labels {folder / SOFT_LABELS} cannot be used ({shown(error)}); make the data set again, or use "
            "its hard labels."
        ) from error


def _check(values: np.ndarray, shape: tuple[int, int]) -> None:
    if values.shape != shape or not shape[1]:
        raise ValueError(f"its shape is {values.shape}, not {shape}")
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not numbers")
    if values.size and (values.min() < 0 or values.max() > 1):
        raise ValueError("it holds values below 0 or above 1")
    if wrong := int((np.abs(values.sum(1, dtype=np.float64) - 1) > _TOLERANCE).sum()):
        raise ValueError(f"the probabilities of {wrong} of {len(values)} samples do not add up to 1")
