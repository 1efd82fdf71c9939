"""Flags that every command on real data has: where labels and splits are, what to leave out, what to keep decoded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mmgen.data.cache import Cache
from mmgen.data.labels import parse_label_map
from mmgen.data.manifest import Columns
from mmgen.data.overview import Source
from mmgen.data.prepare import Preparation
from mmgen.data.reading.layouts import LayoutName, LayoutOptions
from mmgen.data.settings import Settings
from mmgen.errors import UserError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


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

    @property
    def renames(self) -> dict[str, str]:
        """``label_map`` as {old: new}."""
        return parse_label_map(self.label_map)

    def source(self, path: Path, settings: Settings) -> Source:
        """One modality, read as the flags say."""
        columns = Columns(
            self.path_column, self.label_column, self.subject_column, self.split_column, self.subset_column
        )
        return Source(path, settings, columns, self.layout, LayoutOptions(cough_detected=self.cough_detected))


@dataclass(frozen=True, kw_only=True)
class CachedDataFlags(DataFlags):
    """Base of recipes and commands that read real data several times."""

    cache: Path | None = None
    """Folder of decoded copies of the data; .mmgen-cache beside the output if absent."""
    cache_limit: str = "20GB"
    """Most space that decoded copies may take; 0 keeps none."""

    def decoded_cache(self, out: Path) -> Cache:
        """Where decoded files are kept, for output in ``out``."""
        return Cache(self.cache or out.parent / ".mmgen-cache", parse_size(self.cache_limit))

    def preparation(self, out: Path, seed: int, refuse_unpaired: bool = False) -> Preparation:
        """How the flags say that data are prepared."""
        return Preparation(self.renames, refuse_unpaired, self.skip_bad, seed=seed, cache=self.decoded_cache(out))


def parse_size(text: str) -> int:
    """Bytes of a size such as "20GB", "500 MB" or "0"; raises UserError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kmgt]?)i?b?\s*", text.lower())
    if not found:
        raise UserError(f"'{text}' is no size; write it like 20GB, 500MB or 0.")
    return int(float(found[1]) * _UNITS[found[2]])
