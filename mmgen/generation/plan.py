"""A plan says which samples a generation makes, and which real sample each of them starts from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from mmgen.condensation.condenser import Condenser, to_samples
from mmgen.condensation.medsynth import condense
from mmgen.condensation.representatives import representatives
from mmgen.data.manifest import label_key
from mmgen.data.samples import Samples
from mmgen.data.threads import one_thread
from mmgen.errors import UserError, first_few, shown
from mmgen.models.condensed import CondensedModel
from mmgen.models.cross_modal_mae import CrossModalMAE, visible_count
from mmgen.models.generative import GenerativeModel, MaskRatio, Sampling
from mmgen.models.medsynth import RealImages
from mmgen.models.memory import refuse_beyond_memory
from mmgen.models.seeds import numpy_stream
from mmgen.names import IMAGE, MODALITY_FLAGS
from mmgen.training.engine import make_accelerator


@dataclass(frozen=True)
class Plan:
    """A generation with any model: ``per_class`` samples of each class, one class after another.

    Attributes:
        real: real samples by modality, where the model starts from some.
        sources: {modality: (N,)} the sample of ``real`` that each one starts from, or -1 where the modality is made
            from the others alone.
        lengths: {modality: (N,)} so many samples from there on, segments of one recording, are used.
        ratios: hidden share of the real samples of each modality; empty for models that hide nothing of them.
        paste_visible: keep visible patches of real samples.
        segments: the most segments that a sound may have.
        fixed: the samples themselves, where they are others than the model's first ones.
        chosen_from: draws of each class that ``fixed`` was chosen from, if it was.
        made: modalities that are made, where real samples of the others are given; None: all.
        sampling: how noise is taken out, by models that do.
    """

    class_names: tuple[str, ...]
    per_class: int
    seed: int
    real: Mapping[str, Samples] = field(default_factory=dict)
    sources: Mapping[str, np.ndarray] = field(default_factory=dict)
    lengths: Mapping[str, np.ndarray] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    paste_visible: bool = False
    segments: int = 1
    fixed: Samples | None = None
    chosen_from: int | None = None
    made: tuple[str, ...] | None = None
    sampling: Sampling | None = None

    def __len__(self) -> int:
        return len(self.class_names) * self.per_class

    @property
    def labels(self) -> np.ndarray:
        """(N,) index into ``class_names``."""
        return np.repeat(np.arange(len(self.class_names)), self.per_class)


def make_plan(
    model: GenerativeModel,
    real: Mapping[str, Samples] | None = None,
    per_class: int | None = None,
    mask_ratio: MaskRatio = 0.75,
    seed: int = 0,
    paste_visible: bool = False,
    segments: int = 1,
    choose_from: int | None = None,
    start: str | None = None,
    sampling: Sampling | None = None,
) -> Plan:
    """Plan a generation; the plan is a function of the arguments alone.

    A model that reconstructs real samples gets partners of one label: each modality goes through its samples of a label
    in a random order of its own, again and again.

    Args:
        real: real samples by modality, for a model that needs some.
        per_class: None makes as many of each label as the largest class of any modality has to start from.
        mask_ratio: hidden share of the real samples, one number or one a modality.
        segments: length of sounds: up to so many consecutive segments of one recording become one sound, with the same
            partner. What is left of a recording, or a shorter one, gives a shorter sound; one that is made from the
            others alone has one segment.
        choose_from: for a generator of images, choose those that stand for so many draws of each class, see
            :func:`mmgen.condensation.representatives.representatives`.
        start: one of the model's ``starts``; the first if absent.
        sampling: of a model that takes out noise step by step.

    Raises:
        UserError: no samples of a modality that is not hidden whole, no sample at all, labels that differ, numbers out
            of range, or more images than a model or memory holds.
    """
    start, real = check_start(model, start), real or {}
    if isinstance(model, CondensedModel):
        return _plan_images(model, real, per_class or 0, seed, choose_from)
    if choose_from is not None:
        raise UserError("--choose-from is for generators of images; leave it out.")
    if start == "label":
        return _plan_draws(model, per_class, seed, segments, sampling)
    if start != "samples":
        return _plan_others(model, real, per_class, seed, segments, start, sampling)
    if "label" in model.starts and not paste_visible:
        raise UserError(
            "This model completes real samples and keeps what is visible of them, which copies real data; add "
            "--paste-visible to have that, or leave out --from samples to draw from labels."
        )
    plan = _plan_partners(model, real, per_class, model.ratios(mask_ratio), seed, segments)
    return replace(plan, paste_visible=paste_visible, sampling=sampling)


def _plan_partners(
    model: CrossModalMAE, real: Mapping[str, Samples], per_class: int | None, ratios: Mapping[str, float], seed: int,
    segments: int,
) -> Plan:  # fmt: skip
    """Plan of what is made from parts of real samples, or from some modalities alone."""
    _check_partners(model, ratios, per_class, seed, segments)
    clips = {name: _clips(samples, segments) for name, samples in real.items()}
    if per_class is None:
        counts = [np.bincount(real[name].labels[starts]) for name, (starts, _) in clips.items()]
        per_class = max((int(count.max()) for count in counts if len(count)), default=1)
    used = [name for name, ratio in ratios.items() if ratio < 1.0]
    if (absent := [name for name in used if name not in real]) or not used:
        hint = f"there are no samples of {absent}" if absent else "every modality is hidden whole"
        raise UserError(
            f"Nothing to start from: {hint}; give its files, or a mask ratio of 1 for it and less for another modality."
        )
    class_names = real[used[0]].label_names
    if any(real[name].label_names != class_names for name in used):
        raise UserError(f"Modalities have different labels: { {name: real[name].label_names for name in used} }.")
    total = len(class_names) * per_class
    refuse_beyond_memory(total, 8 * (1 + 2 * len(ratios)))
    sources = {name: np.full(total, -1) for name in ratios}
    lengths = {name: np.ones(total, dtype=np.int64) for name in ratios}
    for position, name in enumerate(ratios):
        if name in used:
            starts, counts = clips[name]
            partners = (_partners(real[name], starts, per_class, (seed, position, n)) for n in range(len(class_names)))
            chosen = np.concatenate(list(partners))
            sources[name], lengths[name] = starts[chosen], counts[chosen]
    return Plan(class_names, per_class, seed, real, sources, lengths, ratios, segments=segments)


def check_start(model: GenerativeModel, start: str | None) -> str:
    """What samples are made from; raises UserError for what the model cannot start from."""
    if start is None or start in model.starts:
        return start or model.starts[0]
    if start == "label" or model.starts[0] != "label":
        hint = "it has no denoising decoder and starts from real samples" if "samples" in model.starts else ""
        raise UserError(
            f"This model makes nothing from '{shown(start)}'{f': {hint}' if hint else ''}; leave out --from."
        )
    raise UserError(f"This model starts from {first_few(model.starts)}, not from '{shown(start)}'; correct --from.")


def _plan_draws(
    model: GenerativeModel, per_class: int | None, seed: int, segments: int, sampling: Sampling | None
) -> Plan:
    """Plan of samples from labels and chance alone."""
    if per_class is None or per_class < 1 or seed < 0:
        raise UserError(f"At least 1 sample a class is made, from a seed of 0 or more, not {per_class}, {seed}.")
    if segments != 1:
        raise UserError("A sound that is made from a label has one segment; leave out --segments.")
    refuse_beyond_memory(per_class * len(model.class_names), 8)
    return Plan(model.class_names, per_class, seed, sampling=sampling or Sampling())


def _plan_others(
    model: GenerativeModel, real: Mapping[str, Samples], per_class: int | None, seed: int, segments: int, start: str,
    sampling: Sampling | None,
) -> Plan:  # fmt: skip
    """Plan of what is made from whole real samples of one modality, which are not part of the data set."""
    if start not in real:
        raise UserError(
            f"There are no real samples of '{start}' to start from; give --{MODALITY_FLAGS.get(start, start)}."
        )
    if segments != 1:
        raise UserError("What is made from another modality has one segment; leave out --segments.")
    if seed < 0 or (per_class is not None and per_class < 1):
        raise UserError(f"At least 1 sample a class is made, from a seed of 0 or more, not {per_class}, {seed}.")
    samples, names = real[start], real[start].label_names
    per_class = per_class or max(int(np.bincount(samples.labels).max(initial=1)), 1)
    refuse_beyond_memory(per_class * len(names), 32)
    places = np.arange(len(samples))
    chosen = np.concatenate([_partners(samples, places, per_class, (seed, 0, label)) for label in range(len(names))])
    made = tuple(name for name in model.preprocessing if name != start)
    sources, lengths = {start: chosen}, {start: np.ones(len(chosen), dtype=np.int64)}
    real = {start: samples}
    return Plan(names, per_class, seed, real, sources, lengths, made=made, sampling=sampling or Sampling())


def _check_partners(
    model: CrossModalMAE, ratios: Mapping[str, float], per_class: int | None, seed: int, segments: int
) -> None:
    """Refuse here what would fail later, when an earlier data set has made room for this one."""
    for noun, number in (("samples per class", per_class), ("segments", segments)):
        if number is not None and number < 1:
            raise UserError(f"The number of {noun} must be at least 1, got {number}.")
    if seed < 0:
        raise UserError(f"A seed is 0 or more, got {seed}.")
    longest = max(math.prod(modality.shape) for modality in model.modalities.values())
    refuse_beyond_memory(segments, 4 * longest, "segments of a sound in memory")
    visible = {visible_count(modality.tokens, ratios[name]) for name, modality in model.modalities.items()}
    if model.config["fusion_query"] == "other" and len(visible) > 1:
        raise UserError(
            f"This model (fusion_query='other') needs the same mask ratio for all modalities, got {dict(ratios)}; "
            "only models with fusion_query='own' make one modality from another alone."
        )


def _clips(samples: Samples, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Runs of up to ``segments`` samples of one file, which follow each other: (M,) first ones and (M,) lengths."""
    places, segments = np.arange(len(samples)), min(segments, max(len(samples), 1))
    begins = np.diff(samples.rows, prepend=samples.rows[:1] - 1) != 0
    starts = np.flatnonzero((places - np.maximum.accumulate(np.where(begins, places, 0))) % segments == 0)
    return starts, np.diff(starts, append=len(samples))


def _partners(samples: Samples, starts: np.ndarray, count: int, stream: tuple[int, int, int]) -> np.ndarray:
    """Which of the clips begin the synthetic samples of a label, the last number of the random stream: (count,) indices
    into ``starts``."""
    members = np.flatnonzero(samples.labels[starts] == stream[-1])
    if not len(members):
        label = samples.label_names[stream[-1]]
        raise UserError(f"There is no real sample of label '{label}' to start from; add some or leave it out.")
    rng = numpy_stream(*stream)
    return np.concatenate([rng.permutation(members) for _ in range(-(-count // len(members)))])[:count]


def _plan_images(
    model: CondensedModel, real: Mapping[str, Samples], per_class: int, seed: int, choose_from: int | None
) -> Plan:
    """Plan of a condensed model: its first images, representatives of many, or what it makes of random real ones."""
    if per_class < 1 or seed < 0:
        raise UserError(f"At least 1 image a class is made, from a seed of 0 or more, not {per_class}, {seed}.")
    refuse_too_few(model, per_class)
    held = choose_from is not None or model.needs_real_data
    refuse_beyond_memory(per_class * len(model.class_names), math.prod(model.shape) if held else 8)
    fixed = None
    with one_thread():  # the last bits depend on the number of threads, which differs between processes
        if choose_from is not None:
            if model.origin not in ("class", "noise"):
                raise UserError("--choose-from needs a generator that makes images by itself; leave it out.")
            fixed = representatives(model, per_class, choose_from, seed, make_accelerator().device)
        elif model.needs_real_data:
            if IMAGE not in real:
                raise UserError("This generator starts from real images; give --images with some of every class.")
            samples, own = real[IMAGE], {label_key(name): label for label, name in enumerate(model.class_names)}
            labels = np.array([own[label_key(name)] for name in samples.label_names])[samples.labels]
            if lacking := [name for label, name in enumerate(model.class_names) if label not in labels]:
                raise UserError(
                    f"The data has no images of {first_few(lacking)} to start from; add some of every class."
                )
            fixed = condense(model, RealImages(samples.values, torch.from_numpy(labels)), per_class, seed)
    return Plan(model.class_names, per_class, seed, fixed=fixed, chosen_from=choose_from)


def refuse_too_few(model: CondensedModel, images_per_class: int) -> None:
    """Raise UserError if a model holds fewer images of some class."""
    counts = {name: model.available(label) for label, name in enumerate(model.class_names)}
    if short := [name for name, count in counts.items() if count is not None and count < images_per_class]:
        missing = f"There are fewer than {images_per_class} images of {first_few(short)}"
        raise UserError(f"{missing}; choose a smaller number.")


def plan_of_fit(condenser: Condenser, images_per_class: int, seed: int = 0) -> Plan:
    """Plan of the condensed set of a finished fit; raises UserError as :func:`make_plan` does."""
    refuse_too_few(condenser.model, images_per_class)
    with one_thread():  # as where a model makes its images itself
        fixed = condenser.chosen(images_per_class, seed)
    chosen_from = None if fixed is None else condenser.choose_from
    return Plan(condenser.model.class_names, images_per_class, seed, fixed=fixed, chosen_from=chosen_from)


def images_of(condenser: Condenser, plan: Plan) -> Samples:
    """The images of a plan of :func:`plan_of_fit`, in its order."""
    if plan.fixed is not None:
        return plan.fixed
    with one_thread():  # as they are written
        return to_samples(condenser.model.sample(plan.per_class, plan.seed))
