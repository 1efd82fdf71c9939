"""The result of decoding one file, whatever its kind: values, remarks on them, or the reason why there are none."""

from __future__ import annotations

from enum import IntFlag
from typing import NamedTuple

import numpy as np


class Remark(IntFlag):
    """Notes on a file that can be decoded; kept as a number in the cache, so values stay as they are."""

    NONE = 0
    BLANK = 1
    """A picture of one single value."""
    SILENT = 2
    """A recording below -80 dB of full scale throughout."""
    SHORT = 4
    """A recording of less than 0.1 seconds."""
    CLIPPED = 8
    """A recording that stands at full scale for at least 0.1 % of its samples."""
    BURNT_IN = 16
    """A DICOM picture that declares text about the patient in its pixels."""


WORTHLESS = Remark.BLANK | Remark.SILENT | Remark.SHORT
"""Remarks on files that can be read but teach nothing."""


class Decoded(NamedTuple):
    """One file's samples.

    Attributes:
        values: (S, C, H, W), uint8 pictures (S = 1) or float16 log-mel segments (S >= 1).
        remarks: what was noticed.
    """

    values: np.ndarray
    remarks: Remark = Remark.NONE


class UnusableFile(Exception):  # noqa: N818
    """Why a file cannot be decoded, as half a sentence without the file's name, which the caller knows."""
