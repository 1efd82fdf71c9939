"""The masked autoencoder's measure: error on masked patches of unseen data, beside a baseline that knows no sample."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mmgen.data.samples import Samples
from mmgen.models.cross_modal_mae import CrossModalMAE, MaskRatio
from mmgen.models.modality import Modality
from mmgen.models.seeds import counted_stream


@torch.no_grad()
def masked_patch_error(
    model: CrossModalMAE,
    samples: Mapping[str, Samples],
    mask_ratio: MaskRatio = 0.75,
    seed: int = 0,
    batch_size: int = 64,
) -> dict[str, float]:
    """Mean squared error on masked patches, normalised units: {name: error}, lower is better, NaN if none is masked.

    Every sample of a modality counts once, with a random same-label partner. Partners depend on ``seed``, masks on
    ``seed`` and ``batch_size``.
    """
    device = next(model.parameters()).device
    errors = {}
    for name in samples:
        rows = tuples_around(samples, name, seed)
        total = torch.zeros(2, dtype=torch.float64)
        for start in range(0, len(rows[name]), batch_size):
            index = {key: value[start : start + batch_size] for key, value in rows.items()}
            batch = {key: torch.from_numpy(samples[key].values[i]).to(device) for key, i in index.items()}
            noise = model.noise(len(index[name]), counted_stream(seed, start))
            loss, mask = model.patch_losses(batch, mask_ratio, noise)[name]
            weight = mask * model.valid(name).mean(-1)
            total += torch.stack([(loss * weight).sum(), weight.sum()]).double().cpu()
        errors[name] = float(total[0] / total[1])
    return errors


def tuples_around(samples: Mapping[str, Samples], name: str, seed: int) -> dict[str, np.ndarray]:
    """Every sample of ``name`` once, with random same-label partners of each other modality: {modality: (n,)}."""
    rng = np.random.default_rng(seed)
    labels = samples[name].labels
    rows = {name: np.arange(len(labels))}
    for other, partners in samples.items():
        if other != name:
            rows[other] = np.empty(len(labels), dtype=np.int64)
            for label in np.unique(labels):
                rows[other][labels == label] = rng.choice(
                    np.flatnonzero(partners.labels == label), (labels == label).sum()
                )
    return rows


def mean_patch_error(
    modality: Modality, train: Samples, test: Samples, per_position: bool = False, chunk: int = 256
) -> float:
    """Error of predicting the mean training patch, whatever the sample; normalised units.

    ``per_position``: the mean patch of each position, i.e. the mean sample. That is the strongest prediction that looks
    at no sample, and a harder baseline than one mean patch for all positions.
    """
    train, test = train.at_most(), test.at_most()
    total = torch.zeros(modality.tokens, modality.patch_size, dtype=torch.float64)
    for start in range(0, len(train), chunk):
        total += _patches(modality, train.values[start : start + chunk]).double().sum(0)
    valid = modality.valid().double()
    mean = total / len(train) if per_position else total.sum(0) / (len(train) * valid.sum(0)).clamp_min(1.0)
    error = 0.0
    for start in range(0, len(test), chunk):
        difference = _patches(modality, test.values[start : start + chunk]) - mean
        error += float((difference.square() * valid).sum())
    return error / (float(valid.sum()) * len(test))


def _patches(modality: Modality, values: np.ndarray) -> Tensor:
    return modality.patchify(modality.normalise(torch.from_numpy(values)))
