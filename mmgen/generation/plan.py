"""What a generation run makes: which real samples each synthetic one starts from, and how a run is told from others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mmgen.artifacts.models import model_digest
from mmgen.data.samples import Samples
from mmgen.data.threads import one_thread
from mmgen.errors import UserError
from mmgen.models.cross_modal_mae import CrossModalMAE, MaskRatio
from mmgen.models.masking import visible_count
from mmgen.version import __version__


@dataclass(frozen=True)
class Plan:
    """What a generation run makes: a function of (sources, per_class, seed) alone.

    Sample ``i`` has label ``i // per_class``; for each modality ``sources[name][i]`` is the real sample it starts from,
    or -1 when the modality is made from the others alone. ``lengths[name][i]`` samples from there on, segments of one
    recording, are used for it.
    """

    labels: np.ndarray
    label_names: tuple[str, ...]
    sources: dict[str, np.ndarray]
    lengths: dict[str, np.ndarray]
    ratios: dict[str, float]
    per_class: int
    seed: int
    paste_visible: bool
    segments: int = 1

    def __len__(self) -> int:
        return len(self.labels)


def make_plan(
    model: CrossModalMAE,
    samples: Mapping[str, Samples],
    per_class: int | None = None,
    mask_ratio: MaskRatio = 0.75,
    seed: int = 0,
    paste_visible: bool = False,
    segments: int = 1,
) -> Plan:
    """Choose partners: each modality goes through its samples of a label in a random order of its own, again and again.

    Args:
        per_class: None makes as many of each label as the largest class of any modality has to start from.
        segments: length of sounds: up to so many consecutive segments of one recording become one sound, with the same
            partner. What is left of a recording, or a shorter one, gives a shorter sound; one that is made from the
            others alone has one segment.

    Raises:
        UserError: no samples of a modality that is not hidden whole, no sample at all, or labels that differ.
    """
    ratios = model.ratios(mask_ratio)
    _check(model, ratios, per_class, seed, segments)
    if per_class is None:
        starts = [(s, _clips(s, segments)[0]) for s in samples.values() if len(s)]
        per_class = max((int(np.bincount(s.labels[start]).max()) for s, start in starts), default=1)
    used = [name for name in model.modalities if ratios[name] < 1.0]
    absent = [name for name in used if name not in samples]
    if absent or not used:
        hint = f"there are no samples of {absent}" if absent else "every modality is hidden whole"
        raise UserError(
            f"Nothing to start from: {hint}; give its files, or a mask ratio of 1 for it and less for another modality."
        )
    label_names = samples[used[0]].label_names
    if any(samples[name].label_names != label_names for name in used):
        raise UserError(f"Modalities have different labels: { {name: samples[name].label_names for name in used} }.")
    labels = np.repeat(np.arange(len(label_names)), per_class)
    sources = {name: np.full(len(labels), -1) for name in model.modalities}
    lengths = {name: np.ones(len(labels), dtype=np.int64) for name in model.modalities}
    for position, name in enumerate(model.modalities):
        if name in used:
            starts, counts = _clips(samples[name], segments)
            chosen = [
                _order(samples[name], starts, label, per_class, [seed, position, label])
                for label in range(len(label_names))
            ]
            sources[name] = starts[np.concatenate(chosen)]
            lengths[name] = counts[np.concatenate(chosen)]
    return Plan(labels, label_names, sources, lengths, ratios, per_class, seed, paste_visible, segments)


def _clips(samples: Samples, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Runs of up to ``segments`` samples of one file, which follow each other: (M,) first ones and (M,) lengths."""
    places = np.arange(len(samples))
    begins = np.diff(samples.rows, prepend=samples.rows[:1] - 1) != 0
    starts = np.flatnonzero((places - np.maximum.accumulate(np.where(begins, places, 0))) % segments == 0)
    return starts, np.diff(starts, append=len(samples))


def _check(model: CrossModalMAE, ratios: Mapping[str, float], per_class: int | None, seed: int, segments: int) -> None:
    """Refuse here what would fail later, when an earlier data set has made room for this one."""
    for what, number in (("samples per class", per_class), ("segments", segments)):
        if number is not None and number < 1:
            raise UserError(f"The number of {what} must be at least 1, got {number}.")
    if seed < 0:
        raise UserError(f"A seed is 0 or more, got {seed}.")
    visible = {visible_count(modality.tokens, ratios[name]) for name, modality in model.modalities.items()}
    if model.config["fusion_query"] == "other" and len(visible) > 1:
        raise UserError(
            f"This model (fusion_query='other') needs the same mask ratio for all modalities, got {ratios}; "
            "only models with fusion_query='own' make one modality from another alone."
        )


def _order(samples: Samples, starts: np.ndarray, label: int, count: int, seed: list[int]) -> np.ndarray:
    """Which of the clips each synthetic sample of a label begins with, (count,) indices into ``starts``."""
    members = np.flatnonzero(samples.labels[starts] == label)
    if not len(members):
        raise UserError(
            f"There is no real sample of label '{samples.label_names[label]}' to start from; add some or leave it out."
        )
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(members) for _ in range(-(-count // len(members)))])[:count]


def describe_sample(
    plan: Plan, samples: Mapping[str, Samples], index: int, source_ids: bool, model_name: str
) -> dict[str, Any]:
    """Metadata of one sample; a modality that is made from the others alone has no source (None)."""
    row: dict[str, Any] = {"label": plan.label_names[plan.labels[index]], "index": index, "seed": plan.seed}
    row |= {"model": model_name} | {f"{name}_mask_ratio": ratio for name, ratio in plan.ratios.items()}
    row["copies_real_data"] = plan.paste_visible
    if plan.segments > 1:
        row |= {f"{name}_segments": int(lengths[index]) for name, lengths in plan.lengths.items()}
    if source_ids:
        for name, source in plan.sources.items():
            start = source[index]
            row[f"source_{name}_id"] = int(samples[name].rows[start]) if start >= 0 else None
    return row


def describe_plan(plan: Plan, model_name: str) -> dict[str, Any]:
    """What a data set says of its making."""
    return {
        "generator": {"library": f"mmgen {__version__}", "model": model_name},
        "seed": plan.seed,
        "per_class": plan.per_class,
        "mask_ratio": plan.ratios,
        "segments": plan.segments,
        "copies_real_data": plan.paste_visible,
    }


def describe_run(model: CrossModalMAE, plan: Plan, samples: Mapping[str, Samples]) -> dict[str, Any]:
    """What the samples of a plan depend on, by names that users understand; equal for runs that make equal samples."""
    config = hashlib.sha256(json.dumps(model.config, sort_keys=True).encode()).hexdigest()
    return {
        "seed": plan.seed,
        "samples per class": plan.per_class,
        "labels": list(plan.label_names),
        "segments": plan.segments,
        "mask ratio": plan.ratios,
        "pasting of visible patches": plan.paste_visible,
        "model": f"{model_digest(model)} {config[:12]}",
        "real samples": _digest(plan, samples),
        "versions": f"mmgen {__version__}, torch {torch.__version__}",
    }


_SAMPLES_LOOKED_AT = 1024


def _digest(plan: Plan, samples: Mapping[str, Samples]) -> str:
    """Of the choice of sources and of their values: of all, or of many over the whole range if they are too many."""
    digest = hashlib.sha256()
    for name, source in plan.sources.items():
        digest.update(f"{name}\0".encode() + source.astype("<i8").tobytes())
        steps = [source[(source >= 0) & (plan.lengths[name] > step)] + step for step in range(plan.segments)]
        used = np.unique(np.concatenate(steps))
        if len(used):
            digest.update(samples[name].rows[used].astype("<i8").tobytes())
            places = np.linspace(0, len(used) - 1, min(len(used), _SAMPLES_LOOKED_AT)).round().astype(np.int64)
            for some in np.array_split(used[places], -(-len(places) // 64)):
                with one_thread():  # values may be decoded only now
                    values = samples[name].values[some]
                digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:12]
