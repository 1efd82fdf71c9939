"""Flags that every command on real data has; :func:`mmgen.data.sources.reading_of` makes a ``Reading`` of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmgen.data.reading.layouts import LayoutName


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """Base of recipes and commands that read real data."""

    layout: tuple[LayoutName, ...] = ("auto",)
    """How the data lie: auto, folders (one a label), csv, or as published: coronahack, coughvid, coswara, isic2019."""
    label_map: tuple[str, ...] = ()
    """OLD=NEW renames a label, the same NEW twice merges labels, OLD= leaves one out."""
    path_column: str | None = None
    """Column of paths, for CSV files."""
    label_column: str | None = None
    """Column of labels, for CSV files."""
    subject_column: str | None = None
    """Column of subjects, for CSV files; no subject is on two sides of a split."""
    split_column: str | None = None
    """Column of splits, for CSV files."""
    subset_column: str | None = None
    """Column that marks the rows to use by 1, true or yes, for CSV files; all rows are used if absent."""
    cough_detected: float = 0.8
    """Least probability of a cough, for coughvid."""
    skip_bad: bool = False
    """Go on without files that cannot be read or are blank, silent or near-empty."""


@dataclass(frozen=True, kw_only=True)
class CachedDataFlags(DataFlags):
    """Base of recipes and commands that read real data several times."""

    cache: Path | None = None
    """Folder of decoded copies of the data; .mmgen-cache beside the output if absent."""
    cache_limit: str = "20GB"
    """Most space that decoded copies may take; 0 keeps none."""
