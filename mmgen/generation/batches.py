"""Carrying out a plan: batches of synthetic samples, the same to the bit however the work is shared out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmgen.artifacts.models import model_settings
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.mel import mel_to_waveform
from mmgen.data.progress import progress_bar
from mmgen.data.settings import Settings, kind_of
from mmgen.data.threads import in_order, one_thread
from mmgen.generation.plan import Plan
from mmgen.models.generative import GenerativeModel, Request
from mmgen.training.engine import best_device, choose_attention


@dataclass(frozen=True)
class SyntheticBatch:
    """A run of consecutive samples of a plan.

    Attributes:
        indices: (B,) positions in the plan.
        labels: (B,) class indices into ``class_names``.
        class_names: names of the labels.
        values: raw arrays by modality, (B, C, H, W): uint8 for images, float32 for log-mels. Where sounds may have
            several segments, a list of (C, H, W), the segments of a sound side by side.
        waveforms: (B, samples) float32 for every audio modality, or a list of (samples,).
    """

    indices: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    values: dict[str, np.ndarray | list[np.ndarray]]
    waveforms: dict[str, np.ndarray | list[np.ndarray]]


def run_batches(
    model: GenerativeModel,
    plan: Plan,
    batches: Sequence[range],
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Iterator[SyntheticBatch]:
    """Make some batches of a plan, each a range of its samples; see :func:`mmgen.generation.pairs.generate_pairs`.

    On a CPU several batches are made at once, each in one thread, and torch keeps to one thread in the calling thread
    until the last one is drawn: the last bits of matrix products depend on the number of threads, and a process among
    several has fewer than one alone, but must make the same bytes.
    """
    device = torch.device(device or best_device())
    model = model.to(device).eval()
    choose_attention(model, device)
    settings = model_settings(model)

    def make(job: tuple[_Items, Request]) -> SyntheticBatch:
        items, request = job
        if plan.fixed is not None:
            (name,) = settings
            values, waveforms = {name: plan.fixed.values[items.samples]}, {}
        else:
            values, waveforms = _to_files(model.make(request), settings, items)
        if plan.segments == 1:
            values, waveforms = ({k: np.stack(list(x)) for k, x in arrays.items()} for arrays in (values, waveforms))
        return SyntheticBatch(items.samples, plan.labels[items.samples], plan.class_names, values, waveforms)

    jobs = ((items := _Items(plan, batch), items.request(plan, device)) for batch in batches)
    progress_options = {"total": len(batches), "description": "generating", "quiet": not progress}
    if device.type != "cpu":
        yield from progress_bar(map(make, jobs), **progress_options)
        return
    workers = min(torch.get_num_threads(), 16)  # each batch takes memory
    with one_thread():  # new threads start with this number
        yield from progress_bar(in_order(make, jobs, workers, workers), **progress_options)


class _Items:
    """How samples of several segments lie in one batch of single segments.

    A sample has as many items as its longest modality has segments; a shorter modality goes in again with its last one.
    """

    def __init__(self, plan: Plan, batch: range) -> None:
        self.samples = np.arange(batch.start, batch.stop)  # (B,) positions in the plan
        self.lengths = {name: every[self.samples] for name, every in plan.lengths.items()}  # (B,) segments
        longest = np.max(list(self.lengths.values()), axis=0) if self.lengths else np.ones_like(self.samples)
        self.owner = np.repeat(np.arange(len(self.samples)), longest)  # (E,) row of each item's sample
        self.step = np.arange(len(self.owner)) - np.repeat(np.cumsum(longest) - longest, longest)  # (E,) its segment

    def request(self, plan: Plan, device: torch.device) -> Request:
        """The request for these items, with real partners of modalities that are not made from the others alone."""
        indices, inputs = self.samples[self.owner], {}
        for name, source in plan.sources.items():
            if source[indices[0]] >= 0:
                step = np.minimum(self.step, self.lengths[name][self.owner] - 1)
                inputs[name] = torch.from_numpy(plan.real[name].values[source[indices] + step]).to(device)
        return Request(indices, plan.per_class, plan.seed, self.step, plan.ratios, inputs, plan.paste_visible)

    def joined(self, name: str, items: Tensor) -> list[Tensor]:
        """Items (E, C, H, W) -> (C, H, length * W) of each sample."""
        if name not in self.lengths:
            return list(items)
        used = self.step < self.lengths[name][self.owner]
        parts = items[torch.from_numpy(used).to(items.device)].split(self.lengths[name].tolist())
        return [torch.cat(list(part), dim=-1) for part in parts]


def _to_files(
    raw: Mapping[str, Tensor], settings: Mapping[str, Settings], items: _Items
) -> tuple[dict[str, list[np.ndarray]], dict[str, list[np.ndarray]]]:
    """Arrays as they are written, and the sounds of log-mels; one a sample."""
    values, waveforms = {}, {}
    for name, tensor in raw.items():
        if isinstance(settings[name], AudioSettings):
            log_mels = [log_mel[0] for log_mel in items.joined(name, tensor)]
            widths = np.array([log_mel.shape[-1] for log_mel in log_mels])
            sounds: dict[int, np.ndarray] = {}
            for width in np.unique(widths):  # sounds of one length together
                rows = np.flatnonzero(widths == width).tolist()
                waves = mel_to_waveform(torch.stack([log_mels[row] for row in rows]), settings[name]).cpu().numpy()
                sounds |= dict(zip(rows, waves, strict=True))
            waveforms[name] = [sounds[row] for row in range(len(log_mels))]
        if kind_of(settings[name]).dtype == np.uint8:
            tensor = tensor.round().clamp(0, 255).byte() if tensor.is_floating_point() else tensor
        values[name] = [array.numpy() for array in items.joined(name, tensor.cpu())]
    return values, waveforms
