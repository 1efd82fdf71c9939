"""The target of an audit: a run, a model, or synthetic data of any origin, and the samples an attacker has of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmgen.artifacts.models import load_model, model_settings
from mmgen.assessment.inputs import DOCUMENT, data_sets_of, joined, read_synthetic, synthetic_settings
from mmgen.condensation.condenser import to_samples
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings
from mmgen.data.sources import Reading
from mmgen.errors import UserError
from mmgen.evaluation.privacy.sides import Side
from mmgen.generation.pairs import generate_pairs
from mmgen.models.attention_gan import Critic
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.generative import GenerativeModel
from mmgen.models.medsynth import MedSynthGenerator
from mmgen.models.stored import StoredLatents
from mmgen.names import IMAGE
from mmgen.training.run import Checkpoints

# Samples that are drawn from a generator for its audit, over all classes.
DRAWN = 1000


@dataclass(frozen=True)
class Target:
    """The target of an audit: a model, synthetic data sets, or both from one run.

    Attributes:
        model: None for synthetic data alone.
        critic: of the run that trained the model, if it is there.
        data_sets: folders of data sets, or one folder or CSV of synthetic files, by name relative to what was given.
        settings: how files of each modality become arrays.
    """

    model: GenerativeModel | None
    critic: Critic | None
    data_sets: Mapping[str, Path]
    settings: Mapping[str, Settings]

    @classmethod
    def at(cls, path: str | Path, modalities: Sequence[str] = ()) -> Target:
        """The model, run, data set or folder at a path; a hub id works for a model.

        Raises:
            UserError: there is nothing of this kind.
        """
        here = Path(path)
        if here.is_file() or (here / DOCUMENT).is_file():
            return cls(None, None, {".": here}, synthetic_settings(here, modalities))
        holds_model = any((here / name / "config.json").is_file() for name in (".", "model"))
        if here.is_dir() and not holds_model:
            sets = data_sets_of(here) or {".": here}
            return cls(None, None, sets, synthetic_settings(next(iter(sets.values())), modalities))
        # A path that is not there may be a model's name on a hub.
        is_id = isinstance(path, str) and path.count("/") == 1 and not path.startswith((".", "/", "~"))
        if not here.exists() and not is_id:
            raise UserError(f"There is nothing at {path}; give a run, a model, a data set or a folder of files.")
        model = load_model(path)
        known = model_settings(model)
        if unknown := [name for name in modalities if name not in known]:
            raise UserError(f"{path} has the modalities {', '.join(known)}, not {', '.join(unknown)}.")
        settings = {name: known[name] for name in modalities or known}
        return cls(model, _critic_of(here, model), data_sets_of(here), settings)


def _critic_of(run: Path, model: GenerativeModel) -> Critic | None:
    """The critic that a MedSynth generator was last trained against, from the run's checkpoints."""
    for phase in ("phase2", "phase1") if model.kind == MedSynthGenerator.kind else ():
        checkpoints = Checkpoints(run / phase / "checkpoints")
        if checkpoints.last.is_file():
            saved = checkpoints.load()["model"]
            weights = {key.removeprefix("critic."): value for key, value in saved.items() if key.startswith("critic.")}
            channels, size, _ = model.shape
            critic = Critic(size, channels, len(model.class_names), len(weights["features.0.weight"]))
            critic.load_state_dict(weights)
            return critic.eval()
    return None


def synthetic_samples(target: Target, members: Side, seed: int, reading: Reading | None = None) -> dict[str, Samples]:
    """All that an attacker can have: all stored data sets, and of a generator as many samples more as make 1,000.

    Of a model that stores a fixed set that set, if there is no data set of it, and samples of its generator if it has
    one: whoever has the file can draw from it.

    Raises:
        UserError: there is no data set, and the generator starts from real images.
    """
    renames, skip_bad = (reading.label_map, reading.skip_bad) if reading else ({}, False)
    sets = [read_synthetic(path, target.settings, renames, skip_bad) for path in target.data_sets.values()]
    model = target.model
    if model is not None and model.needs_real_data:
        if not sets or not len(next(iter(sets[0].values()))):
            sets.append(_decoded(model, members, seed))
    elif model is not None:
        if model.most_per_class is not None and not sets:
            sets.append({IMAGE: to_samples(model.sample(model.most_per_class))})
        generator = model.generator if model.kind == StoredLatents.kind else model
        if generator.origin in ("class", "noise"):
            missing = DRAWN - sum(len(one[IMAGE]) for one in sets)
            per_class = max(-(-missing // len(generator.class_names)), 10)
            # A seed of its own: stored sets begin with what the first seed gives.
            sets.append({IMAGE: to_samples(generator.sample(per_class, seed + 0x5EED))})
    if not sets:
        raise UserError(
            "There is no synthetic data set to audit, and the generator starts from real images; generate one."
        )
    return {name: joined([one[name] for one in sets]) for name in target.settings}


def _decoded(model: CrossModalMAE, members: Side, seed: int) -> dict[str, Samples]:
    """A set that a masked autoencoder makes from its members."""
    if missing := [name for name in model.modalities if name not in members.samples]:
        raise UserError(
            f"The model makes samples from real ones of {' and '.join(model.modalities)}, and there is no data set of "
            f"it yet; audit all modalities ({', '.join(missing)} too), or generate a data set first."
        )
    labels = len(next(iter(members.samples.values())).label_names)
    batches = list(generate_pairs(model, members.samples, -(-DRAWN // labels), seed=seed))
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
