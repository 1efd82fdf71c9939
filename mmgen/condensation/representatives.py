"""Condensed sets that stand for their generator: chosen from many draws instead of as they come."""

from __future__ import annotations

import math
from itertools import chain

import numpy as np
import torch

from mmgen.condensation.subset import herding
from mmgen.data.samples import Samples
from mmgen.errors import UserError
from mmgen.models.classifiers import ConvNet
from mmgen.models.condensed import CondensedModel
from mmgen.models.memory import refuse_beyond_memory
from mmgen.models.teacher import Teacher

# Draws that others are to stand for, at most: distances to more take memory and change little.
_REFERENCE = 2000


def worth_choosing(images_per_class: int, choose_from: int) -> bool:
    """Whether a set is chosen from so many draws of each class: of fewer than twice as many there is little choice."""
    return choose_from >= 2 * images_per_class


def representatives(
    model: CondensedModel,
    images_per_class: int,
    choose_from: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
    teacher: Teacher | None = None,
) -> Samples:
    """Of ``choose_from`` draws of every class those that stand for all.

    A few draws miss much of what a generator has learnt of a class, and each few something else. Without a teacher
    those are chosen whose mean comes nearest to the mean of all, by :func:`herding`, in the features of an untrained
    ConvNet, whose means tell distributions apart (as in DM). Nothing else is looked at: no real image and no trained
    network, so whoever holds the generator can choose, and the set says no more of the real images than draws do.

    A teacher, which was trained on real images (the given one, or that which the model carries), chooses by
    :func:`typical_and_varied`: draws that it takes for their label, and that cover what it sees in them.

    Args:
        model: any that makes images from a class prior or from noise.
        images_per_class: how many are chosen; the first ten of fifty are those that are chosen alone, with a teacher
            as long as at least twice as many are drawn.
        choose_from: draws of each class, the first of this seed.
        device: where images are made and looked at; afterwards the model is where it was.

    Raises:
        UserError: more are wanted than drawn, more drawn than memory holds, or see :meth:`CondensedModel.sample`.

    Example:
        >>> import mmgen
        >>> generator = mmgen.load_model("runs/isic")
        >>> chosen = mmgen.representatives(generator, images_per_class=5, choose_from=20)
        >>> chosen.values.shape, chosen.labels.tolist()
        ((10, 3, 32, 32), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    """
    if choose_from < images_per_class:
        raise UserError(f"{images_per_class} images a class cannot be chosen from {choose_from}; draw more.")
    refuse_beyond_memory(choose_from, math.prod(model.shape), "draws")
    home = next(chain(model.parameters(), model.buffers())).device
    model = model.to(device)
    teacher = teacher or model.teacher
    network = None if teacher else _untrained(model).to(device)
    images, classes = [], range(len(model.class_names))
    for label in classes:
        drawn = torch.cat(list(model.batches(label, range(choose_from), seed)))
        if teacher:
            probabilities, features = teacher.judge(drawn)
            chosen = typical_and_varied(probabilities[:, label], features, images_per_class)
        else:
            features = torch.cat([network.embed(x.to(device) / 127.5 - 1.0).cpu() for x in drawn.split(64)]).numpy()
            chosen = herding(features, images_per_class)
        images.append(drawn[torch.from_numpy(chosen)])
    model.to(home)
    labels = np.repeat(np.arange(len(classes)), images_per_class)
    return Samples(torch.cat(images).numpy(), labels, model.class_names, np.arange(len(labels)))


def _untrained(model: CondensedModel) -> ConvNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # always the same network
        return ConvNet(model.shape, len(model.class_names), 32).requires_grad_(False)


def typical_and_varied(agreement: np.ndarray, features: np.ndarray, count: int) -> np.ndarray:
    """Indices of draws of a class that are typical of it and together cover what it contains, in the order in which
    they are chosen.

    The half whose label is most certain is kept, or ``count`` draws if these are more; of those :func:`coverage`.

    Args:
        agreement: (N,) a teacher's probability of the label that was asked for.
        features: (N, F) of the draws.
    """
    kept = np.argsort(-agreement, kind="stable")[: max(count, -(-len(agreement) // 2))]
    kept = np.sort(kept)
    return kept[coverage(features[kept], count)]


def coverage(features: np.ndarray, count: int) -> np.ndarray:
    """Indices of rows that all others lie near: each next one lowers the mean distance of rows to the nearest chosen
    one the most (k-medoids, greedily). What a class has more of is covered by more, what it has once by one.

    Unlike rows whose mean is right, they spread; unlike :func:`.k_center`, they do not look for outliers.

    Args:
        features: (N, F).
        count: as many, or all of fewer, in the order in which they are chosen.
    """
    rows = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
    reference = rows[np.linspace(0, len(rows) - 1, min(len(rows), _REFERENCE)).astype(int)]
    distances = torch.cdist(reference, rows)
    nearest, chosen = distances.amax(1, keepdim=True), []
    left = torch.ones(len(rows), dtype=torch.bool)
    for _ in range(min(count, len(rows))):
        means = torch.minimum(distances, nearest).mean(0)
        chosen.append(int(torch.where(left, means, torch.inf).argmin()))
        left[chosen[-1]] = False
        nearest = torch.minimum(nearest, distances[:, chosen[-1:]])
    return np.array(chosen)
