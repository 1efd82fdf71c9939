"""Results that are kept by the content of what they were measured on, so that nothing is measured twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmgen.data.opening import read_json
from mmgen.data.samples import Samples
from mmgen.data.writing.atomic import new_file
from mmgen.version import __version__

_CHUNK = 256


class Measured:
    """Results by name, what they depend on, and the versions of mmgen and torch.

    Args:
        folder: where they are kept, a JSON file each; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.reused = 0
        """How many results were there already."""

    def once(self, name: str, depends_on: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
        """The result of ``measure``, a JSON-able value, or what it gave before on the same.

        A damaged file is measured anew.
        """
        if self.folder is None:
            return measure()
        versions = {"mmgen": __version__, "torch": torch.__version__}
        key = json.dumps([name, dict(depends_on), versions], sort_keys=True, default=str)
        path = self.folder / f"{name.replace('/', '_')}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        try:
            result = read_json(path)
            self.reused += 1
            return result
        except (OSError, ValueError):
            pass
        text = json.dumps(measure())
        with new_file(path) as file:
            file.write(text.encode())
        return json.loads(text)  # what a later call gives: lists for tuples, text for keys


def fingerprint(samples: Samples, subjects: np.ndarray | None = None) -> str:
    """Digest of the values, labels, common files and owners of samples, whatever their files are called."""
    digest = hashlib.sha256(f"{samples.values.shape} {samples.values.dtype} {samples.label_names}".encode())
    for start in range(0, len(samples), _CHUNK):
        digest.update(np.ascontiguousarray(samples.values[start : start + _CHUNK]).tobytes())
    digest.update(samples.labels.astype("<i8").tobytes())
    if samples.probabilities is not None:
        digest.update(samples.probabilities.astype("<f4").tobytes())
    for groups in (samples.rows, subjects):
        if groups is not None:
            digest.update(np.unique(groups, return_inverse=True)[1].astype("<i8").tobytes())
    return digest.hexdigest()[:24]
