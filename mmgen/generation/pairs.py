"""Carrying out a plan, in batches that are the same to the bit however the work is shared out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmgen.artifacts.models import load_model, model_settings
from mmgen.data.loading import load
from mmgen.data.manifest import label_key
from mmgen.data.mel import mel_to_waveform
from mmgen.data.progress import progress_bar
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings, kind_of
from mmgen.data.sources import Reading
from mmgen.data.threads import cut, in_order, one_thread
from mmgen.errors import UserError
from mmgen.generation.plan import Plan, make_plan
from mmgen.models.condensed import CondensedModel
from mmgen.models.generative import GenerativeModel, MaskRatio, Request, Sampling
from mmgen.training.engine import best_device, choose_attention, has_fast_bf16


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
    """Make some batches of a plan, each a range of its samples; see :func:`generate_pairs`.

    On a CPU several batches are made at once, each in one thread, and torch keeps to one thread in the calling thread
    until the last one is drawn: the last bits of matrix products depend on the number of threads, and a process among
    several has fewer than one alone, but must make the same bytes.
    """
    device = torch.device(device or best_device())
    model = model.to(device).eval()
    choose_attention(model, device)
    settings = made_settings(model, plan)
    classes = {label_key(name): number for number, name in enumerate(model.class_names)}
    labels = np.array([classes[label_key(name)] for name in plan.class_names])[plan.labels]

    def make(job: tuple[_Items, Request]) -> SyntheticBatch:
        items, request = job
        if plan.fixed is not None:
            (name,) = settings
            values, waveforms = {name: plan.fixed.values[items.samples]}, {}
        else:
            # Of samples that are made in many steps; others take little time.
            with torch.autocast(device.type, torch.bfloat16, plan.sampling is not None and has_fast_bf16()):
                made = model.make(request)
            values, waveforms = _to_files(made, settings, items)
        if plan.segments == 1:
            values, waveforms = ({k: np.stack(list(x)) for k, x in arrays.items()} for arrays in (values, waveforms))
        return SyntheticBatch(items.samples, plan.labels[items.samples], plan.class_names, values, waveforms)

    jobs = ((items := _Items(plan, batch), items.request(plan, labels, device)) for batch in batches)
    progress_options = {"total": len(batches), "description": "generating", "quiet": not progress}
    if device.type != "cpu":
        yield from progress_bar(map(make, jobs), **progress_options)
        return
    workers = min(torch.get_num_threads(), 16)  # each batch takes memory
    with one_thread():  # new threads start with this number
        yield from progress_bar(in_order(make, jobs, workers, workers), **progress_options)


def made_settings(model: GenerativeModel, plan: Plan) -> dict[str, Settings]:
    """How the arrays of each modality that a plan makes relate to files."""
    return {name: own for name, own in model_settings(model).items() if plan.made is None or name in plan.made}


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

    def request(self, plan: Plan, labels: np.ndarray, device: torch.device) -> Request:
        """The request for these items, with real partners of modalities that are not made from the others alone;
        ``labels`` (N,) are numbers of the model."""
        indices, inputs = self.samples[self.owner], {}
        for name, source in plan.sources.items():
            if source[indices[0]] >= 0:
                step = np.minimum(self.step, self.lengths[name][self.owner] - 1)
                inputs[name] = torch.from_numpy(plan.real[name].values[source[indices] + step]).to(device)
        further = (plan.ratios, inputs, plan.paste_visible, labels[indices], plan.sampling or Sampling())
        return Request(indices, plan.per_class, plan.seed, self.step, *further)

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
        if not kind_of(settings[name]).is_picture:
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


def generate_pairs(
    model: GenerativeModel | str | Path,
    samples: Mapping[str, Samples | str | Path] | None = None,
    per_class: int | None = None,
    mask_ratio: MaskRatio = 0.75,
    seed: int = 0,
    paste_visible: bool = False,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    shard: tuple[int, int] = (0, 1),
    progress: bool = True,
    segments: int = 1,
    start: str | None = None,
    sampling: Sampling | None = None,
) -> Iterator[SyntheticBatch]:
    """Make labelled synthetic tuples: from labels and chance alone where the model can, otherwise from real ones.

    Of a masked autoencoder every patch is decoded, so no real pixel is copied, unless ``paste_visible``. A modality at
    mask ratio 1 is made from the others alone and needs no samples. The result is a function of (model, samples,
    per_class, seed): sample ``i`` is the same however the work is shared out.

    Args:
        model: a model, its folder, or a hub id.
        samples: real samples by modality: decoded, or a folder or CSV that is decoded as the model was trained. None:
            the model needs none.
        per_class: tuples of each label; None: as many as the largest real class.
        mask_ratio: hidden share of real samples, one number or one a modality.
        start: "label", "samples" or a modality, of which whole real samples are given and the others are made; the
            first of the model's ``starts`` if absent.
        sampling: steps and guidance of a denoising model.
        batch_size: samples decoded at once.
        device: where to compute; the accelerator if there is one.
        shard: (rank, world): this process makes every ``world``-th batch.
        segments: most segments of a sound; see :func:`mmgen.generation.plan.make_plan`.

    Yields:
        :class:`SyntheticBatch` in the order of the plan.

    Raises:
        UserError: see :func:`make_plan` and :func:`mmgen.artifacts.models.load_model`.

    Example:
        >>> import mmgen
        >>> folders = {"image": "phantoms/images", "audio": "phantoms/audio"}
        >>> for batch in mmgen.generate_pairs("runs/covid", folders, per_class=3, seed=1):
        ...     print(batch.values["image"].shape, batch.values["audio"].shape, batch.labels.tolist())
        (6, 1, 32, 32) (6, 1, 40, 40) [0, 0, 0, 1, 1, 1]
    """
    if isinstance(model, str | Path):
        model = load_model(model)
    if isinstance(model, CondensedModel):
        raise UserError("This model makes images without real ones; call its sample(images_per_class, seed).")
    samples = samples or {}
    decoded = {name: value for name, value in samples.items() if isinstance(value, Samples)}
    decoded |= read_sources(model, {name: Path(value) for name, value in samples.items() if name not in decoded})
    further = (seed, paste_visible, segments, None, start, sampling)
    plan = make_plan(model, decoded, per_class, mask_ratio, *further)
    # Batches are cut the same way whatever the shard, so that numbers are equal to the bit.
    batches = cut(range(len(plan)), batch_size)[shard[0] :: shard[1]]
    yield from run_batches(model, plan, batches, device, progress)


def read_sources(
    model: GenerativeModel, paths: Mapping[str, Path], reading: Reading | None = None, split: str | None = "train"
) -> dict[str, Samples]:
    """Real samples, decoded as the model's training data were; labels are matched across modalities.

    ``split`` is used where the data have splits, otherwise everything. Labels that the model was not trained on are
    left out. Both are logged.

    Args:
        paths: where each modality is.
        reading: how the data lie, label names, bad files and cache; splits are not made.

    Raises:
        UserError: a modality that the model does not have; see :func:`mmgen.data.loading.load`.
    """
    settings, labels = model_settings(model), list(model.class_names)
    if unknown := [name for name in paths if name not in settings]:
        raise UserError(f"The model has the modalities {list(settings)}, not {unknown}.")
    reading = reading or Reading()
    return load(reading.sources(paths, settings), reading, split, labels) if paths else {}
