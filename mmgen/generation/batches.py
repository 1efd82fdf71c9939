"""Carrying out a plan: batches of synthetic samples, the same to the bit however the work is shared out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmgen.artifacts.models import model_settings
from mmgen.data.audio_settings import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.mel import mel_to_waveform
from mmgen.data.progress import progress_bar
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings
from mmgen.data.threads import in_order, one_thread
from mmgen.generation.plan import Plan
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.training.engine import best_device, choose_attention

# Separates the stream of random numbers for masks from the one for partners.
_MASKS = 0x6D61736B

# Batches made side by side on a CPU; each takes memory.
_MOST_AT_ONCE = 16


@dataclass(frozen=True)
class SyntheticBatch:
    """A run of consecutive samples of a plan.

    Attributes:
        indices: (B,) positions in the plan.
        labels: (B,) class indices into ``label_names``.
        label_names: class names.
        values: raw arrays by modality, (B, C, H, W): uint8 for images, float32 for log-mels. Where sounds may have
            several segments, a list of (C, H, W), the segments of a sound side by side.
        waveforms: (B, samples) float32 for every audio modality, or a list of (samples,).
    """

    indices: np.ndarray
    labels: np.ndarray
    label_names: tuple[str, ...]
    values: dict[str, np.ndarray | list[np.ndarray]]
    waveforms: dict[str, np.ndarray | list[np.ndarray]]


def run_batches(
    model: CrossModalMAE,
    plan: Plan,
    samples: Mapping[str, Samples],
    batches: Sequence[range],
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Iterator[SyntheticBatch]:
    """Make some batches of a plan, each a range of its samples; see :func:`mmgen.generation.pairs.generate_pairs`.

    On a CPU torch keeps to one thread in the calling thread until the last batch is drawn.
    """
    device = torch.device(device or best_device())
    model = model.to(device).eval()
    choose_attention(model, device)
    settings = model_settings(model)

    def job(batch: range) -> _Job:
        clips = _Clips.of(plan, np.arange(batch.start, batch.stop))
        return clips, _inputs(plan, samples, clips, device), _noise(model, plan.seed, clips)

    def make(job: _Job) -> SyntheticBatch:
        clips, inputs, noise = job
        made = model.reconstruct(inputs, plan.ratios, noise, plan.paste_visible)
        values, waveforms = _to_files(made, settings, clips)
        if plan.segments == 1:
            values, waveforms = (
                {name: np.stack(parts) for name, parts in kind.items()} for kind in (values, waveforms)
            )
        return SyntheticBatch(clips.indices, plan.labels[clips.indices], plan.label_names, values, waveforms)

    made = _side_by_side(make, map(job, batches), device)
    yield from progress_bar(made, total=len(batches), description="generating", quiet=not progress)


def _side_by_side(
    make: Callable[[_Job], SyntheticBatch], jobs: Iterable[_Job], device: torch.device
) -> Iterator[SyntheticBatch]:
    """On a CPU several batches at once, each in one thread.

    The last bits of matrix products depend on the number of threads, and a process among several has fewer than one
    alone, but must make the same bytes.
    """
    if device.type != "cpu":
        yield from map(make, jobs)
        return
    workers = min(torch.get_num_threads(), _MOST_AT_ONCE)
    with one_thread():  # new threads start with this number
        yield from in_order(make, jobs, workers, workers)


@dataclass(frozen=True)
class _Clips:
    """How samples of several segments lie in one batch of single segments.

    A sample has as many items as its longest modality has segments; a shorter modality goes in again with its last one.

    Attributes:
        indices: (B,) samples.
        owner: (E,) row of each item's sample in ``indices``.
        step: (E,) which of its segments an item is.
        lengths: (B,) segments by modality.
    """

    indices: np.ndarray
    owner: np.ndarray
    step: np.ndarray
    lengths: dict[str, np.ndarray]

    @classmethod
    def of(cls, plan: Plan, indices: np.ndarray) -> _Clips:
        lengths = {name: every[indices] for name, every in plan.lengths.items()}
        longest = np.max(list(lengths.values()), axis=0)
        owner = np.repeat(np.arange(len(indices)), longest)
        step = np.arange(len(owner)) - np.repeat(np.cumsum(longest) - longest, longest)
        return cls(indices, owner, step, lengths)

    def joined(self, name: str, made: Tensor) -> list[Tensor]:
        """Items (E, C, H, W) -> (C, H, length * W) of each sample."""
        used = self.step < self.lengths[name][self.owner]
        parts = made[torch.from_numpy(used).to(made.device)].split(self.lengths[name].tolist())
        return [torch.cat(list(part), dim=-1) for part in parts]


_Job = tuple[_Clips, dict[str, Tensor], dict[str, Tensor]]


def _to_files(
    made: Mapping[str, Tensor], settings: Mapping[str, Settings], clips: _Clips
) -> tuple[dict[str, list[np.ndarray]], dict[str, list[np.ndarray]]]:
    """Arrays as they are written, and the sounds of log-mels; one a sample."""
    values, waveforms = {}, {}
    for name, tensor in made.items():
        if isinstance(how := settings[name], ImageSettings):
            tensor = tensor.round().clamp(0, 255).byte()
        else:
            waveforms[name] = _waveforms([log_mel[0] for log_mel in clips.joined(name, tensor)], how)
        values[name] = [array.numpy() for array in clips.joined(name, tensor.cpu())]
    return values, waveforms


def _waveforms(log_mels: Sequence[Tensor], settings: AudioSettings) -> list[np.ndarray]:
    """Sounds of log-mels (n_mels, frames) of different lengths, those of one length together."""
    found: dict[int, np.ndarray] = {}
    for width in {log_mel.shape[-1] for log_mel in log_mels}:
        rows = [row for row, log_mel in enumerate(log_mels) if log_mel.shape[-1] == width]
        waves = mel_to_waveform(torch.stack([log_mels[row] for row in rows]), settings).cpu().numpy()
        found |= dict(zip(rows, waves, strict=True))
    return [found[row] for row in range(len(log_mels))]


def _inputs(plan: Plan, samples: Mapping[str, Samples], clips: _Clips, device: torch.device) -> dict[str, Tensor]:
    """Real partners (E, C, H, W) of modalities that are not made from the others alone."""
    inputs = {}
    for name, source in plan.sources.items():
        if source[clips.indices[0]] >= 0:
            step = np.minimum(clips.step, clips.lengths[name][clips.owner] - 1)
            values = samples[name].values[source[clips.indices][clips.owner] + step]
            inputs[name] = torch.from_numpy(values).to(device)
    return inputs


def _noise(model: CrossModalMAE, seed: int, clips: _Clips) -> dict[str, Tensor]:
    """Masking noise, every item's from a generator of its own: {name: (E, N)}."""
    drawn = []
    for index, step in zip(clips.indices[clips.owner].tolist(), clips.step.tolist(), strict=True):
        state = np.random.SeedSequence([seed, _MASKS, index, step]).generate_state(1, np.uint64)[0]
        drawn.append(model.noise(1, torch.Generator().manual_seed(int(state >> np.uint64(1)))))
    return {name: torch.cat([noise[name] for noise in drawn]) for name in drawn[0]}
