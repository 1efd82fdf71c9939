"""All synthetic samples that an attacker can have of a model and of data sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmgen.assessment.inputs import joined, read_synthetic
from mmgen.condensation.condenser import to_samples
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings
from mmgen.data.sources import Reading
from mmgen.data.writing.soft_labels import SOFT_LABELS
from mmgen.errors import UserError
from mmgen.evaluation.privacy.sides import Side
from mmgen.generation.pairs import generate_pairs
from mmgen.models.condensed import CondensedModel
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.generative import GenerativeModel
from mmgen.models.stored import StoredLatents
from mmgen.names import IMAGE


def obtainable_samples(
    model: GenerativeModel | None,
    data_sets: Mapping[str, Path],
    settings: Mapping[str, Settings],
    members: Side,
    count: int,
    seed: int,
    reading: Reading | None = None,
) -> dict[str, Samples]:
    """All stored data sets, and of a generator as many samples more as make ``count`` over all classes.

    Of a model that stores a fixed set that set, if there is no data set of it, and samples of its generator if it has
    one: whoever has the file can draw from it.

    Raises:
        UserError: there is no data set, and the generator starts from real images.
    """
    renames, skip_bad = (reading.label_map, reading.skip_bad) if reading else ({}, False)
    sets = [read_synthetic(path, settings, renames, skip_bad) for path in data_sets.values()]
    held = len(next(iter(sets[0].values()))) if sets else 0
    if isinstance(model, CrossModalMAE):
        if not model.needs_real_data:
            made = sum(len(next(iter(one.values()))) for one in sets)
            # A seed of its own: stored sets begin with what the first seed gives.
            sets.append(_made(model, {}, max(-(-(count - made) // len(model.class_names)), 10), seed + 0x5EED))
        elif not held:
            sets.append(_decoded(model, members, count, seed))
    elif isinstance(model, CondensedModel) and not model.needs_real_data:
        sets += _drawn(model, sets, count, seed)
    if not sets:
        raise UserError(
            "There is no synthetic data set to audit, and the generator starts from real images; generate one."
        )
    return {name: joined([one[name] for one in sets]) for name in settings}


def soft_labelled(
    data_sets: Mapping[str, Path], settings: Mapping[str, Settings], reading: Reading | None = None
) -> dict[str, Samples] | None:
    """Samples of all data sets that have soft labels, with these; None if there are none."""
    renames, skip_bad = (reading.label_map, reading.skip_bad) if reading else ({}, False)
    paths = [path for path in data_sets.values() if (path / SOFT_LABELS).exists()]
    sets = [read_synthetic(path, settings, renames, skip_bad, "soft") for path in paths]
    return {name: joined([one[name] for one in sets]) for name in settings} if sets else None


def _drawn(model: CondensedModel, sets: list[dict[str, Samples]], count: int, seed: int) -> list[dict[str, Samples]]:
    """The set that a model stores, if there is no data set, and draws of its generator, if it has one."""
    more = []
    if model.most_per_class is not None and not sets:
        more.append({IMAGE: to_samples(model.sample(model.most_per_class))})
    generator = model.generator if model.kind == StoredLatents.kind else model
    if generator.origin in ("class", "noise"):
        missing = count - sum(len(one[IMAGE]) for one in [*sets, *more])
        per_class = max(-(-missing // len(generator.class_names)), 10)
        more.append({IMAGE: to_samples(generator.sample(per_class, seed + 0x5EED))})
    return more


def _decoded(model: CrossModalMAE, members: Side, count: int, seed: int) -> dict[str, Samples]:
    """A set that a masked autoencoder makes from its members."""
    if missing := [name for name in model.modalities if name not in members.samples]:
        raise UserError(
            f"The model makes samples from real ones of {' and '.join(model.modalities)}, and there is no data set of "
            f"it yet; audit all modalities ({', '.join(missing)} too), or generate a data set first."
        )
    labels = len(next(iter(members.samples.values())).label_names)
    return _made(model, members.samples, -(-count // labels), seed)


def _made(model: CrossModalMAE, real: Mapping[str, Samples], per_class: int, seed: int) -> dict[str, Samples]:
    batches = list(generate_pairs(model, real, per_class, seed=seed))
    every = np.concatenate([batch.labels for batch in batches])
    return {
        name: Samples(
            np.concatenate([batch.values[name] for batch in batches]),
            every,
            batches[0].class_names,
            np.arange(len(every)),
        )
        for name in model.modalities
    }
