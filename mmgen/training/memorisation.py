"""Does a denoising model remember its training records? Watched while it learns, so that it can be stopped in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mmgen.data.samples import Samples
from mmgen.errors import first_few
from mmgen.models.denoising_mae import DenoisingMAE
from mmgen.models.denoising_steps import starting_noise
from mmgen.models.modality import Modality
from mmgen.models.seeds import torch_stream

TIMES = (0.2, 0.4, 0.6, 0.8)
"""At which the errors of training and of held-out records are compared."""
COPY_RATIO = 1 / 3
"""A sample that lies nearer to one record than this share of its distance to another subject's is called a copy of it
(Yoon et al. 2023, "Diffusion probabilistic models generalize when they fail to memorize")."""
_RECORDS, _PER_LABEL, _STEPS = 64, 16, 6
_STRONG = 3.0  # deviations by which errors must differ


@dataclass(frozen=True)
class Memorisation:
    """What was found, by modality.

    Attributes:
        copies: share of samples that the rule of a third calls copies of a training record.
        innocent: the same share of held-out records.
        membership: probability that a training record is denoised better than a held-out one; 0.5: no difference.
        deviations: how many standard deviations of chance that lies above 0.5.
    """

    copies: Mapping[str, float] = field(default_factory=dict)
    innocent: Mapping[str, float] = field(default_factory=dict)
    membership: Mapping[str, float] = field(default_factory=dict)
    deviations: Mapping[str, float] = field(default_factory=dict)

    def measures(self) -> dict[str, float]:
        """Numbers for the log."""
        shares = {f"copies/{name}": share for name, share in self.copies.items()}
        return shares | {f"membership/{name}": auc for name, auc in self.membership.items()}

    @property
    def reason(self) -> str:
        """In what way records are remembered, "" if in none."""
        copied = [name for name, share in self.copies.items() if share > 1.5 * self.innocent[name] + 0.02]
        known = [name for name, deviations in self.deviations.items() if deviations > _STRONG]
        parts = [f"samples of {first_few(copied)} are copies of training records"] if copied else []
        parts += [f"training records of {first_few(known)} are denoised better than held-out ones"] if known else []
        return " and ".join(parts)


@torch.no_grad()
def watch(
    model: DenoisingMAE, train: Mapping[str, Samples], held_out: Mapping[str, Samples], seed: int = 0
) -> Memorisation:
    """Draw samples and denoise records of both sides.

    Args:
        model: in evaluation mode.
        train, held_out: records by modality; of many, some are taken.
        seed: of all draws.
    """
    labels = torch.arange(len(model.class_names)).repeat_interleave(_PER_LABEL)
    normal = starting_noise(model, len(labels), seed)
    drawn = [
        model.sample(part, _STEPS, gaussian={name: x[rows] for name, x in normal.items()})
        for rows, part in zip(torch.arange(len(labels)).split(32), labels.split(32), strict=True)
    ]
    copies, innocent, membership, deviations = {}, {}, {}, {}
    for name, modality in model.modalities.items():
        known, unknown = (samples.at_most(_RECORDS, seed) for samples in (train[name], held_out[name]))
        reference = train[name].at_most(8 * _RECORDS, seed)
        made = torch.cat([part[name].cpu() for part in drawn])
        copies[name] = copied_share(modality, made, reference)
        innocent[name] = copied_share(modality, torch.from_numpy(unknown.values[:]), reference)
        ours, theirs = (denoising_errors(model, name, samples, seed=seed) for samples in (known, unknown))
        membership[name], deviations[name] = _separation(ours, theirs)
    return Memorisation(copies, innocent, membership, deviations)


def copied_share(modality: Modality, made: Tensor, reference: Samples, ratio: float = COPY_RATIO) -> float:
    """Share of samples (N, C, H, W), raw, that the rule of a third calls copies of a record; 0 where there are records
    of fewer than two files, for segments of one file are alike."""
    if len(np.unique(reference.rows)) < 2:
        return 0.0
    x, y = (modality.normalise(values).flatten(1) for values in (made, torch.from_numpy(reference.values[:])))
    distances = torch.cdist(x, y)
    nearest, places = distances.min(1)
    rows = torch.from_numpy(np.ascontiguousarray(reference.rows))
    others = distances.masked_fill(rows[places][:, None] == rows, float("inf")).amin(1)
    return float((nearest < ratio * others).float().mean())


@torch.no_grad()
def denoising_errors(
    model: DenoisingMAE,
    name: str,
    samples: Samples,
    at: Sequence[float] = TIMES,
    draws: int = 1,
    seed: int = 0,
    batch_size: int = 64,
) -> np.ndarray:
    """Squared error of every record at each of the times ``at``, (N, T) float64 in normalised units.

    All patches are hidden and noised, the model is told the label and sees no other modality. The error is averaged
    over ``draws`` of noise, which are the same for every record, so that none is easier by chance.
    """
    device, valid = next(model.parameters()).device, model.valid(name)
    normal = torch.randn(draws, *valid.shape, generator=torch_stream(seed, 0xE4404))
    known = {label: number for number, label in enumerate(model.class_names)}
    numbers = np.array([known.get(label, model.no_label) for label in samples.label_names])
    weight, errors = valid.mean(-1) / valid.mean(-1).sum(), []
    for start in range(0, len(samples), batch_size):
        x = torch.from_numpy(np.ascontiguousarray(samples.values[start : start + batch_size])).to(device)
        labels = torch.from_numpy(numbers[samples.labels[start : start + batch_size]])
        masks = {name: torch.zeros(len(x), len(valid))}
        total = torch.zeros(len(x), len(at), dtype=torch.float64)
        for place, time in enumerate(at):
            for noise in normal:
                gaussian = {name: noise.expand(len(x), -1, -1)}
                times = {name: torch.full((len(x),), time)}
                error, _ = model.patch_losses({name: x}, 1.0, masks, labels, times, gaussian)[name]
                total[:, place] += (error * weight).sum(1).double().cpu() / draws
        errors.append(total.numpy())
    return np.concatenate(errors)


def _separation(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """How often a row of ours has the smaller error, and the deviations by which that is more than half (Mann and
    Whitney); every time counts alike."""
    both = np.concatenate([ours, theirs])
    spread = both.std(0)
    scores = ((both - both.mean(0)) / np.where(spread > 0, spread, 1.0)).mean(1)
    one, other = scores[: len(ours), None], scores[None, len(ours) :]
    auc = float(((one < other) + 0.5 * (one == other)).mean())
    deviation = np.sqrt((len(ours) + len(theirs) + 1) / (12 * len(ours) * len(theirs)))
    return auc, (auc - 0.5) / float(deviation)
