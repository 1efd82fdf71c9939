"""The page of a data set or run: one page of samples at a time."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mmgen.data.settings import Settings, kind_of
from mmgen.data.writing.rejected import read_rejected
from mmgen.models.generative import Sampling
from mmgen.view.contents import DataSet
from mmgen.view.rendering import joined

if TYPE_CHECKING:  # which take seconds to import
    from mmgen.evaluation.report.media import Figure
    from mmgen.evaluation.report.reading import Report
    from mmgen.view.drawing import Drawer
    from mmgen.view.real import RealSide

PER_PAGE = 24
_FOR_COLOURS = 16  # spectrograms


@dataclass(frozen=True)
class Shown:
    """A modality of a sample on the page: addresses of its picture and of its sound, if it has one."""

    modality: str
    picture: str
    sound: str


@dataclass(frozen=True)
class View:
    """Everything that the page can show.

    Attributes:
        title: name of the run or data set.
        data_sets: may be empty for a run that has only a model.
        settings: of all modalities.
        real: real samples to compare with, if any were given.
        drawer: of the run's model, if it draws from labels.
        report: of the run, if there is one.
        figures: pairs of synthetic and training records that an audit found.
        rejecting: held while the table of rejected samples is written.
    """

    title: str
    data_sets: Sequence[DataSet]
    settings: Mapping[str, Settings]
    real: RealSide | None = None
    drawer: Drawer | None = None
    report: Report | None = None
    figures: Sequence[Figure] = field(default_factory=list)
    rejecting: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def colours(self) -> tuple[float, float]:
        """The range of all spectrograms, that of real ones if there are some, so that faint ones look faint."""
        from mmgen.evaluation.report.figures import colour_range

        names = [name for name, own in self.settings.items() if not kind_of(own).is_picture]
        some: list[np.ndarray] = []
        for name in names:
            if self.real is not None:
                rows = [row for label in self._labels for row in self.real.rows(name, label)[:_FOR_COLOURS]]
                some += [self.real.value(name, int(row))[0] for row in rows[:: len(rows) // _FOR_COLOURS or 1]]
            elif self.data_sets:
                count = len(self.data_sets[0].samples)
                places = np.unique(np.linspace(0, count - 1, min(count, _FOR_COLOURS)).astype(int)).tolist()
                some += [joined(self.data_sets[0].values(place, name))[0] for place in places]
        return colour_range([log_mel.astype(np.float32) for log_mel in some]) if some else (-11.5, 2.0)

    @property
    def _labels(self) -> list[str]:
        return list(dict.fromkeys(label for one in self.data_sets for label in one.by_label))

    def page(self, place: int, label: str, page: int) -> str:
        """HTML of a page of a data set.

        Args:
            place: number of the data set.
            label: only samples of it; "" shows all.
            page: from 1 on.

        Raises:
            LookupError: there is no such data set, label or page.
        """
        shown: dict[str, Any] = {"cards": [], "pages": 1, "rejected": 0, "of_label": 0}
        if self.data_sets:
            data_set = self.data_sets[place]
            if label and label not in data_set.by_label:
                raise LookupError(label)
            numbers, rejected = self.on_page(place, label, page), read_rejected(data_set.folder)
            shown |= {
                "cards": [self._card(place, number, rejected) for number in numbers],
                "of_label": len(data_set.numbers(label)),
                "rejected": len(rejected),
            }
            shown["pages"] = max(1, -(-shown["of_label"] // PER_PAGE))
        elif (place, label, page) != (0, "", 1):
            raise LookupError(place)
        environment = _environment()
        return environment.get_template("view.html.j2").render(
            title=self.title,
            data_sets=self.data_sets,
            place=place,
            label=label,
            page=page,
            answers=self._answers(),
            figures=self.figures,
            has_real=self.real is not None,
            drawer=self.drawer,
            sampling=Sampling(),
            **shown,
        )

    def _answers(self) -> list[Any]:
        if self.report is None:
            return []
        from mmgen.evaluation.report.answers import answers

        return answers(self.report)

    def on_page(self, place: int, label: str, page: int) -> Sequence[int]:
        """Numbers of the samples on a page; raises LookupError where there is none."""
        numbers = self.data_sets[place].numbers(label)
        shown = numbers[(page - 1) * PER_PAGE : page * PER_PAGE]
        if page < 1 or (not shown and page > 1):
            raise LookupError(page)
        return shown

    def _card(self, place: int, number: int, rejected: Mapping[str, str]) -> dict[str, Any]:
        data_set = self.data_sets[place]
        sample = data_set.samples[number]
        parts = []
        for name, own in data_set.settings.items():
            base = f"/sample/{place}/{number}/{name}"
            sounds = not kind_of(own).is_picture
            parts.append(
                Shown(name, f"{base}_{'spectrogram' if sounds else 'file_name'}", f"{base}_file_name" * sounds)
            )
        return {
            "number": number,
            "label": sample.label,
            "name": sample.name,
            "rejected": sample.name in rejected,
            "parts": parts,
            "real": self._beside(data_set, number),
        }

    def _beside(self, data_set: DataSet, number: int) -> list[Shown]:
        """A real sample of the same label for each modality, which need not be of one subject."""
        if self.real is None:
            return []
        label = data_set.samples[number].label
        parts, position = [], bisect_left(data_set.by_label[label], number)
        for name, own in data_set.settings.items():
            rows = self.real.rows(name, label)
            if len(rows):
                base = f"/real/{name}/{rows[position % len(rows)]}"
                parts.append(Shown(name, f"{base}.png", "" if kind_of(own).is_picture else f"{base}.flac"))
        return parts


@cache
def _environment() -> Any:
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    # The report's style and its three answers are shared.
    loaders = [PackageLoader(package, ".") for package in ("mmgen.view", "mmgen.evaluation.report")]
    options = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    return Environment(loader=ChoiceLoader(loaders), **options)


@cache
def asset(name: str) -> bytes:
    """``view.css`` or ``view.js``."""
    return _environment().get_template(f"{name}.j2").render().encode()
