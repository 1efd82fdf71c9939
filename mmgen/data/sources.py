"""Where real data are and how they are read, whoever reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmgen.data.cache import Cache, parse_size
from mmgen.data.labels import parse_label_map
from mmgen.data.manifest import Columns
from mmgen.data.reading.layouts import LayoutName, LayoutOptions
from mmgen.data.settings import Settings


@dataclass(frozen=True)
class Source:
    """One modality on disk: a folder, CSV, published layout or shards, and how its files are decoded."""

    path: str | Path
    settings: Settings
    columns: Columns = field(default_factory=Columns)
    layouts: tuple[LayoutName, ...] = ("auto",)
    layout_options: LayoutOptions = field(default_factory=LayoutOptions)


@dataclass(frozen=True)
class Reading:
    """How real data are read, wherever they are.

    Attributes:
        label_map: new names of labels; the empty name leaves a label out.
        refuse_unpaired: refuse a label that a modality lacks, instead of leaving it out.
        skip_bad: go on without files that cannot be decoded, are blank, silent or shorter than 0.1 seconds.
        validation_fraction: share of the training subjects held out where there is no "val" split.
        seed: seed of splits.
        cache: where decoded files are kept; None: they are decoded each time they are read.
        layouts: how the data lie, see :func:`mmgen.data.reading.layouts.read_layout`.
        columns: names of a CSV's columns, where they are not the usual ones.
        layout_options: what is taken from published data sets.
    """

    label_map: Mapping[str, str] = field(default_factory=dict)
    refuse_unpaired: bool = False
    skip_bad: bool = False
    validation_fraction: float = 0.1
    seed: int = 0
    cache: Cache | None = None
    layouts: tuple[LayoutName, ...] = ("auto",)
    columns: Columns = field(default_factory=Columns)
    layout_options: LayoutOptions = field(default_factory=LayoutOptions)

    def sources(self, paths: Mapping[str, str | Path], settings: Mapping[str, Settings]) -> dict[str, Source]:
        """Modalities at these paths, whose files become arrays by these settings."""
        return {
            name: Source(path, settings[name], self.columns, self.layouts, self.layout_options)
            for name, path in paths.items()
        }


def reading_of(options: Any, out: Path | None = None, seed: int = 0, refuse_unpaired: bool = False) -> Reading:
    """How flags say that data are read.

    Args:
        options: the values of :class:`mmgen.cli.data_flags.DataFlags`, of ``CachedDataFlags`` where ``out`` is given.
        out: where output goes; decoded files are kept beside it if the options say nothing else. None: they are not
            kept.

    Raises:
        UserError: a renaming, size or probability that is none.
    """
    cache = None
    if out is not None:
        cache = Cache(options.cache or out.parent / ".mmgen-cache", parse_size(options.cache_limit))
    columns = (options.path_column, options.label_column, options.subject_column, options.split_column)
    return Reading(
        parse_label_map(options.label_map),
        refuse_unpaired,
        options.skip_bad,
        seed=seed,
        cache=cache,
        layouts=options.layout,
        columns=Columns(*columns, options.subset_column),
        layout_options=LayoutOptions(cough_detected=options.cough_detected),
    )
