"""Samples that the model of a run draws on the spot."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from mmgen.artifacts.models import model_settings
from mmgen.data.threads import cut
from mmgen.errors import UserError, first_few, shown
from mmgen.generation.pairs import run_batches
from mmgen.generation.plan import Plan
from mmgen.models.generative import GenerativeModel, Sampling

_KEPT, _TOGETHER, _LARGEST_SEED = 4, 8, 2**53 - 1  # the largest whole number of a browser


@dataclass(frozen=True)
class Drawn:
    """Samples of one label.

    Attributes:
        values: (N, C, H, W) of each modality.
        waveforms: (N, samples) of each modality of sounds.
    """

    label: str
    values: dict[str, np.ndarray]
    waveforms: dict[str, np.ndarray]


class Drawer:
    """Draws from a model and keeps the last few draws, so that a page can show them.

    Attributes:
        most: samples of one draw.
    """

    most = 16

    def __init__(self, model: GenerativeModel) -> None:
        self.model, self.settings, self.labels = model, model_settings(model), model.class_names
        self._busy, self._kept = threading.Lock(), OrderedDict[int, Drawn]()
        self._count = 0

    def draw(self, label: str, number: int, seed: int, steps: int, guidance: float) -> int:
        """Draw samples of a label; the number that :meth:`drawn` gives them by.

        Raises:
            UserError: values out of range, a label that the model does not know, or another draw is not finished.
        """
        if label not in self.labels:
            raise UserError(f"The model knows {first_few(self.labels)}, not {shown(label)}.")
        if not 1 <= number <= self.most or not 0 <= seed <= _LARGEST_SEED:
            raise UserError(f"1 to {self.most} samples are drawn at once, from a seed of 0 or more.")
        plan = Plan((label,), number, seed, sampling=Sampling(steps, guidance))
        if not self._busy.acquire(blocking=False):
            raise UserError("Samples are being drawn already; wait until they are there.")
        try:
            batches = list(run_batches(self.model, plan, cut(range(number), _TOGETHER), progress=False))
            sides = ([batch.values for batch in batches], [batch.waveforms for batch in batches])
            values, waves = ({name: np.concatenate([x[name] for x in side]) for name in side[0]} for side in sides)
            self._count += 1
            self._kept[self._count] = Drawn(label, values, waves)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return self._count
        finally:
            self._busy.release()

    def drawn(self, number: int) -> Drawn:
        """An earlier draw; raises LookupError for one that is not kept."""
        return self._kept[number]
