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


def chosen_set(
    model: CondensedModel, images_per_class: int, choose_from: int, seed: int = 0, device: torch.device | str = "cpu"
) -> Samples | None:
    """:func:`representatives`; None where there is little to choose from, fewer than twice as many draws."""
    if choose_from < 2 * images_per_class:
        return None
    return representatives(model, images_per_class, choose_from, seed, device)


def representatives(
    model: CondensedModel, images_per_class: int, choose_from: int, seed: int = 0, device: torch.device | str = "cpu"
) -> Samples:
    """Of ``choose_from`` draws of every class those whose mean comes nearest to the mean of all, by :func:`herding`.

    A few draws miss much of what a generator has learnt of a class, and each few something else. The chosen ones agree
    with many draws in the features of an untrained ConvNet, whose means tell distributions apart (as in DM). Nothing
    else is looked at: no real image and no trained network, so whoever holds the generator can choose, and the set
    says no more of the real images than draws do.

    Args:
        model: any that makes images from a class prior or from noise.
        images_per_class: how many are chosen; the first ten of fifty are those that are chosen alone.
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # always the same network
        network = ConvNet(model.shape, len(model.class_names), 32).requires_grad_(False).to(device)
    images, classes = [], range(len(model.class_names))
    for label in classes:
        drawn = torch.cat(list(model.batches(label, range(choose_from), seed)))
        features = torch.cat([network.embed(x.to(device) / 127.5 - 1.0).cpu() for x in drawn.split(64)]).numpy()
        images.append(drawn[torch.from_numpy(herding(features, images_per_class))])
    model.to(home)
    labels = np.repeat(np.arange(len(classes)), images_per_class)
    return Samples(torch.cat(images).numpy(), labels, model.class_names, np.arange(len(labels)))
